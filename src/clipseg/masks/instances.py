"""Connected parts of masks as things of their own: numbered, sorted, measured, and drawn with their numbers.

H W the picture's size, h w that of a part's box. Parts are what a mask falls into, not what a model took for separate
things: two cups that touch are one part, and a cup behind a pole is two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from clipseg.errors import UsageError
from clipseg.masks import draw
from clipseg.masks.components import centroids, components, sorted_parts
from clipseg.masks.lettering import font
from clipseg.masks.resample import Surface
from clipseg.masks.rules import SORT_KEYS


@dataclass(frozen=True, eq=False, repr=False)
class Instance:
    """One connected part of a mask.

    Fields
        label        of the mask it is a part of
        number       its place in the order asked for, from 1; -1 in the option `keep` is the last of these numbers
        box_xyxy     half-open, in pixels of the picture
        area         pixels
        score        mean probability inside
        centroid_xy  mean of its pixels' middles; of a ring it lies in the hole
        crop         (h, w) bool: the part within its box
        size_hw      of the picture
    """

    label: str
    number: int
    box_xyxy: tuple[int, int, int, int]
    area: int
    score: float
    centroid_xy: tuple[float, float]
    crop: torch.Tensor
    size_hw: tuple[int, int]

    def mask(self) -> torch.Tensor:
        """-> (H, W) bool."""
        left, top, right, bottom = self.box_xyxy
        mask = torch.zeros(self.size_hw, dtype=torch.bool)
        mask[top:bottom, left:right] = self.crop
        return mask

    def __repr__(self) -> str:
        return f"Instance({self.label!r}, {self.number}, box_xyxy={self.box_xyxy}, area={self.area})"


def instances_of(label: str, mask: NDArray[np.bool_], surface: Surface, order: str) -> list[Instance]:
    """A mask (H, W) bool and its map of logits -> its parts, numbered in the order of a key of `rules.SORT_KEYS`.

    Raises UsageError for an order that is not known.
    """
    if order not in SORT_KEYS:
        raise UsageError(f"order is {order!r}; known are {', '.join(SORT_KEYS)}")
    parts = components(mask)
    if not len(parts.areas):
        return []
    (rows, columns), middles = parts.window, centroids(parts)
    boxes = ndimage.find_objects(parts.numbers)
    certain = surface.values(parts.window).numpy()
    instances = []
    for number, part in enumerate(sorted_parts(parts, order, middles), 1):
        down, across = box = boxes[part - 1]
        crop = parts.numbers[box] == part
        values = torch.from_numpy(certain[box][crop]).sigmoid()
        instances.append(
            Instance(
                label=label,
                number=number,
                box_xyxy=(
                    columns.start + across.start,
                    rows.start + down.start,
                    columns.start + across.stop,
                    rows.start + down.stop,
                ),
                area=int(parts.areas[part - 1]),
                score=float(values.mean()),
                centroid_xy=(float(middles[part - 1, 0]), float(middles[part - 1, 1])),
                crop=torch.from_numpy(crop),
                size_hw=(mask.shape[0], mask.shape[1]),
            )
        )
    return instances


def numbered(picture: Image.Image, instances: Sequence[Instance], alpha: float = 0.5) -> Image.Image:
    """A picture and parts of masks on it -> the picture with each filled and outlined, its number in its middle.

    The n-th part has the n-th colour. Raises UsageError where `alpha` is not in 0 to 1.
    """
    painted = draw.paint_masks(picture, (one.mask().numpy() for one in instances), alpha)
    pen = ImageDraw.Draw(painted)
    text = max(10, round(min(picture.size) / 25))
    for one in instances:
        pen.text(
            _middle(one),
            str(one.number),
            fill=(255, 255, 255),
            font=font(text),
            anchor="mm",
            stroke_width=max(1, text // 10),
            stroke_fill=(0, 0, 0),
        )
    return painted


def _middle(one: Instance) -> tuple[float, float]:
    """-> the middle of the pixel inside a part that is nearest to its centroid."""
    ys, xs = np.nonzero(one.crop.numpy())
    left, top, _, _ = one.box_xyxy
    x, y = one.centroid_xy[0] - left - 0.5, one.centroid_xy[1] - top - 0.5
    nearest = int(((xs - x) ** 2 + (ys - y) ** 2).argmin())
    return float(left + xs[nearest]) + 0.5, float(top + ys[nearest]) + 0.5
