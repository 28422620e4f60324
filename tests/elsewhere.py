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
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(folder: Path, seconds: float) -> list[str]:
    """-> the command that holds a folder for some time, and says so once it does."""
    return [sys.executable, "-c", HOLD, str(folder), str(seconds)]


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold a folder within the block."""
    with subprocess.Popen(holding(folder, 60), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
