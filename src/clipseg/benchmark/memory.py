"""How much memory a call needs at most, and processes of their own to ask that in."""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_megabytes(call: Callable[[], object]) -> float | None:
    """A call -> the most megabytes (10^6 bytes) resident while it ran, over what was resident before.

    Pages of mapped files count. Linux is asked for it; elsewhere it is the growth of the process's peak so far, which
    can be too little, and where no system tells it is None.
    """
    gc.collect()
    try:
        forget_peak()
        before: int | None = resident("VmRSS")
        answer = call()
        after: int | None = resident("VmHWM")
    except FileNotFoundError:
        before = _highest()
        answer = call()
        after = _highest()
    del answer
    return None if before is None or after is None else (after - before) / 1e6


def resident(field: str) -> int:
    """A line of Linux's /proc/self/status, such as VmRSS or the peak VmHWM -> its bytes."""
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def forget_peak() -> None:
    """Let Linux's VmHWM begin anew. Raises FileNotFoundError on other systems."""
    with REFERENCES.open("r+") as file:  # never made where it is not there
        file.write("5")


def in_own_process(function: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
    """A function that can be pickled, and what it is given -> its answer, found by a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *given, **named).result()


def _highest() -> int | None:
    """-> the most bytes that were resident so far, where the system tells in its usual way."""
    try:
        import resource
    except ImportError:
        return None
    return (1 if sys.platform == "darwin" else 1024) * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
