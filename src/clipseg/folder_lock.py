"""One process to a folder: what two of them write into one place at once is worth nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipseg.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows has no locks that end with their process however it ends: folders are not held there
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, for this process until the block, or the process, ends.

    Raises OutputError where another process holds it, and where it cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error})") from error
    with file:
        if fcntl is not None:
            try:
                # A record lock, for those of flock() are inherited: a loader's worker would outlive its parent with it.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                file.seek(0)
                holder = file.read(20).strip()
                raise OutputError(
                    f"{folder} is being written by another process ({holder or 'starting'}); wait for it, end it, or "
                    "give another folder"
                ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
