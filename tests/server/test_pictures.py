"""The store of pictures, and caches that are bounded in bytes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ready
from clipseg.errors import PictureError
from clipseg.processing.images import to_mask, to_rgb
from clipseg.server.pictures import OWN_BYTES, Bounded, Pictures
from clipseg.server.refusals import UnknownError
from clipseg.server.settings import Limits
from http_files import file_of, mask_file


def test_what_was_used_least_recently_makes_room() -> None:
    cache: Bounded[str, bytes] = Bounded(3 * (OWN_BYTES + 100), len)
    for key in "abc":
        cache.put(key, bytes(100))
    assert cache.get("a") == bytes(100)
    cache.put("d", bytes(100))
    assert [key for key, _ in cache.items()] == ["c", "a", "d"]
    assert cache.bytes == 3 * (OWN_BYTES + 100)
    assert cache.get("b") is None
    cache.put("a", bytes(5))
    assert cache.bytes == 3 * OWN_BYTES + 205
    cache.put("e", bytes(10_000))
    assert "e" not in cache
    assert len(cache) == 3


def test_a_picture_is_known_by_its_content() -> None:
    pictures, content = Pictures(Limits()), file_of()
    picture = pictures.add(content)
    assert picture.id == hashlib.sha256(content).hexdigest()
    assert pictures.add(content) is picture
    assert pictures.named(picture.id) is picture
    assert picture.size_hw == (30, 40)
    np.testing.assert_array_equal(np.asarray(pictures.image(picture)), np.asarray(ready.picture()))
    assert pictures.source(picture) is pictures.image(picture)


def test_decoded_pictures_are_bounded_and_come_back() -> None:
    pictures = Pictures(Limits(decoded_bytes=5000))
    first, second = pictures.add(file_of(1)), pictures.add(file_of(2))
    assert pictures.source(first) == first.content
    assert pictures.decoded.bytes <= 5000
    assert pictures.image(first).size == (40, 30)
    assert pictures.source(second) == second.content


@pytest.mark.parametrize("name", ["", "../x", "0" * 64, "A" * 64, "0" * 9999])
def test_a_picture_that_is_not_known(name: str) -> None:
    with pytest.raises(UnknownError, match="unknown picture") as caught:
        Pictures(Limits()).named(name)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("content", [b"", b"GIF89a", file_of()[:-40]])
def test_what_is_no_whole_picture_is_not_kept(content: bytes) -> None:
    pictures = Pictures(Limits())
    with pytest.raises(PictureError):
        pictures.add(content)
    assert len(pictures.files) == 0


def test_more_pixels_than_allowed() -> None:
    with pytest.raises(PictureError, match="allowed are 1,000"):
        Pictures(Limits(pixels=1000)).add(file_of())


def test_no_more_are_decoded_at_once_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests need one: each may take 150 MB."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    pictures, inside, most, decoded = Pictures(Limits(decoded_bytes=1)), [], [], []
    known = [pictures.add(file_of(seed)) for seed in range(4)]

    def slowly(decode: Callable[..., object]) -> Callable[..., object]:
        def function(*arguments: object, **more: object) -> object:
            inside.append(None)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()
            decoded.append(None)
            return decode(*arguments, **more)

        return function

    monkeypatch.setattr("clipseg.server.pictures.to_rgb", slowly(to_rgb))
    monkeypatch.setattr("clipseg.server.pictures.to_mask", slowly(to_mask))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(pictures.image, known * 2))
        list(threads.map(pictures.mask, [mask_file()] * 8, known * 2))
    assert max(most) == 2
    decoded.clear()
    roomy = Pictures(Limits())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(roomy.image, known[:1] * 8))
    assert len(decoded) <= 2
