"""Data sets written by a process that is killed in the middle, and by one that is not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from clipseg.formats.table import format_named
from made_masks import blobs, masks_of

SIZE = (30, 40)
PICTURES = 6
LABELS = [("cat", "dog"), ("dog", "a bus")]


def write_all(name: str, path: Path, kill_after: int | None = None) -> None:
    """Write a data set of six pictures; of these the last class comes late. Killed after so many, it never returns."""
    with format_named(name).writer(path) as writer:
        for number in range(PICTURES):
            inside = np.stack([blobs(2 * number + place, SIZE) for place in range(2)])
            picture = Image.new("RGB", SIZE[::-1], (number * 30, 90, 90))
            writer.add(masks_of(inside, LABELS[number // 3], picture), f"in/{number}.jpg")
            if number + 1 == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)


def write_killed(name: str, path: Path, after: int) -> None:
    """The same in a process of its own, killed after so many pictures."""
    code = f"import interrupted, pathlib; interrupted.write_all({name!r}, pathlib.Path({str(path)!r}), {after})"
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, check=False
    )
    assert result.returncode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    """-> every file of a folder, hidden ones too, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
