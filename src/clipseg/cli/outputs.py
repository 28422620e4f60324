"""Where results go: a folder proven writable before the work begins, and names that never collide."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from clipseg.errors import OutputError

STEM_BYTES = 150  # file systems allow 255 for a name; a slug takes up to 80, and numbers and suffixes need room


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder and prove that it can be written into; what stays empty of it is gone after the block.

    Raises OutputError before the block begins.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # the innermost first
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(
                f"{folder} is no folder that can be written into ({error.strerror or error}); name another with -o"
            ) from error
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # never made, or holding something
                path.rmdir()


def unique_stems(paths: Iterable[str]) -> list[str]:
    """Files -> the stems of their names in order, repeated ones numbered: "cat", "cat-2".

    They also differ on file systems that do not tell upper from lower case.
    """
    taken: set[str] = set()
    stems: list[str] = []
    for path in paths:
        stem = os.fsencode(Path(path).stem)[:STEM_BYTES].decode(errors="ignore") or "picture"
        names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        stems.append(next(name for name in names if name.casefold() not in taken))
        taken.add(stems[-1].casefold())
    return stems
