"""What another process does meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import pathlib, sys, time
from clipseg.folder_lock import held
with held(pathlib.Path(sys.argv[1]), shared=len(sys.argv) > 3):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(folder: Path, seconds: float, shared: bool = False) -> list[str]:
    """-> the command that holds a folder for some time, and says so once it does."""
    return [sys.executable, "-c", HOLD, str(folder), str(seconds), *["shared"] * shared]


@contextmanager
def held_elsewhere(folder: Path, seconds: float = 60, shared: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold a folder within the block, or so long."""
    with subprocess.Popen(holding(folder, seconds, shared), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
