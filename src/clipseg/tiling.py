"""Large pictures: overlapping tiles for what is small, one pass over the whole for what is large.

    plan = planned((6000, 9000), tile="20%")         # which squares of the picture are looked at
    plan.joined(whole_logits, logits_of_each_tile)   # what was seen there, as one map

A model sees every picture at one small size, so an object of a hundredth of the picture is a few patches to it. A tile
shows it larger, and cuts large ones to pieces. Hence both, joined by size:

    tiles ──windows that fade towards their edges──> one map ──┐
                                                               ├──> the higher of the two where the whole pass is sure
    whole picture ───────────────────────────> another map ────┘    of what is large against a tile; elsewhere tiles

Blending is a weighted mean of logits: that of probabilities scores the same on scenes (mean IoU within 0.005) and would
have to be turned back. The plain maximum of both maps was measured and refused: in a picture full of small things it is
the whole pass that invents, and the maximum keeps all of that.

Nothing here knows a model or a picture: a plan is numbers, and what it joins are maps.

Shapes: P prompts · s a side of a tile's logits · h, w of the blended map · H, W of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import NamedTuple, TypeAlias

import torch

from clipseg.errors import UsageError
from clipseg.masks.lengths import Length, checked_length, pixels
from clipseg.masks.resample import resize

TILE: Length = "33%"
OVERLAP: Length = "25%"
LOGITS_SIDE = 2048
"""Most cells of a blended map on its longer side."""

LARGE = 0.45
"""Part of a tile that something must fill for the whole pass to be believed in full; the best of 0.3, 0.45 and 0.6."""

BoxXYXY: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class TilePlan:
    """Square tiles of `side` pixels over a picture of `size_hw`, which begin at all `tops` and `lefts`."""

    size_hw: tuple[int, int]
    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @cached_property
    def boxes(self) -> list[BoxXYXY]:
        """Where the tiles are, row by row; none where one tile would be the whole picture."""
        if self.side == max(self.size_hw):
            return []
        return [(left, top, left + self.side, top + self.side) for top, left in product(self.tops, self.lefts)]

    def joined(
        self, whole: torch.Tensor, tiles: Iterable[torch.Tensor], logits_side: int = LOGITS_SIDE
    ) -> torch.Tensor:
        """Logits of the whole picture (P, s, s) and those of each tile in the order of `boxes` -> one map (P, h, w).

        It has the resolution of the tiles' own (the model's side by tile: 1067 for a square picture and the defaults at
        352), but no more than `logits_side` on the longer side. Tiles are asked for one by one, and none is kept.
        """
        if not self.boxes:
            return whole
        each = iter(tiles)
        first = next(each)
        longest = max(
            length * samples / self.side for length, samples in zip(self.size_hw, first.shape[1:], strict=True)
        )
        shrink = min(1.0, logits_side / longest)
        rows = spans(self.size_hw[0], self.side, self.tops, first.shape[1], shrink)
        columns = spans(self.size_hw[1], self.side, self.lefts, first.shape[2], shrink)
        blended = torch.zeros(len(whole), rows[-1].cells.stop, columns[-1].cells.stop)  # (P, h, w)
        for (row, column), logits in zip(product(rows, columns), chain([first], each), strict=True):
            blended[:, row.cells, column.cells] += row.blend @ logits @ column.blend.T
        _add_large_things(blended, whole, (self.side / self.size_hw[0], self.side / self.size_hw[1]))
        return blended


def planned(size_hw: tuple[int, int], tile: Length = TILE, overlap: Length = OVERLAP) -> TilePlan:
    """A picture's size -> where to look at it.

    `tile` is the side of the square tiles, in pixels or "N%" of the picture's shorter side, which is the longest it can
    be; about three times as long as the things looked for is best. `overlap` is how far neighbours reach into each
    other at least, in pixels or "N%" of a tile, less than 100 %; tiles that are smaller than asked, for the picture is,
    overlap as much less. Raises UsageError for a length out of range.
    """
    tile, overlap = checked_tile(tile), checked_overlap(overlap)
    wide = pixels(tile, size_hw)
    if 0 < wide < 1:  # less than a pixel of a picture as thin as a line: it is seen whole, and no tiles of it are
        return TilePlan(size_hw, max(size_hw), (0,), (0,))
    asked = round(wide)
    shared = pixels(overlap, (asked, asked))
    if wide <= 0 or shared >= asked:
        raise UsageError(f"tiles of {tile} with an overlap of {overlap} never get on; make them larger or overlap less")
    side = min(asked, *size_hw)
    shared *= side / asked  # so that what gets on in large pictures does in small ones
    tops, lefts = (tuple(starts(length, side, shared)) for length in size_hw)
    return TilePlan(size_hw, side, tops, lefts)


def checked_tile(tile: object) -> Length:
    """A side of tiles -> the same, read. Raises UsageError for what is no length."""
    return checked_length("tile", tile, "the picture's shorter side")


def checked_overlap(overlap: object) -> Length:
    """An overlap of tiles -> the same, read. Raises UsageError for what is no length."""
    return checked_length("overlap", overlap, "the tile")


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles of `side` begin that cover `length` pixels, evenly spread and overlapping at least so far."""
    gaps = math.ceil((length - side) / max(1, side - overlap))
    return [round(number * (length - side) / max(1, gaps)) for number in range(gaps + 1)]


class Span(NamedTuple):
    """What one tile gives to the blended map along one axis: which cells, and how its s samples make them."""

    cells: slice
    blend: torch.Tensor  # (cells, s)


def spans(length: int, side: int, begins: Sequence[int], samples: int, shrink: float) -> list[Span]:
    """Tiles along an axis of `length` pixels -> their spans, which share out every cell: all rows of it sum to 1.

    So a constant is kept as it is, and a slope too, half a sample at the ends aside. Tiles are read between samples at
    their own resolution, weighted by a raised cosine over the whole tile (an object is best seen from its middle),
    and then, where `shrink` is below 1, averaged over cells as much larger.
    """
    fine = max(1, round(length * samples / side))
    cells = max(1, round(fine * shrink))
    centres = (torch.arange(fine, dtype=torch.float64) + 0.5) * length / fine  # pixels
    parts: list[tuple[slice, torch.Tensor]] = []
    total = torch.zeros(fine, dtype=torch.float64)
    for begin in begins:
        inside = (centres >= begin) & (centres < begin + side)
        low = int(inside.int().argmax())
        part = slice(low, low + int(inside.sum()))
        across = (centres[part] - begin) / side  # 0 to 1
        window = (torch.sin(math.pi * across) ** 2).clamp(min=1e-6)  # not 0: without overlap nobody else is there
        distance = (across[:, None] * samples - 0.5).clamp(0, samples - 1) - torch.arange(samples)
        total[part] += window
        parts.append((part, window[:, None] * (1 - distance.abs()).clamp(min=0)))  # linear between samples
    return [_shrunk(part, blend / total[part, None], fine, cells) for part, blend in parts]


def _shrunk(part: slice, blend: torch.Tensor, fine: int, cells: int) -> Span:
    """Rows for some of `fine` cells -> rows for those of the fewer `cells` that they lie in, by the share they take."""
    ratio = fine / cells
    first, last = math.floor(part.start / ratio), min(cells, math.ceil(part.stop / ratio))
    edges = torch.arange(first, last + 1, dtype=torch.float64) * ratio
    here = torch.arange(part.start, part.stop, dtype=torch.float64)
    shares = torch.minimum(edges[1:, None], here + 1) - torch.maximum(edges[:-1, None], here)
    return Span(slice(first, last), (shares.clamp(min=0) / ratio @ blend).float())


def _add_large_things(tiles: torch.Tensor, whole: torch.Tensor, window: tuple[float, float]) -> None:
    """Raise blended tiles (P, h, w) in place to the logits of the whole (P, s, s), where those show something large.

    Large is what fills `LARGE` of a `window` around a pixel, which is a tile in shares of the picture; below, the whole
    pass counts the less the less there is.
    """
    down, across = (_means(samples, share) for samples, share in zip(whole.shape[1:], window, strict=True))
    for tile, logits in zip(tiles, whole, strict=True):  # one by one, so that P does not count
        filled = down @ logits.sigmoid() @ across.T
        both = resize(torch.stack((logits, filled)), (tile.shape[0], tile.shape[1]))
        share = (both[1] / LARGE).clamp_(0, 1)
        trust = share.square() * (3 - 2 * share)  # smooth at both ends
        tile += (both[0] - tile).clamp_(min=0) * trust


def _means(samples: int, share: float) -> torch.Tensor:
    """-> (s, s): the mean over a window of that share of an axis around every sample, as far as the axis goes."""
    place = torch.arange(samples)
    near = ((place[:, None] - place).abs() <= share * samples / 2).float()
    return near / near.sum(1, keepdim=True)
