"""One process to a folder: what two of them write into one place at once is worth nothing."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clipseg.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows has no locks that end with their process however it ends: folders are not held there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK_NAME = ".lock"


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that clusters share, some of them
_PAUSE = 0.2  # seconds between two attempts of who waits


@contextmanager
def held(folder: Path, *, name: str = LOCK_NAME, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a folder, made if need be, for this process until the block, or the process, ends.

    `name` is of the file that is locked: who takes another one holds another thing. `shared` lets those hold it who
    share it as well, and nobody else. `wait` waits for others to let go. Raises OutputError where another process holds
    it, and where it cannot be written.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error})") from error
    with file:
        if fcntl is not None:
            # A record lock, for those of flock() are inherited: a loader's worker would outlive its parent with it.
            kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
            while not _locked(file, kind):
                if not wait:
                    file.seek(0)
                    holder = file.read(20).strip()
                    raise OutputError(
                        f"{folder} is being written by another process ({holder or 'starting'}); wait for it, end it, "
                        "or give another folder"
                    )
                time.sleep(_PAUSE)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(file: IO[str], kind: int) -> bool:
    """Whether a file is ours now; False where another process has it."""
    try:
        fcntl.lockf(file, kind)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(f"{file.name} cannot be locked ({error.strerror or error})") from error
        log.warning("%s cannot be locked here (%s): see that one process writes there", file.name, error.strerror)
    return True
