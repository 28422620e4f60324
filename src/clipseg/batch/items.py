"""An item of a manifest -> the bytes of its picture, some of them ahead: from files, tar files and URLs."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

from clipseg.batch.storage import filesystem, is_url
from clipseg.errors import ClipsegError, PictureError, PictureNotFoundError
from clipseg.processing.images import FileContent, open_file
from clipseg.processing.on_demand import SettledPicture

LARGEST_FILE = 2**28
"""Bytes of a picture's file, at most."""

TAR = "tar://"
"""How the URI of a member of a tar file begins, as fsspec writes it: tar://MEMBER::FILE."""

_READERS = 8  # threads that fetch what is not on this machine


class Item(NamedTuple):
    """A row of a manifest: what it is called, where it is and, in a tar file, from which byte on and how long."""

    id: str
    uri: str
    offset: int | None = None
    size: int | None = None
    prompts: list[str] | None = None


Fetched: TypeAlias = SettledPicture | PictureError


def open_item(uri: str, offset: int | None = None, size: int | None = None) -> bytes:
    """Where a picture is -> the bytes of its file. Raises PictureError where it is not there or cannot be read."""
    limit = LARGEST_FILE + 1 if size is None else min(size, LARGEST_FILE + 1)
    try:
        content = _read(container_of(uri), offset or 0, limit)
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureNotFoundError(f"there is no picture {uri}") from error
    except ClipsegError as error:
        raise PictureError(str(error)) from error
    except Exception as error:  # every store raises what it likes
        raise PictureError(f"{uri} cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from error
    if len(content) > LARGEST_FILE:
        raise PictureError(f"{uri} is larger than {LARGEST_FILE:,} bytes, which is more than a picture has")
    if offset is not None and size is not None and len(content) < size:
        raise PictureError(f"{uri} has {len(content)} of its {size} bytes; the tar file was cut or changed meanwhile")
    return content


def container_of(uri: str) -> str:
    """-> the file that a picture is in: itself, or a tar file."""
    return uri.partition("::")[2] if uri.startswith(TAR) else uri


def fetched(items: Iterable[Item], ahead: int) -> Iterator[Fetched]:
    """Items -> the bytes of each in order, or why there are none; `ahead` of them are fetched meanwhile, in threads."""
    waiting: deque[Future[Fetched]] = deque()
    threads = ThreadPoolExecutor(min(_READERS, max(1, ahead)), "clipseg-fetch")
    try:
        for item in items:
            waiting.append(threads.submit(_fetch, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _fetch(item: Item) -> Fetched:
    try:
        return FileContent(open_item(item.uri, item.offset, item.size), item.uri)
    except PictureError as error:
        return error


def _read(place: str, start: int, most: int) -> bytes:
    if is_url(place):
        files, path = filesystem(place)
        content: bytes = files.cat_file(path, start=start, end=start + most)
        return content
    if not stat.S_ISREG(os.stat(place).st_mode):  # a pipe or a device would be waited for
        raise PictureError(f"{place} is no file")
    with open_file(place) as file:
        file.seek(start)
        return file.read(most)
