"""Where a run lies: a folder of this machine, or anything that fsspec opens. Files appear whole or not at all.

A folder's files are written under another name, synced and renamed. An object store has no unfinished objects: one PUT
is one file. Both are asked by names relative to the run, with slashes.
"""

from __future__ import annotations

import os
import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any

from clipseg.checkpoints.files import replacing
from clipseg.errors import DataError, OutputError, UsageError

_FLUSHED = 30.0  # seconds between two writings of a log that can only be written whole


class Storage(ABC):
    """A place for the files of a run."""

    root: str

    @property
    def folder(self) -> Path | None:
        """-> the same as a folder of this machine; None where it is none."""
        return None

    @abstractmethod
    def below(self, name: str) -> Storage:
        """-> a folder in here, as a place of its own; it need not be there."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Bytes -> a file, whole or not at all, over an older one. Raises OutputError."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """-> a file, to be read and sought in. Raises DataError where it is not there or cannot be read."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether a file or folder is there."""

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """-> the names of what lies in a folder, sorted; none where there is no folder."""

    @abstractmethod
    def append(self, name: str, text: str) -> None:
        """Text -> the end of a file, at once or, where only whole files can be written, now and then."""

    def flush(self) -> None:  # noqa: B027 - most have nothing to do
        """Write what `append` has kept back."""

    def free(self) -> int | None:
        """-> bytes that are free; None where that is not known."""
        return None

    def tidy(self, folder: str) -> None:  # noqa: B027 - most have nothing to do
        """Remove unfinished files that a process has left behind which was killed."""

    def read(self, name: str) -> bytes:
        """-> the bytes of a file. Raises DataError."""
        with self.open(name) as file:
            return file.read()

    def at(self, name: str) -> str:
        """-> a file's whole path or URL."""
        return f"{self.root}/{name}" if name else self.root


class LocalStorage(Storage):
    """A folder of this machine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser().absolute()
        self.root = str(self._path)

    @property
    def folder(self) -> Path | None:
        """See `Storage.folder`."""
        return self._path

    def below(self, name: str) -> Storage:
        """See `Storage.below`."""
        return LocalStorage(self._path / name)

    def write(self, name: str, content: bytes) -> None:
        """See `Storage.write`."""
        with replacing(self._path / name) as temporary:
            temporary.write_bytes(content)

    def open(self, name: str) -> IO[bytes]:
        """See `Storage.open`."""
        try:
            return (self._path / name).open("rb")
        except OSError as error:
            raise DataError(f"{self._path / name} cannot be read ({error.strerror or error})") from error

    def exists(self, name: str) -> bool:
        """See `Storage.exists`."""
        return (self._path / name).exists()

    def names(self, folder: str = "") -> list[str]:
        """See `Storage.names`."""
        try:
            return sorted(os.listdir(self._path / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def append(self, name: str, text: str) -> None:
        """See `Storage.append`."""
        try:
            with (self._path / name).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"{self._path / name} cannot be written ({error.strerror or error})") from error

    def free(self) -> int | None:
        """See `Storage.free`."""
        try:
            return shutil.disk_usage(self._path).free
        except OSError:
            return None

    def tidy(self, folder: str) -> None:
        """See `Storage.tidy`."""
        for path in (self._path / folder).glob(".*.tmp"):
            path.unlink(missing_ok=True)


class RemoteStorage(Storage):
    """A folder that fsspec opens by its URL, such as s3://bucket/out."""

    def __init__(self, url: str) -> None:
        self._files, path = filesystem(url)
        self._path = path.rstrip("/")
        self._url = url
        self.root = url.rstrip("/")
        self._kept: dict[str, list[str]] = {}
        self._flushed = time.monotonic()

    def below(self, name: str) -> Storage:
        """See `Storage.below`."""
        return RemoteStorage(f"{self.root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """See `Storage.write`."""
        try:
            self._files.makedirs(self._within(name).rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(self._within(name), content)
        except Exception as error:  # every store raises what it likes
            raise OutputError(f"{self.at(name)} cannot be written ({_told(error)})") from error

    def open(self, name: str) -> IO[bytes]:
        """See `Storage.open`."""
        try:
            file: IO[bytes] = self._files.open(self._within(name), "rb")
        except Exception as error:  # every store raises what it likes
            raise DataError(f"{self.at(name)} cannot be read ({_told(error)})") from error
        return file

    def exists(self, name: str) -> bool:
        """See `Storage.exists`."""
        self._files.invalidate_cache()
        return bool(self._files.exists(self._within(name)))

    def names(self, folder: str = "") -> list[str]:
        """See `Storage.names`."""
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self._within(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def append(self, name: str, text: str) -> None:
        """See `Storage.append`."""
        self._kept.setdefault(name, []).append(text)
        if time.monotonic() - self._flushed > _FLUSHED:
            self.flush()

    def flush(self) -> None:
        """See `Storage.flush`."""
        for name, lines in self._kept.items():
            self.write(name, "".join(lines).encode())
        self._flushed = time.monotonic()

    def _within(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path


def storage_of(place: str | os.PathLike[str]) -> Storage:
    """A folder or a URL -> the storage. Raises UsageError for a URL that nothing opens."""
    return RemoteStorage(str(place)) if is_url(place) else LocalStorage(place)


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is named by a scheme, as s3://bucket/folder."""
    return isinstance(place, str) and "://" in place


def filesystem(url: str) -> tuple[Any, str]:
    """A URL -> what fsspec opens it with, and the path in there. Raises UsageError."""
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # a package that is not installed, and a scheme that is not known
        raise UsageError(f"{url} cannot be opened ({_told(error)}); install what fsspec needs for it") from error
    return found


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
