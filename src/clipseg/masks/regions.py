"""What most formats list: the masks of a picture, or their connected parts, as arrays. H W the picture's size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipseg.masks.boxes import boxes_xyxy
from clipseg.masks.thresholds import Threshold

if TYPE_CHECKING:
    from clipseg.masks.masks import Masks


class Region(NamedTuple):
    """One mask that is not empty, or one connected part of it.

    Fields
        label     what it is of
        mask      (H, W) bool
        box_xyxy  half-open, in pixels
        area      pixels
        score     of a mask `Masks.scores`, of a part the mean probability inside
    """

    label: str
    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    area: int
    score: float


def regions(masks: Masks, threshold: Threshold | None = None, *, instances: bool = False) -> Iterator[Region]:
    """-> every mask that is not empty, label by label; with `instances` its connected parts in turn. One at a time."""
    if instances:
        for part in masks.instances(threshold):
            yield Region(part.label, part.mask().numpy(), part.box_xyxy, part.area, part.score)
        return
    for label, score, inside in zip(masks.labels, masks.scores().tolist(), masks.each_binary(threshold), strict=True):
        if area := int(inside.sum()):
            x0, y0, x1, y1 = boxes_xyxy(inside[None])[0].tolist()
            yield Region(label, inside.numpy(), (x0, y0, x1, y1), area, score)
