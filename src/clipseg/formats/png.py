"""Maps as PNG files, exactly: probabilities in 8 and 16 bits, label maps with a palette, and back.

    soft      mode L, round(255 p)        never stretched, so that a level means one probability in every file
    png16     mode I;16, round(65535 p)
    labels    mode P, 0 background, class k is k, 255 void, in the colours of Pascal VOC

Binary masks are `masks.png`. H W a picture's size.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import DataError, UsageError
from clipseg.masks.mask import Mask
from clipseg.masks.masks import Masks
from clipseg.masks.png import save_binary, save_picture
from clipseg.masks.thresholds import Threshold

VOID = 255
"""The index of pixels that belong to no class, and are not background either."""

MOST_CLASSES = 254


def soft_picture(values: NDArray[np.floating[Any]]) -> Image.Image:
    """(H, W) from 0 to 1 -> a picture of mode L: round(255 p). Raises UsageError."""
    return Image.fromarray(_levels(values, 255).astype(np.uint8))


def soft16_picture(values: NDArray[np.floating[Any]]) -> Image.Image:
    """(H, W) from 0 to 1 -> a picture of mode I;16: round(65535 p). Raises UsageError."""
    return Image.fromarray(_levels(values, 65535).astype(np.uint16))


def label_picture(classes: NDArray[np.integer[Any]]) -> Image.Image:
    """(H, W) whole numbers, 0 background, 255 void -> a picture of mode P in VOC's colours. Raises UsageError."""
    if not np.issubdtype(classes.dtype, np.integer) or classes.ndim != 2 or not classes.size:
        raise UsageError(f"a label map is (H, W) whole numbers; got {classes.shape} {classes.dtype}")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high > VOID:
        raise UsageError(f"an indexed picture holds classes 0 to {MOST_CLASSES} and {VOID}; got {low} to {high}")
    picture = Image.fromarray(classes.astype(np.uint8))
    picture.putpalette(voc_palette().tobytes())  # which makes it mode P
    return picture


@cache
def voc_palette() -> NDArray[np.uint8]:
    """-> (256, 3): the colours of Pascal VOC (its development kit of 2012), index 0 black.

    The bits of an index, from the lowest, are in turn the highest of red, green and blue, the next ones, and so on.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(3):
        for channel in range(3):
            bit = 3 * place + channel
            colours[:, channel] |= ((index >> bit & 1) << (7 - place)).astype(np.uint8)
    colours.flags.writeable = False
    return colours


# One file each, as the table of formats names them


def write_binary(path: str | os.PathLike[str], mask: Mask, threshold: float | str | None = None) -> list[Path]:
    """A mask -> a PNG of 0 and 255, and its path. Raises as `Mask.binary`, and OutputError."""
    save_binary(path, mask.binary(threshold))
    return [Path(path)]


def write_soft(path: str | os.PathLike[str], mask: Mask) -> list[Path]:
    """A mask -> a PNG of its probabilities in 8 bits. Raises OutputError."""
    save_picture(path, soft_picture(mask.soft().numpy()))
    return [Path(path)]


def write_soft16(path: str | os.PathLike[str], mask: Mask) -> list[Path]:
    """A mask -> a PNG of its probabilities in 16 bits. Raises OutputError."""
    save_picture(path, soft16_picture(mask.soft().numpy()))
    return [Path(path)]


def write_label_map(path: str | os.PathLike[str], masks: Masks, threshold: Threshold | None = None) -> list[Path]:
    """Masks -> an indexed PNG in which the k-th label is k. Raises UsageError for more than 254, and OutputError."""
    if len(masks) > MOST_CLASSES:
        raise UsageError(f"an indexed picture holds {MOST_CLASSES} labels; these masks have {len(masks)}")
    save_picture(path, label_picture(masks.label_map(threshold).numpy()))
    return [Path(path)]


# Reading


def read_binary(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """A PNG of 0 and 255 -> (H, W) bool. Raises DataError for other levels and other modes."""
    levels = _pixels(path, ("L",))
    if not ((levels == 0) | (levels == 255)).all():
        raise DataError(f"{path} is no binary mask: it has levels between 0 and 255; read it with read_soft")
    white: NDArray[np.bool_] = levels == 255
    return white


def read_soft(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """A PNG of 8 or 16 bits of grey -> (H, W) float32 from 0 to 1. Raises DataError."""
    levels = _pixels(path, ("L", "I;16", "I;16B"))
    most = 255 if levels.dtype == np.uint8 else 65535
    values: NDArray[np.float32] = np.divide(levels, most, dtype=np.float32)
    return values


def read_label_map(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """A PNG with a palette, or of grey -> (H, W) uint8 indices. Raises DataError."""
    return _pixels(path, ("P", "L")).astype(np.uint8)


def _pixels(path: str | os.PathLike[str], modes: tuple[str, ...]) -> NDArray[Any]:
    try:
        with Image.open(path) as picture:
            if picture.mode not in modes:
                raise DataError(f"{path} is a picture of mode {picture.mode}; expected {' or '.join(modes)}")
            return np.array(picture)
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as a picture ({getattr(error, 'strerror', None) or error})") from error


def _levels(values: NDArray[np.floating[Any]], most: int) -> NDArray[np.float32]:
    """(H, W) from 0 to 1 -> whole levels from 0 to `most`, in float32, which has 24 bits. Raises UsageError."""
    levels: NDArray[np.float32] = np.rint(checked_values(values) * np.float32(most))
    return levels


def checked_values(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """-> the same in float32. Raises UsageError unless it is (H, W) numbers from 0 to 1."""
    if not np.issubdtype(values.dtype, np.floating) or values.ndim != 2 or not values.size:
        raise UsageError(f"a soft mask is (H, W) floats; got {values.shape} {values.dtype}")
    if not (values.min() >= 0 and values.max() <= 1):  # false for NaN as well
        raise UsageError(f"a soft mask holds numbers from 0 to 1; got {values.min()} to {values.max()}")
    return values.astype(np.float32, copy=False)
