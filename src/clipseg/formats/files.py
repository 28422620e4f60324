"""Files of results: whole or not at all when written, named errors when read."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from clipseg.errors import DataError, OutputError


class WholeFile:
    """A file that appears, complete, when its block ends well, and replaces an older one; otherwise nothing changes.

    Folders are made. Every failure to write is an OutputError; other errors of the block pass through unchanged. It is
    written front to back, so it may stand for an unseekable binary file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> "WholeFile":
        with named_errors(self.path):
            # Beside the goal, so that os.replace stays on one disk; not by tempfile, whose files are their owner's.
            self._part = self.path.with_name(f".{uuid4().hex}.part")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb")
        return self

    def write(self, data: bytes | memoryview) -> int:
        """Bytes -> how many of them were taken: all."""
        with named_errors(self.path):
            return self._file.write(data)

    def flush(self) -> None:
        """Hand what was written to the system."""
        with named_errors(self.path):
            self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with named_errors(self.path):
                self._file.close()
                if kind is None:
                    os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn every failure to write a file into an OutputError that names it."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written ({reason}); choose a place that can hold it") from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Text -> a file in UTF-8, as `WholeFile` writes it."""
    with WholeFile(path) as file:
        file.write(text.encode())


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a file in UTF-8, or begin one, and hand it to the system. Raises OutputError."""
    path = Path(path)
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(f"{line}\n".encode())


def read_text(path: str | os.PathLike[str]) -> str:
    """A file in UTF-8 -> its text. Raises DataError."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error})") from error


def json_text(content: object) -> str:
    """-> JSON on one line. Letters stay letters; a name with halves of surrogate pairs is escaped, to be read back."""
    text = json.dumps(content, ensure_ascii=False)
    return json.dumps(content) if any("\ud800" <= letter <= "\udfff" for letter in text) else text


def read_json(path: str | os.PathLike[str]) -> Any:
    """A JSON file -> what it holds. Raises DataError."""
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error})") from error
