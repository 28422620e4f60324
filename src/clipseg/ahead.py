"""Reading ahead: while the model is at work on some pictures, threads decode the next ones and bring them to its size.

Only what nobody can change meanwhile is left to threads: files of a list, and bytes. Whoever makes pictures one by one
may close, overwrite or delete each as soon as the next is asked for; so of an iterator the files are read at once, in
the caller's thread, and only decoded in another. What is in memory already is prepared where it is.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar

from clipseg.processing.images import FileContent, file_name
from clipseg.processing.on_demand import ShownPicture

T = TypeVar("T")

MOST_THREADS = 4
"""Threads that decode, at most, and no more than there are processors: a large picture takes one of them longer than
all of them together take for what the model does with it."""

LARGEST_FILE = 2**26
"""Bytes of a file up to which an iterator's is read at once; a larger one is decoded at once."""


class ReadAhead(Generic[T]):
    """Pictures, and what prepares one -> the same prepared, in their order, some of them ahead.

    `batch_size` pictures are meant to be taken together. A list or tuple may be as many again ahead of them, while they
    are worked on. Of any other iterable, at most `batch_size` pictures are taken beyond the next one that is handed
    out, always in the caller's thread; without `threads` all are prepared there too. `prepare` gives the errors of a
    picture that are to be told in its turn; what it raises, or the iterable does, is raised in its turn and ends it.

    A context manager: with the block the threads end. They do not keep anyone waiting; at most the pictures that they
    are decoding just then are decoded to their end.
    """

    def __init__(
        self, pictures: Iterable[Any], prepare: Callable[[Any], T], batch_size: int, *, threads: bool = True
    ) -> None:
        self._prepare = prepare
        self._listed = isinstance(pictures, (list, tuple))
        self._sources = iter(pictures)
        self._room = 2 * batch_size if self._listed else batch_size + 1
        self._coming: deque[Callable[[], T]] = deque()
        alone = isinstance(pictures, (list, tuple)) and len(pictures) < 2
        self._threads = ThreadPoolExecutor(_threads(), "clipseg-ahead") if threads and not alone else None

    def __enter__(self) -> ReadAhead[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room = 0
        self._coming.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def take(self) -> T | None:
        """-> the next one, once it is prepared; None after the last."""
        self._fill()
        if not self._coming:
            return None
        one = self._coming[0]()
        self._coming.popleft()
        return one

    def take_if(self, fits: Callable[[T], bool]) -> T | None:
        """-> the next one if it fits; None if it does not, or there is none. It raises nothing: `take` does."""
        self._fill()
        with suppress(Exception):
            if self._coming and fits(self._coming[0]()):
                return self._coming.popleft()()
        return None

    def handed_out(self) -> None:
        """Say that one picture is done with: there is room for another."""
        self._room += 1
        self._fill()

    def _fill(self) -> None:
        while self._room > 0:
            self._room -= 1
            try:
                source = next(self._sources)
            except Exception as error:  # somebody's iterator may raise whatever it likes, in its turn
                self._room, self._sources = 0, iter(())
                if not isinstance(error, StopIteration):
                    self._coming.append(partial(_raise, error))
            else:
                self._coming.append(self._begun(source))

    def _begun(self, source: Any) -> Callable[[], T]:
        settled = source if self._listed else _streamed(source)
        if self._threads is not None and isinstance(settled, (str, os.PathLike, bytes, FileContent, ShownPicture)):
            return self._threads.submit(self._prepare, settled).result
        prepared = cache(partial(self._prepare, source))
        if not self._listed:
            prepared()  # before the iterator goes on
        return prepared


def _streamed(source: Any) -> Any:
    """A picture that may change with the next one -> what a thread may have of it: bytes, or the bytes of its file."""
    if isinstance(source, (str, os.PathLike)):
        return content_of(source)
    return source if isinstance(source, (bytes, FileContent, ShownPicture)) else None


def content_of(path: str | os.PathLike[str]) -> FileContent | None:
    """A picture's file -> its bytes; None for what is no file of at most `LARGEST_FILE`, such as a pipe."""
    try:
        name = file_name(path)
        place = Path(name).expanduser()
        status = place.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_FILE:
            return FileContent(place.read_bytes(), name)
    except (OSError, ValueError, RuntimeError):
        return None  # whoever decodes it finds the same, and tells
    return None


def _threads() -> int:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, processors)


def _raise(error: Exception) -> NoReturn:
    raise error
