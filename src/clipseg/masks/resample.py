"""Maps of numbers from one size to another.

N maps, h w the size they have, H W the size they get.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it
from numpy.typing import NDArray

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""

_SLACK = (
    1e-4  # a number between two others may be rounded to a little more than the larger: 2e-5 for the largest logits
)


_BAND = 2**16  # pixels that are made at once: their numbers stay in a cache


def resize(maps: torch.Tensor, size_hw: tuple[int, int], mode: str = "bilinear") -> torch.Tensor:
    """(N, h, w) float32 -> (N, H, W) in new memory; `mode` is bilinear, bicubic or nearest.

    Between pixel centres (`align_corners=False`). Where a side gets shorter, every pixel it covers takes part
    (antialias), so thin shapes fade instead of vanishing; the nearest pixel stays a single one.
    """
    resized = maps.new_empty((len(maps), *size_hw))
    for one, place in zip(maps, resized, strict=True):
        place.copy_(upsampled(one, size_hw, mode).values())
    return resized  # (N, H, W)


class Surface(Protocol):
    """A map (H, W) of which only what is asked for need ever be computed."""

    def values(self, window: Window | None = None) -> torch.Tensor:
        """-> its numbers in a window, or all; whoever asks may not change them."""

    def above(self, cut: float) -> torch.Tensor:
        """-> where it is larger, (H, W) bool."""

    def negated(self) -> "Surface":
        """-> the same with the sign of every number changed."""


class Dense:
    """A surface that is there already."""

    def __init__(self, numbers: torch.Tensor) -> None:
        self._numbers = numbers

    def values(self, window: Window | None = None) -> torch.Tensor:
        """-> its numbers in a window, or all."""
        return self._numbers if window is None else self._numbers[window]

    def above(self, cut: float) -> torch.Tensor:
        """-> where it is larger, (H, W) bool."""
        return self._numbers > cut

    def negated(self) -> "Dense":
        """-> the same with the sign of every number changed."""
        return Dense(-self._numbers)


def upsampled(one: torch.Tensor, size_hw: tuple[int, int], mode: str = "bilinear") -> Surface:
    """A map (h, w) float32 -> the surface of it at another size, as `resize` has it."""
    grows = size_hw[0] >= one.shape[0] and size_hw[1] >= one.shape[1]
    if size_hw == tuple(one.shape):
        return Dense(one)
    if mode == "bilinear" and grows:
        return Bilinear(one.numpy(), size_hw)
    if mode == "nearest":
        return Dense(F.interpolate(one[None, None], size=size_hw, mode="nearest-exact")[0, 0])
    antialiased = F.interpolate(one[None, None], size=size_hw, mode=mode, align_corners=False, antialias=not grows)
    return Dense(antialiased[0, 0])


class _Axis(NamedTuple):
    """Where the many places of an axis stand between the few.

    Fields
        after   which of the few each follows
        share   how far on the way to the next it is, from 0 to below 1
        starts  (few + 1,): where those begin that follow each, and where the last of them ends
    """

    after: NDArray[np.int64]
    share: NDArray[np.float32]
    starts: list[int]

    @classmethod
    def of(cls, few: int, many: int) -> "_Axis":
        places = np.clip((np.arange(many) + 0.5) * (few / many) - 0.5, 0, few - 1)
        after = places.astype(np.int64)
        return cls(after, (places - after).astype(np.float32), np.searchsorted(after, np.arange(few + 1)).tolist())


class Bilinear:
    """A small map (h, w) enlarged: bilinear between the centres of pixels, in bands that stay in the cache.

    First along the rows, which are few then; after that all pixels between two of these rows are made at once. Every
    pixel is computed by the same operations in the same order whichever window it is asked in, so windows are exact.
    """

    def __init__(self, small: NDArray[np.float32], size_hw: tuple[int, int]) -> None:
        self._small = small
        self._size_hw = size_hw

    @cached_property
    def _axes(self) -> tuple[_Axis, _Axis]:
        down, across = (_Axis.of(few, many) for few, many in zip(self._small.shape, self._size_hw, strict=True))
        return down, across

    def values(self, window: Window | None = None) -> torch.Tensor:
        """-> its numbers in a window, or all."""
        rows, columns = (slice(0, side) for side in self._size_hw) if window is None else window
        result = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        if not result.size:
            return torch.from_numpy(result)
        down = self._axes[0]
        first, last = int(down.after[rows.start]), int(down.after[rows.stop - 1])
        wide, slopes = self._widened(first, last, columns)
        for few, lines in self._bands(first, last + 1, result.shape[1]):
            part = slice(max(lines.start, rows.start), min(lines.stop, rows.stop))
            band = result[part.start - rows.start : part.stop - rows.start]
            own = slice(few.start - first, few.stop - first)
            _fill(band, wide[own], slopes[own], down.after[part], few.start, down.share[part, None])
        return torch.from_numpy(result)

    def above(self, cut: float) -> torch.Tensor:
        """-> where it is larger, (H, W) bool.

        What lies between four numbers is at most the largest of them, so only there is anything computed where one of
        the four is large enough.
        """
        result = np.zeros(self._size_hw, bool)
        hits = self._small > cut - _SLACK  # (h, w)
        hits[:-1] |= hits[1:]  # of a row or the next
        rows = np.flatnonzero(hits.any(1))
        if not len(rows):
            return torch.from_numpy(result)
        down, across = self._axes
        starts = np.array(across.starts)
        lefts, rights = np.full(len(hits), self._size_hw[1]), np.zeros(len(hits), np.int64)
        lefts[rows] = starts[np.maximum(hits[rows].argmax(1) - 1, 0)]
        rights[rows] = starts[hits.shape[1] - hits[rows, ::-1].argmax(1)]
        left, right, first = int(lefts.min()), int(rights.max()), int(rows[0])
        wide, slopes = self._widened(first, int(rows[-1]), slice(left, right))
        nears, fars, space = lefts.tolist(), rights.tolist(), np.empty(0, np.float32)
        for few, lines in self._bands(first, int(rows[-1]) + 1, right - left):
            near, far = min(nears[few]), max(fars[few])
            if near >= far:
                continue
            size_hw = (lines.stop - lines.start, far - near)
            size = size_hw[0] * size_hw[1]
            if len(space) < size:
                space = np.empty(size, np.float32)
            band = space[:size].reshape(size_hw)
            own = slice(few.start - first, few.stop - first), slice(near - left, far - left)
            _fill(band, wide[own], slopes[own], down.after[lines], few.start, down.share[lines, None])
            np.greater(band, cut, out=result[lines, near:far])
        return torch.from_numpy(result)

    def _bands(self, first: int, stop: int, width: int) -> Iterator[tuple[slice, slice]]:
        """From which small row to before which -> some of them, and the lines that follow these, a cache full each."""
        starts, (many, few) = self._axes[0].starts, (self._size_hw[0], len(self._small))
        together = max(1, _BAND * few // (many * width))
        for row in range(first, stop, together):
            end = min(row + together, stop)
            yield slice(row, end), slice(starts[row], starts[end])

    def negated(self) -> "Bilinear":
        """-> the same with the sign of every number changed, to the last bit."""
        return Bilinear(-self._small, self._size_hw)

    def _widened(self, first: int, last: int, columns: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rows of the small map and columns of the large one -> these rows there, and how far each is from the next."""
        after, share = self._axes[1].after[columns], self._axes[1].share[columns]
        small = self._small[first : last + 2]
        wide = np.diff(small, axis=1, append=small[:, -1:]).take(after, axis=1)
        wide *= share
        wide += small.take(after, axis=1)
        slopes = np.zeros((last + 1 - first, len(after)), np.float32)  # the last row of all leads nowhere
        np.subtract(wide[1:], wide[:-1], out=slopes[: len(wide) - 1])
        return wide, slopes


def _fill(
    band: NDArray[np.float32],
    wide: NDArray[np.float32],
    slopes: NDArray[np.float32],
    after: NDArray[np.int64],
    first: int,
    share: NDArray[np.float32],
) -> None:
    """Lines (n, W), rows from `first` on and how far each is from the next, which one and how far on -> filled."""
    if len(wide) == 1:
        np.multiply(share, slopes[0], out=band)
        band += wide[0]
        return
    after = after - first
    slopes.take(after, axis=0, out=band, mode="clip")  # none is cut off: this is only what does without a buffer
    band *= share
    band += wide.take(after, axis=0)
