"""A folder that appears whole or not at all, and replaces the one that was made so before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipseg.errors import OutputError
from clipseg.folder_lock import LOCK_NAME, held
from clipseg.formats.files import named_errors


@contextmanager
def whole_folder(path: Path, mark: str) -> Iterator[Path]:
    """A path -> an empty folder beside it, that takes its name when the block ends well; otherwise nothing changes.

    What has the name already is replaced where it is an empty folder or has a file `mark`, which the block is to write.
    Another process cannot make the same folder meanwhile; what one left that was killed is cleared away. Raises
    OutputError for a place that holds something else or cannot be written.
    """
    if path.exists() and not (path.is_dir() and ((path / mark).exists() or not any(path.iterdir()))):
        raise OutputError(f"{path} is there and was not made so (it has no {mark}); name another place with -o")
    part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    with held(part):
        with named_errors(path):
            for left in (old, *part.iterdir()):
                if left.name != LOCK_NAME:
                    _remove(left)
        try:
            yield part
        except BaseException:
            _remove(part)
            raise
        with named_errors(path):
            if path.exists():
                path.rename(old)
            part.rename(path)
            (path / LOCK_NAME).unlink()
            _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
