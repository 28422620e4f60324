"""Pictures that have a class at every pixel: what the data sets of Pascal VOC and COCO share.

The geometry of the paper's tests on Pascal-5i is here as well.

Letters: H, W a picture's size · S side of the square that a model takes · L longer side of a picture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it
from numpy.typing import NDArray

from clipseg.data.geometry import normalised
from clipseg.data.sample import Sample, SampleDataset, Support
from clipseg.errors import DataError, UsageError
from clipseg.formats.png import read_label_map
from clipseg.processing.images import to_rgb, upright_size

IGNORED = 255
"""What stands at pixels nobody has judged, such as the outlines of things in Pascal VOC."""

GRID = 8
"""Sides of placed pictures are multiples of this, where they had to be made smaller."""

_Entry = TypeVar("_Entry")
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture (H, W, 3) uint8 RGB and the number of the class at each pixel, (H, W) uint8 with IGNORED ones."""

    picture: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    name: str = ""

    def shows(self, number: int) -> bool:
        """Whether a class is somewhere in it."""
        return bool((self.classes == number).any())

    def support(self, number: int) -> Support:
        """-> itself as an example of a class."""
        return Support(self.picture, self.classes == number)

    def sample(self, number: int, phrase: str, support: Support | None, label: int, name: str) -> Sample:
        """-> the question where a class is; pixels that nobody has judged are ignored."""
        ignore = self.classes == IGNORED
        return Sample(
            picture=self.picture,
            mask=self.classes == number,
            phrase=phrase,
            support=support,
            ignore=ignore if ignore.any() else None,
            label=label,
            name=name,
        )


class LabelledPictures(SampleDataset):
    """A data set whose pictures have a class at every pixel; of `labels`, their names, the first is the background."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, by number."""
        return self.labels

    @abstractmethod
    def labelled(self, index: int) -> LabelledPicture:
        """-> the picture of an entry, and the class at each of its pixels."""


def read_labelled(picture: Path, classes: Path, highest: int) -> LabelledPicture:
    """Two files -> what they hold; the name is the picture's.

    Raises PictureError and DataError for files that cannot be read, for files of two sizes, and for a number of a class
    above `highest` that is not IGNORED.
    """
    pixels, numbers = np.asarray(to_rgb(picture)), read_label_map(classes)
    _check(picture, pixels.shape, classes, numbers, np.bincount(numbers.ravel()), highest)
    return LabelledPicture(pixels, numbers, picture.name)


def pixel_counts(picture: Path, classes: Path, highest: int) -> NDArray[np.int64]:
    """Two files -> how many pixels each class has, from 0 to `highest`; of the picture only the size is read.

    Raises as `read_labelled`.
    """
    numbers = read_label_map(classes)
    counts = np.bincount(numbers.ravel(), minlength=highest + 1)
    _check(picture, upright_size(picture), classes, numbers, counts, highest)
    return counts[: highest + 1]


def _check(
    picture: Path,
    shape: tuple[int, ...],
    classes: Path,
    numbers: NDArray[np.uint8],
    counts: NDArray[np.int64],
    highest: int,
) -> None:
    if numbers.shape != shape[:2]:
        sizes = ["x".join(map(str, size)) for size in (shape[:2], numbers.shape)]
        raise DataError(f"{picture} is {sizes[0]} but its classes, {classes.name}, are {sizes[1]}; expected one size")
    unknown = np.flatnonzero(counts[highest + 1 : IGNORED])
    if unknown.size:
        number = highest + 1 + unknown[0]
        raise DataError(f"{classes} has pixels of class {number}; expected 0 to {highest}, or {IGNORED} for not judged")


def another(rng: np.random.Generator, entries: Sequence[_Entry], place: int) -> _Entry:
    """Two entries at least, and a place among them -> the entry of any other place, all alike likely."""
    return entries[(place + 1 + int(rng.integers(len(entries) - 1))) % len(entries)]


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise UsageError, naming what there is, for a value that is none of them."""
    choices = list(choices)
    if not any(type(value) is type(choice) and value == choice for choice in choices):  # True and 1.0 are no fold 1
        raise UsageError(f"{name} is {value!r}; known are {', '.join(map(str, choices))}")


def check_layout(root: Path, needed: Iterable[str], layout: str) -> None:
    """Raise DataError, naming what is missing and the whole `layout`, unless a folder has all these."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; expected {layout}")
    missing = [name for name in needed if not (root / name).exists()]
    if missing:
        raise DataError(f"{root} has no {', '.join(missing)}; expected {layout}")


# The geometry of the paper's tests on Pascal-5i


def placed(picture: NDArray[np.uint8], size: int) -> torch.Tensor:
    """A picture (H, W, 3) uint8 -> what a model takes, (3, S, S) float32: in the top left corner of a black square.

    A picture with a side longer than S is made smaller, so that the longer one is S; then both are rounded down to
    multiples of GRID. Smaller ones stay as they are. Bilinear between pixel centres, without antialiasing, then to
    0...1 and by ImageNet's mean and deviation, so that black is what a black pixel is. Raises DataError for another
    shape, UsageError for a size below GRID.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise DataError(f"a picture to place is (H, W, 3) with at least one pixel; got {picture.shape}")
    if size < GRID:
        raise UsageError(f"the side of a model's pictures is {size} pixels; expected at least {GRID}")
    height, width = placed_size(picture.shape[:2], size)
    grid = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    if (height, width) != picture.shape[:2]:
        grid = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
    return normalised(F.pad(grid[0], (0, size - width, 0, size - height)).contiguous())  # (3, S, S)


def placed_size(size_hw: tuple[int, ...], size: int) -> tuple[int, int]:
    """A picture's (H, W) and S -> the height and width it has once it is placed, each at least one pixel."""
    height, width = size_hw
    longer = max(height, width)
    if longer <= size:
        return height, width
    return max(height * size // longer // GRID * GRID, 1), max(width * size // longer // GRID * GRID, 1)


def squared_truth(values: NDArray[_Scalar], fill: Any) -> NDArray[_Scalar]:
    """A map (H, W) of a picture -> (L, L): in the top left corner of a square, with `fill` beyond the picture.

    Answers to a placed picture, (S, S), are resized to this square. Where the picture was smaller than S that does not
    bring them back to their places, which is what the authors do; pictures of Pascal VOC are 500 pixels long.
    """
    square = np.full((max(values.shape),) * 2, fill, values.dtype)
    square[: values.shape[0], : values.shape[1]] = values
    return square
