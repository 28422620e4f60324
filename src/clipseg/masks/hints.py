"""What a soft mask says about where its object is, in the form that click-to-mask models ask for.

H W a picture's size. Found on a mask of at most 256 pixels a side, so the cost does not depend on the picture.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipseg.masks.components import components, sorted_parts, window_of
from clipseg.masks.rules import DEFAULT_THRESHOLD

_SIDE = 256
_SURE_OUTSIDE = 0.25  # of the threshold: what is less probable is no part of the object
_MARGIN = 0.1  # of the box, around it, that negative points may lie in


class Hints(NamedTuple):
    """Where an object is, in pixels of the picture.

    Fields
        box_xyxy   half-open, around everything that passes; None where nothing does
        points_xy  (N, 2) float32, at the middles of pixels; those inside first
        inside     (N,) bool: whether a point is on the object; as 1 and 0 these are the labels that SAM asks for
    """

    box_xyxy: tuple[int, int, int, int] | None
    points_xy: NDArray[np.float32]
    inside: NDArray[np.bool_]


def hints_of(
    soft: NDArray[np.float32], threshold: float = DEFAULT_THRESHOLD, *, positives: int = 3, negatives: int = 2
) -> Hints:
    """A soft mask (H, W) from 0 to 1 -> its box, and points inside and beside it.

    Positive points lie where they are furthest from the edge, one in each of the largest connected parts; negative ones
    in or just around the box, furthest from everything that might be the object.
    """
    passes = soft > threshold
    rows, columns = window_of(passes)
    if rows.start == rows.stop:
        return Hints(None, np.zeros((0, 2), np.float32), np.zeros(0, bool))
    box = (columns.start, rows.start, columns.stop, rows.stop)
    margin = math.ceil(_MARGIN * max(box[2] - box[0], box[3] - box[1]))
    left, top = max(0, box[0] - margin), max(0, box[1] - margin)
    around = soft[top : box[3] + margin, left : box[2] + margin]
    height, width = around.shape
    scale = max(1.0, max(height, width) / _SIDE)
    size_wh = max(1, round(width / scale)), max(1, round(height / scale))
    small = np.asarray(Image.fromarray(around).resize(size_wh, Image.Resampling.BOX))

    cells: list[tuple[int, int]] = []
    parts = components(small > threshold)
    for number in sorted_parts(parts, "big-to-small")[:positives] if len(parts.areas) else ():
        part = np.zeros(small.shape, bool)
        part[parts.window] = parts.numbers == number
        cells.append(_deepest(part))
    found = len(cells)
    outside = small < _SURE_OUTSIDE * threshold
    for _ in range(negatives):
        if not outside.any():
            break
        y, x = cell = _deepest(outside)
        cells.append(cell)
        reach = max(small.shape) // 4  # the next one lies elsewhere
        outside[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = False

    points = [_middle(cell, small.shape, around.shape) for cell in cells]
    if not found:  # so thin that it fades in the smaller mask: its most probable pixel
        row, column = divmod(int(around.argmax()), width)
        points.insert(0, (column + 0.5, row + 0.5))
    shifted = np.array(points, np.float32) + np.array((left, top), np.float32)
    return Hints(box, shifted, np.arange(len(points)) < max(1, found))


def _deepest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """(h, w) bool -> row and column of the pixel furthest from everything else and from the border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    deepest = np.flatnonzero(depth == depth.max())
    row, column = divmod(int(deepest[len(deepest) // 2]), mask.shape[1])  # the middle one along a ridge
    return row, column


def _middle(cell: tuple[int, int], small: tuple[int, ...], full: tuple[int, ...]) -> tuple[float, float]:
    """Row and column on the smaller mask -> x and y of the pixel's middle there, on the full one."""
    y, x = (math.floor((place + 0.5) * many / few) + 0.5 for place, few, many in zip(cell, small, full, strict=True))
    return x, y
