"""Things cut out of their pictures: with transparency, on a colour, and cropped to their boxes.

H W the picture's size. A mask is bool for a hard edge, or float from 0 to 1 for a soft one.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import UsageError
from clipseg.formats.png import checked_values
from clipseg.masks.draw import colour_named
from clipseg.masks.instances import Instance
from clipseg.masks.lengths import Length, checked_length, pixels
from clipseg.masks.mask import Mask
from clipseg.masks.png import save_picture

Box = tuple[int, int, int, int]


def cutout(picture: Image.Image, mask: NDArray[Any], background: str | None = None) -> Image.Image:
    """A picture and a mask (H, W) -> RGBA, as opaque as the mask; on a background colour RGB.

    Transparency that the picture already has stays. Where nothing of it is left its colour is removed as well: what was
    cut away is not in the file any more. `background` is a colour as Pillow names them, "white" or "#1e90ff". Raises
    UsageError for a mask of another size, numbers beyond 0 to 1 and a colour that is not known.
    """
    if mask.shape != (picture.height, picture.width):
        sizes = f"{picture.height}x{picture.width} but its mask is {'x'.join(map(str, mask.shape))}"
        raise UsageError(f"the picture is {sizes}; hand over the very picture that was segmented")
    colour = None if background is None else colour_named(background)
    pixels = np.array(picture.convert("RGBA"))
    if mask.dtype == np.bool_:
        pixels[~mask] = 0
    else:
        pixels[..., 3] = np.rint(pixels[..., 3] * checked_values(mask))
        pixels[pixels[..., 3] == 0] = 0
    cut = Image.fromarray(pixels)
    if colour is None:
        return cut
    ground = Image.new("RGB", picture.size, colour)
    ground.paste(cut, mask=cut)
    return ground


def box_with_margin(box_xyxy: Box, margin: Length, size_hw: tuple[int, int]) -> Box:
    """A half-open box -> the same with a margin on every side, as far as the picture reaches.

    `margin` is in pixels, rounded, or "N%" of the picture's shorter side. Raises UsageError.
    """
    wide = round(pixels(checked_length("margin", margin, "the picture's shorter side"), size_hw))
    x0, y0, x1, y1 = box_xyxy
    return max(0, x0 - wide), max(0, y0 - wide), min(size_hw[1], x1 + wide), min(size_hw[0], y1 + wide)


def objects(
    mask: Mask, threshold: float | str | None = None, *, margin: Length = 0, background: str | None = None
) -> Iterator[Image.Image]:
    """A mask -> its connected parts, each cut out and cropped to its box, in the order of `Mask.instances`.

    Other parts that reach into a box are not seen in it. Raises as `cutout` and `Mask.instances`, and UsageError for
    masks without their picture.
    """
    picture = picture_of(mask)
    for part in mask.instances(threshold):
        x0, y0, x1, y1 = box = box_with_margin(part.box_xyxy, margin, mask.size_hw)
        yield cutout(picture.crop(box), part.mask()[y0:y1, x0:x1].numpy(), background)


def write_cutout(
    path: str | os.PathLike[str],
    mask: Mask,
    threshold: float | str | None = None,
    *,
    soft: bool = False,
    background: str | None = None,
) -> list[Path]:
    """A mask -> its picture cut out, and the path.

    As opaque as `Mask.matte`, whose edges are as soft as the option `feather` says; or with `soft` as probable,
    whatever the threshold. Raises as `cutout`, and OutputError.
    """
    alpha = mask.soft() if soft else mask.matte(threshold)
    save_picture(path, cutout(picture_of(mask), alpha.numpy(), background))
    return [Path(path)]


def write_objects(
    path: str | os.PathLike[str],
    mask: Mask,
    threshold: float | str | None = None,
    *,
    margin: Length = 0,
    background: str | None = None,
) -> list[Path]:
    """A mask and a path "cup.png" -> `objects` as "cup.1.png", "cup.2.png" ..., and those paths. Raises OutputError."""
    path = Path(path)
    written = []
    for number, image in enumerate(objects(mask, threshold, margin=margin, background=background), 1):
        written.append(path.with_name(f"{path.stem}.{number}{path.suffix}"))
        save_picture(written[-1], image)
    return written


def write_cut(
    path: str | os.PathLike[str],
    mask: Mask,
    part: Instance | None = None,
    *,
    soft: bool = False,
    background: str | None = None,
    crop: bool = False,
    margin: Length = 0,
) -> list[Path]:
    """A mask, or a part of it -> its picture cut out, and its path.

    As opaque as `Mask.matte`, or with `soft` as probable. `crop` leaves the box of the mask with a margin; of an empty
    mask the whole. Raises as `cutout`, and OutputError.
    """
    opacity = (mask.soft() if soft else mask.matte()).numpy()  # (H, W)
    if part is not None:
        opacity = opacity * part.mask().numpy()
    cut = cutout(picture_of(mask), opacity, background)
    rows, columns = np.flatnonzero((opacity > 0).any(1)), np.flatnonzero((opacity > 0).any(0))
    if crop and len(rows):
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        cut = cut.crop(box_with_margin(box, margin, mask.size_hw))
    save_picture(path, cut)
    return [Path(path)]


def picture_of(mask: Mask) -> Image.Image:
    """-> the picture that was segmented. Raises UsageError where it was not kept."""
    if mask.picture is None:
        raise UsageError("these masks were made without their picture, of which nothing can be cut out or drawn on")
    return mask.picture
