"""Masks as people keep them in picture files, and which of their pixels are inside.

    one value besides 0        that value is inside: 255, 1, or any other
    more values                of grey (16 bits scaled to 8) what is above 127 is inside: soft edges, JPEG's noise
    a label map                classes by number, in a palette, below 128 or in large areas: refused
    with a `mask_value`        the pixels of just this value are inside; of a palette picture it is the index

Of colours the brightest channel counts, and what is transparent is outside. H W a picture's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipseg.data.listed import Marked
from clipseg.errors import DataError
from clipseg.processing.images import decoded, flatten, upright_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".ppm", ".pgm", ".jp2")
HALF = 127
FLAT = 20  # a picture of so few values is no soft mask, if those between 0 and the highest fill …
SOFT_PART = 0.2  # … more than this of what is not 0
SHOWN = 6  # values of a label map in a message


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A file that is the mask of one thing; `value` is the `mask_value` of above."""

    path: Path
    value: int | None = None

    def read(self, size_hw: tuple[int, int]) -> Marked:
        """The picture's (H, W) -> its mask. Raises PictureError for no picture, DataError for another size."""
        levels, by_number = mask_levels(self.path)
        if levels.shape != size_hw:
            raise DataError(sizes_differ(self.path, (levels.shape[0], levels.shape[1]), size_hw))
        if self.value is not None:
            return Marked(levels == self.value)
        counts = np.bincount(levels.ravel())
        values = np.flatnonzero(counts)
        if np.count_nonzero(values) <= 1:
            return Marked(levels > 0)
        between, inside = counts[1 : values[-1]].sum(), counts[1:].sum()
        flat = len(values) <= FLAT and between > SOFT_PART * inside
        if by_number or flat or values[-1] <= HALF:
            shown = ", ".join(map(str, values[:SHOWN])) + (", …" if len(values) > SHOWN else "")
            raise DataError(
                f"{self.path.name} looks like a label map, with the values {shown}; say which is meant with mask_value"
            )
        return Marked(levels > (HALF if values[-1] <= 255 else HALF * 257))


def mask_levels(path: Path) -> tuple[NDArray[np.integer], bool]:
    """A picture file -> (H, W) whole numbers, and whether they number the colours of a palette.

    A palette of greys is taken for the greys. Raises PictureError.
    """
    picture = decoded(path)
    if picture.mode == "P":
        indices = np.asarray(picture)
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        used = palette[[index for index in np.unique(indices) if index < len(palette)]]
        if (used == used[:, :1]).all() and used.size and used.max() > HALF:
            return np.asarray(picture.convert("L")), False
        return indices, True
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int64).clip(0, 65535), False
    if picture.mode == "F":  # TIFF: from 0 to 1, or to 255
        levels = np.nan_to_num(np.asarray(picture))
        return (levels * (255 if levels.max() <= 1 else 1)).clip(0, 65535).astype(np.int64), False
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L")), False
    return np.asarray(flatten(picture, "black")).max(axis=2), False


def check_sizes(picture: Path, mask: Path) -> None:
    """Raise DataError for a mask of another size than its picture's, PictureError where one is no picture."""
    upright, given = upright_size(picture), upright_size(mask)
    if upright != given:
        raise DataError(sizes_differ(mask, given, upright))


def sizes_differ(mask: Path, mask_hw: tuple[int, int], picture_hw: tuple[int, int]) -> str:
    """-> what to say of a mask (H, W) that is not its picture's size."""
    turned = mask_hw == picture_hw[::-1]
    hint = "; the picture is turned, as its EXIF data ask for: turn the mask as well" if turned else ""
    return f"{mask.name} is {mask_hw[0]}x{mask_hw[1]} but its picture {picture_hw[0]}x{picture_hw[1]}{hint}"


def pictures_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """A folder -> the files in it that end as pictures do, by name; with `deep` those of its folders as well.

    What is hidden, a file or a folder, is passed over.
    """
    files = folder.rglob("*") if deep else folder.iterdir()
    named = (path for path in files if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in named if not any(part.startswith(".") for part in path.relative_to(folder).parts))
