"""Connected parts of a mask: counted, measured, sorted and chosen.

H W a picture's size. Pixels that touch at a corner are connected; what encloses a hole is therefore connected too, and
pixels outside a mask are connected by their sides alone. Everything happens inside the smallest window around a mask.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clipseg.masks.rules import Keep

_STRIP = 2**20  # pixels whose coordinates are summed at once


class Components(NamedTuple):
    """A mask's connected parts.

    Fields
        window   rows and columns of the smallest box around the mask
        numbers  (h, w) int32 in that window: 0 outside the mask, else 1 to C in reading order of their first pixels
        areas    (C,) int64 pixels
    """

    window: tuple[slice, slice]
    numbers: NDArray[np.int32]
    areas: NDArray[np.int64]


def window_of(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """(H, W) bool -> rows and columns of the smallest box around it; of no extent where there is nothing."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def components(mask: NDArray[np.bool_]) -> Components:
    """(H, W) bool -> its connected parts."""
    window = window_of(mask)
    numbers, count = ndimage.label(mask[window], np.ones((3, 3)))
    return Components(window, numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:])


def centroids(parts: Components) -> NDArray[np.float64]:
    """-> (C, 2): the mean x and y of each part, in pixels of the picture; a pixel's own are its middle's."""
    (rows, columns), (height, width) = parts.window, parts.numbers.shape
    sums: NDArray[np.float64] = np.zeros((2, len(parts.areas) + 1))
    step = max(1, _STRIP // max(1, width))
    for top in range(0, height, step):
        strip = parts.numbers[top : top + step].ravel()
        places = np.flatnonzero(strip)
        ys, xs = np.divmod(places.astype(np.int32), width)
        for total, coordinates in zip(sums, (xs, ys + top), strict=True):
            total += np.bincount(strip[places], coordinates, len(parts.areas) + 1)
    corner = np.array([columns.start, rows.start]) + 0.5
    middles: NDArray[np.float64] = sums[:, 1:].T / parts.areas[:, None] + corner
    return middles


def sorted_parts(parts: Components, order: str, middles: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Parts and a key of `rules.SORT_KEYS` -> their numbers, from 1, in that order.

    By area, or by the centroid along that axis; of two alike the one that comes first in reading order. `middles` are
    the centroids, where they are known already.
    """
    if order in ("big-to-small", "small-to-big"):
        key = parts.areas.astype(float)
    else:
        key = (centroids(parts) if middles is None else middles)[:, 0 if "left" in order else 1]
    falls = order in ("big-to-small", "right-to-left", "bottom-to-top")
    return np.argsort(-key if falls else key, kind="stable") + 1


def selected(mask: NDArray[np.bool_], min_area: float, keep: Keep) -> NDArray[np.bool_]:
    """(H, W) bool -> the same without parts of less than `min_area` pixels, and of the rest only those to keep.

    A number beyond the last part names nothing, so "the third" of two is an empty mask.
    """
    if min_area <= 1 and keep.numbers is None:
        return mask
    parts = components(mask)
    stays = np.concatenate(([False], parts.areas >= min_area))  # (C + 1,), by number
    if keep.numbers is not None and keep.order is not None:
        order = sorted_parts(parts, keep.order)
        order = order[stays[order]]
        places = [number - 1 if number > 0 else number for number in keep.numbers]
        stays = np.zeros_like(stays)
        stays[[order[place] for place in places if -len(order) <= place < len(order)]] = True
    result = np.zeros_like(mask)
    result[parts.window] = stays[parts.numbers]
    return result


def touching(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Masks (H, W) -> the parts of the first that contain a pixel of the second."""
    parts = components(mask)
    stays = np.zeros(len(parts.areas) + 1, bool)
    stays[parts.numbers[seeds[parts.window]]] = True
    stays[0] = False
    result = np.zeros_like(mask)
    result[parts.window] = stays[parts.numbers]
    return result


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool -> the same with everything filled from which no path leads out of the picture."""
    window = window_of(mask)
    outside, count = ndimage.label(np.pad(~mask[window], 1, constant_values=True))
    if count <= 1:
        return mask
    result: NDArray[np.bool_] = mask.copy()
    result[window] = outside[1:-1, 1:-1] != outside[0, 0]
    return result
