"""How a picture is brought to the model's input, which has one size and mostly is a square.

    squash      resized whatever its shape, as in training
    letterbox   its shape kept, the rest of the input filled up; the padding's logits are cut off again
    crop        its centre square alone; what lies outside is "not here"
    tile        squashed, and once more each of the overlapping squares that `tiling` plans

Shapes: h, w the model's input, whose logits have its size · H, W picture · L prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from PIL import Image

from clipseg.errors import UsageError
from clipseg.masks.combine import LOGIT_LIMIT
from clipseg.masks.lengths import Length
from clipseg.masks.resample import resize
from clipseg.processing.image_processors import ImageProcessor
from clipseg.tiling import OVERLAP, TILE, BoxXYXY, TilePlan, checked_overlap, checked_tile, planned

DEFAULT_FIT = "squash"


class FittedPicture(NamedTuple):
    """A picture as the model's input, and where the one lies in the other.

    Fields
        pixels   (1, 3, h, w)
        content  where the picture is in the input; None: it is all of it
        seen     what of the picture is there, in its pixels; None: all of it
    """

    pixels: torch.Tensor
    content: BoxXYXY | None = None
    seen: BoxXYXY | None = None


def squash(picture: Image.Image, processor: ImageProcessor) -> FittedPicture:
    """A picture in RGB -> resized as its processor says, mostly to a square whatever its shape."""
    return FittedPicture(processor.pixel_values(picture))


def letterbox(picture: Image.Image, processor: ImageProcessor) -> FittedPicture:
    """A picture in RGB -> its shape kept, the rest of the input filled up on both sides.

    What fills it is 0 after normalisation, which is the mean colour. A processor that keeps the shape by itself has
    nothing to fill.
    """
    if not (processor.do_resize and "height" in processor.size):
        return squash(picture, processor)
    height, width = processor.size["height"], processor.size["width"]
    scale = min(height / picture.height, width / picture.width)
    inner = {"height": max(1, round(picture.height * scale)), "width": max(1, round(picture.width * scale))}
    pixels = processor.preprocess(picture, size=inner, return_tensors="pt")["pixel_values"]
    left, top = (width - inner["width"]) // 2, (height - inner["height"]) // 2
    right, bottom = left + inner["width"], top + inner["height"]
    filled = F.pad(pixels, (left, width - right, top, height - bottom))
    return FittedPicture(filled, (left, top, right, bottom))


def crop(picture: Image.Image, processor: ImageProcessor) -> FittedPicture:
    """A picture in RGB -> its largest square in the middle."""
    seen = centre_square(picture.size)
    return FittedPicture(processor.pixel_values(picture.crop(seen)), seen=seen)


def centre_square(size_wh: tuple[int, int]) -> BoxXYXY:
    """A picture's width and height -> its largest square in the middle."""
    width, height = size_wh
    side = min(size_wh)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


FITS: Mapping[str, Callable[[Image.Image, ImageProcessor], FittedPicture]] = {
    "squash": squash,
    "letterbox": letterbox,
    "crop": crop,
    "tile": squash,
}
"""Name -> how a whole picture is brought to the model's input. Tiles come on top."""


@dataclass(frozen=True)
class Fit:
    """A name of `FITS`; and of tiles, which only "tile" has, the side and the overlap, as `tiling.planned` reads them.

    Raises UsageError for a name that is not known, a length that is none, and for lengths without tiles.
    """

    name: str = DEFAULT_FIT
    tile: Length | None = None
    overlap: Length | None = None

    def __post_init__(self) -> None:
        if self.name not in FITS:
            near = get_close_matches(str(self.name), FITS, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"fit is {self.name!r}; {hint}known are {', '.join(FITS)}")
        if self.tile is not None:
            checked_tile(self.tile)
        if self.overlap is not None:
            checked_overlap(self.overlap)
        if self.name != "tile" and (self.tile, self.overlap) != (None, None):
            raise UsageError(
                f"tile and overlap are of tiles, but fit is {self.name!r}; make it 'tile' or leave them out"
            )

    @classmethod
    def of(cls, name: str | None, tile: Length | None, overlap: Length | None) -> Fit | None:
        """What a caller said -> the fit, or None where nothing was said."""
        if (name, tile, overlap) == (None, None, None):
            return None
        return cls(DEFAULT_FIT if name is None else name, tile, overlap)

    def plan(self, size_hw: tuple[int, int]) -> TilePlan | None:
        """A picture's size -> its tiles, where the fit has some. Raises UsageError for tiles that never get on."""
        if self.name != "tile":
            return None
        return planned(
            size_hw, TILE if self.tile is None else self.tile, OVERLAP if self.overlap is None else self.overlap
        )


def of_the_picture(
    logits: torch.Tensor, content: BoxXYXY | None, seen: BoxXYXY | None, size_hw: tuple[int, int]
) -> torch.Tensor:
    """Logits of the input (L, h, w) -> those of the picture: padding cut off, the lowest ones where nothing was seen.

    They may come out larger then, but never larger than the picture.
    """
    if content is not None:
        x0, y0, x1, y1 = content  # a pixel of the input is one of the logits
        logits = logits[:, y0:y1, x0:x1]
    if seen is None or (seen[2] - seen[0], seen[3] - seen[1]) == size_hw[::-1]:
        return logits
    x0, y0, x1, y1 = seen
    cells_hw = min(logits.shape[1], y1 - y0), min(logits.shape[2], x1 - x0)
    if cells_hw != tuple(logits.shape[1:]):
        logits = resize(logits, cells_hw)
    across, down = cells_hw[1] / (x1 - x0), cells_hw[0] / (y1 - y0)  # cells to a pixel
    sides = (x0 * across, (size_hw[1] - x1) * across, y0 * down, (size_hw[0] - y1) * down)
    return F.pad(logits, tuple(map(round, sides)), value=-LOGIT_LIMIT)
