"""Masks that grow and shrink by any radius.

H W a picture's size. A disk holds all pixels whose centres are at most the radius away, a square all that are so in
each direction. Beyond its border a picture goes on as it is: nothing grows in from there, nothing shrinks away from it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clipseg.masks.components import window_of

_FAR = 65535  # a row's distance where it has no pixel, and the largest there is


def grown(mask: NDArray[np.bool_], radius: float, shape: str) -> NDArray[np.bool_]:
    """(H, W) bool -> all pixels within `radius` pixels of it; `shape` is disk or square.

    A disk is its rows: a pixel is within the radius if, dy rows away, the mask is within sqrt(radius² - dy²) along that
    row. So distances along rows are computed once and compared 2 radius + 1 times, only where the mask can grow to.
    """
    reach = math.floor(radius)
    rows, columns = window_of(mask)
    if reach == 0 or rows.start == rows.stop:
        return mask
    height, width = mask.shape
    window = (
        slice(max(0, rows.start - reach), min(height, rows.stop + reach)),
        slice(max(0, columns.start - reach), min(width, columns.stop + reach)),
    )
    distances = _row_distances(mask[window])  # (h, w)
    near = np.zeros(distances.shape, bool)
    for step in range(min(reach, len(near) - 1) + 1):
        half = reach if shape == "square" else math.isqrt(math.floor(radius**2) - step**2)
        within = distances <= min(half, _FAR - 1)
        near[step:] |= within[: len(near) - step]
        if step:
            near[:-step] |= within[step:]
    result: NDArray[np.bool_] = mask.copy()
    result[window] |= near
    return result


def shrunk(mask: NDArray[np.bool_], radius: float, shape: str) -> NDArray[np.bool_]:
    """(H, W) bool -> all pixels of it that are further than `radius` pixels from what is outside."""
    return ~grown(~mask, radius, shape) if radius >= 1 else mask


def _row_distances(mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """(h, w) bool -> how many pixels away, in its own row, the nearest pixel of the mask is, at most `_FAR`."""
    width = mask.shape[1]
    places = np.arange(width, dtype=np.int32)
    last = np.where(mask, places, -_FAR)
    np.maximum.accumulate(last, axis=1, out=last)
    distances = np.minimum(places - last, _FAR).astype(np.uint16)
    following = np.where(mask, places, width + _FAR)[:, ::-1]
    np.minimum.accumulate(following, axis=1, out=following)
    following = following[:, ::-1] - places
    return np.minimum(distances, np.minimum(following, _FAR)).astype(np.uint16)
