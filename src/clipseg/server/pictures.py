"""Pictures by their content, and caches that are bounded in bytes. All of it lies in memory; nothing is written."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.processing.images import to_mask, to_rgb
from clipseg.server.refusals import UnknownError
from clipseg.server.settings import Limits

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

OWN_BYTES = 512
"""What an entry takes beside its content, about."""

_ID = re.compile(r"[0-9a-f]{64}")


class Bounded(Generic[Key, Value]):
    """A cache of so many bytes at most; what was used least recently makes room. Threads may share it."""

    def __init__(self, most_bytes: int, bytes_of: Callable[[Value], int]) -> None:
        self._most = most_bytes
        self._bytes_of = bytes_of
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: Key) -> Value | None:
        """-> what is kept under a key, now used; None for nothing."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, unless it alone is larger than the cache."""
        size = self._bytes_of(value) + OWN_BYTES
        with self._lock:
            if key in self._entries:
                self.bytes -= self._entries.pop(key)[1]
            if size > self._most:
                return
            self._entries[key] = value, size
            self.bytes += size
            while self.bytes > self._most:
                self.bytes -= self._entries.popitem(last=False)[1][1]

    def items(self) -> list[tuple[Key, Value]]:
        """-> all that is kept, what was used least recently first."""
        with self._lock:
            return [(key, value) for key, (value, _) in self._entries.items()]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries


@dataclass(frozen=True)
class Picture:
    """A picture that was sent.

    Fields
        id       SHA-256 of its file, in hex
        content  its file
        size_hw  of the picture, upright
    """

    id: str
    content: bytes
    size_hw: tuple[int, int]


class Pictures:
    """Pictures that clients sent, under the hash of their files."""

    def __init__(self, limits: Limits) -> None:
        self._pixels = limits.pixels
        self._cores = threading.Semaphore(os.cpu_count() or 1)  # more at once are no faster, but all in memory
        self.files: Bounded[str, Picture] = Bounded(limits.store_bytes, lambda picture: len(picture.content))
        self.decoded: Bounded[str, Image.Image] = Bounded(
            limits.decoded_bytes, lambda image: 3 * image.width * image.height
        )

    def add(self, content: bytes) -> Picture:
        """A picture's file -> the picture, kept, and decoded to its last pixel once. Raises PictureError."""
        name = hashlib.sha256(content).hexdigest()
        known = self.files.get(name)
        if known is not None:
            return known
        image = to_rgb(content, max_pixels=self._pixels)
        picture = Picture(name, content, (image.height, image.width))
        self.files.put(name, picture)
        self.decoded.put(name, image)
        return picture

    def named(self, name: str) -> Picture:
        """An id -> its picture. Raises UnknownError."""
        picture = self.files.get(name)
        if picture is None:
            wanted = "expected the 64 hex digits of its SHA-256" if not _ID.fullmatch(name) else "send it again"
            raise UnknownError(f"unknown picture {name[:64]!r}; {wanted}")
        return picture

    def image(self, picture: Picture) -> Image.Image:
        """A picture -> its pixels in RGB."""
        image = self.decoded.get(picture.id)
        if image is None:
            with self._cores:
                image = self.decoded.get(picture.id)  # perhaps it was waited for
                if image is None:
                    image = to_rgb(picture.content, max_pixels=self._pixels)
                    self.decoded.put(picture.id, image)
        return image

    def mask(self, content: bytes, picture: Picture) -> NDArray[np.bool_]:
        """The file of a mask, and its picture -> the mask (H, W). Raises PictureError and PromptError."""
        with self._cores:
            return to_mask(content, picture.size_hw, max_pixels=self._pixels)

    def source(self, picture: Picture) -> Image.Image | bytes:
        """A picture -> what it can be encoded from: its pixels, where they are here."""
        image = self.decoded.get(picture.id)
        return picture.content if image is None else image
