"""Masks as polygons and back.

H W a mask's size, N the vertices of a ring. A ring is (N, 2) float64, x and y in pixels from the picture's top left
corner, so that the pixel in column 2 and row 1 reaches from (2, 1) to (3, 2) and the middle of it is (2.5, 1.5).

Boundaries run a hundredth of a pixel inside the edges between pixels. Readers that ask on which side the middle of a
pixel lies, pycocotools among them, do not notice; readers that fill every pixel a ring touches (Pillow) or cut off
fractions first find the very same pixels, and would find a row and a column too many on the edges themselves.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import contourpy
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clipseg.errors import DataError, UsageError
from clipseg.masks.components import window_of
from clipseg.masks.rle import checked_mask, decode

Ring = NDArray[np.float64]

DECIMALS = 2
"""Vertices have no more than these, except where they were read."""

_LEVEL = 0.51  # between 0 outside and 1 inside; above the half by the hundredth of a pixel
_TOLERANCES = (0.5, 0.35, 0.25, 0.1, 0.0)  # pixels; beyond half of one, small things would lose their shape
_PART = 0.01  # of a polygon's area that a simplification may add or take away


class Polygon(NamedTuple):
    """One connected part of a mask: its outer ring, and a ring around each of its holes."""

    outer: Ring
    holes: tuple[Ring, ...]


def polygons(mask: NDArray[np.bool_], tolerance: float | None = None) -> list[Polygon]:
    """(H, W) bool -> its polygons; none where nothing is inside.

    `tolerance` is how far in pixels a boundary may be moved to save vertices; at 0 every pixel stays where it is. Left
    out, it is half a pixel, or as much less as keeps the change of each polygon within a hundredth of its area: then
    small and thin things stay exact and the IoU of what is read back is 0.98 at least. Raises UsageError for another
    mask or a negative tolerance.
    """
    if tolerance is not None and not 0 <= tolerance < np.inf:
        raise UsageError(f"tolerance is a number of pixels of at least 0, or None; got {tolerance!r}")
    rows, columns = window_of(checked_mask(mask))
    if rows.start == rows.stop:
        return []
    ground = np.pad(mask[rows, columns].astype(np.float32), 1)
    generator = contourpy.contour_generator(z=ground, fill_type=contourpy.FillType.OuterOffset)
    corner = np.array([columns.start, rows.start]) - 0.5  # a pixel of padding less, half of one to its middle
    found = []
    for points, offsets in zip(*generator.filled(_LEVEL, np.inf), strict=True):
        rings = [_tidied(points[start : stop - 1] + corner) for start, stop in pairwise(offsets)]
        kept = _harmless(rings) if tolerance is None else [_kept(ring, tolerance) for ring in rings]
        outer, *holes = (np.round(ring[keep], DECIMALS) for ring, keep in zip(rings, kept, strict=True))
        found.append(Polygon(outer, tuple(holes)))
    return found


def one_ring(polygon: Polygon) -> Ring:
    """A polygon -> one ring, from which its holes are cut by a way there and the same way back.

    Ways cross one another where they must; as each is walked twice, filling by the even-odd rule is none the wiser.
    """
    outer, holes = polygon
    detours: dict[int, list[Ring]] = {}
    for hole in holes:
        start = int(hole[:, 0].argmin())
        place = int(((outer - hole[start]) ** 2).sum(axis=1).argmin())
        closed = np.concatenate((hole[start:], hole[: start + 1]))
        detours.setdefault(place, []).extend((closed, outer[place : place + 1]))
    pieces, done = [], 0
    for place in sorted(detours):
        pieces += [outer[done : place + 1], *detours[place]]
        done = place + 1
    return np.concatenate((*pieces, outer[done:]))


def rings(mask: NDArray[np.bool_], tolerance: float | None = None) -> list[Ring]:
    """(H, W) bool -> a ring for each connected part, holes cut out: `one_ring` of all `polygons`."""
    return [one_ring(polygon) for polygon in polygons(mask, tolerance)]


def rasterise(rings: Sequence[Ring], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Rings and a size -> (H, W) bool: pixels whose middle is inside at least one, each filled by the even-odd rule.

    Raises DataError for rings of fewer than three vertices, and for vertices that lie beyond all reason.
    """
    height, width = size_hw
    flat = []
    for ring in rings:
        if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2:
            raise DataError(f"a polygon is (N, 2) with 3 vertices at least; got {ring.shape}")
        if not (np.abs(ring) <= 2 * max(size_hw)).all():  # false for NaN as well
            raise DataError(f"a polygon for a picture of {height}x{width} has vertices far outside it, or no numbers")
        flat.append(ring.ravel().tolist())
    if not flat:
        return np.zeros(size_hw, np.bool_)
    return decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))


def _tidied(ring: Ring) -> Ring:
    """A ring straight from the grid -> without vertices on straight ways, and with true corners.

    Between pixels a contour cuts every corner short. Where a stroke along one axis is followed by such a cut and then
    by a stroke along the other, the two are prolonged until they meet, so that a rectangle has four vertices.
    """
    ring = _bends(ring)
    ways = np.roll(ring, -1, axis=0) - ring  # (N, 2): from each vertex to the next
    flat, upright = np.isclose(ways[:, 1], 0), np.isclose(ways[:, 0], 0)
    short = (np.abs(ways) < 0.6).all(axis=1) & ~flat & ~upright
    before_flat, before_upright = np.roll(flat, 1), np.roll(upright, 1)
    after_flat, after_upright = np.roll(flat, -1), np.roll(upright, -1)
    following = np.roll(ring, -1, axis=0)
    first = short & before_flat & after_upright  # ... x of what follows, y of what was
    second = short & before_upright & after_flat
    tidy = ring.copy()
    tidy[first, 0] = following[first, 0]
    tidy[second, 1] = following[second, 1]
    tidied: Ring = tidy[~np.roll(first | second, 1)]
    return tidied


def _bends(ring: Ring) -> Ring:
    """A ring -> the same without vertices in which it does not change its direction."""
    came, goes = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = came[:, 0] * goes[:, 1] - came[:, 1] * goes[:, 0]
    bends: Ring = ring[np.abs(turn) > 1e-9]
    return bends


def _harmless(rings: Sequence[Ring]) -> list[NDArray[np.bool_]]:
    """The rings of a polygon -> which vertices to keep: as few as change its area by that part at most."""
    outer, *holes = (_area(ring) for ring in rings)
    for tolerance in _TOLERANCES:
        kept = [_kept(ring, tolerance) for ring in rings]
        if sum(map(_change, rings, kept)) <= _PART * (outer - sum(holes)):
            break  # at the last one: nothing changes at 0
    return kept


def _change(ring: Ring, keep: NDArray[np.bool_]) -> float:
    """A ring (N, 2) and the vertices of it that stay (N,), the first among them -> the area that the others bound.

    At most, that is: each stroke's length times the mean of how far its ends are from the way that replaces it.
    """
    closed, places = np.concatenate((ring, ring[:1])), np.append(np.flatnonzero(keep), len(ring))
    way = np.append(np.cumsum(keep) - 1, keep.sum() - 1)  # (N + 1,): which of the ways a vertex is beside
    starts = closed[places[way]]
    away = _distances(closed, starts, closed[places[way + 1]])
    away[places] = 0
    lengths = np.hypot(*np.diff(closed, axis=0).T)
    return float(lengths @ (away[1:] + away[:-1])) / 2


def _area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _kept(ring: Ring, tolerance: float) -> NDArray[np.bool_]:
    """A ring -> its vertices that stay, so that the others are within `tolerance` of the ways between these.

    The method is that of Douglas and Peucker (1973).
    """
    if tolerance <= 0 or len(ring) <= 4:
        return np.ones(len(ring), np.bool_)
    far = int(((ring - ring[0]) ** 2).sum(axis=1).argmax())
    closed = np.concatenate((ring, ring[:1]))
    keep = np.zeros(len(closed), np.bool_)
    keep[[0, far, -1]] = True
    parts = np.array([(0, far), (far, len(ring))])  # (K, 2): the vertices that stay at both ends of each
    while len(parts := parts[parts[:, 1] - parts[:, 0] >= 2]):  # all at once: numpy's calls cost more than its work
        lengths = parts[:, 1] - parts[:, 0] - 1
        begins = np.cumsum(lengths) - lengths
        part = np.repeat(np.arange(len(parts)), lengths)  # (M,): of each vertex between ends
        places = np.arange(len(part)) - begins[part] + parts[part, 0] + 1
        away = _distances(closed[places], closed[parts[part, 0]], closed[parts[part, 1]])
        worst = np.maximum.reduceat(away, begins)
        furthest = np.flatnonzero(away == worst[part])
        middles = places[furthest[np.searchsorted(part[furthest], np.arange(len(parts)))]]  # of two alike the first
        far_off = worst > tolerance
        parts, middles = parts[far_off], middles[far_off]
        keep[middles] = True
        parts = np.concatenate((np.stack((parts[:, 0], middles), 1), np.stack((middles, parts[:, 1]), 1)))
    if keep.sum() < 4:  # a line: give it back the vertex that makes it a triangle
        keep[int(_distances(ring, ring[0], ring[far]).argmax())] = True
    return keep[:-1]


def _distances(points: Ring, starts: Ring, stops: Ring) -> NDArray[np.float64]:
    """Points (N, 2) -> how far each is from the straight way between two others (N,), the same for all or its own."""
    ways, offsets = stops - starts, points - starts
    squares = (ways * ways).sum(axis=-1)
    along = np.clip((offsets * ways).sum(axis=-1) / np.where(squares > 0, squares, 1), 0, 1)
    away: NDArray[np.float64] = np.hypot(*(offsets - along[:, None] * ways).T)
    return away
