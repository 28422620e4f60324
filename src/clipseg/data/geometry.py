"""From a picture of any size to the square that a model is trained on: the crop, and the way to its size.

Evaluation squashes whole pictures; only training crops first. The rules and their constants are those of the paper's
loader (shape H, W of a picture and its mask; S side of the square that a model takes).
"""

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it
from numpy.typing import NDArray

from clipseg.data.sample import Sample, Support
from clipseg.errors import DataError, UsageError
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""

CROP_TRIES = 50
"""Random positions of which the first good one is taken."""
CROP_SHARE = 0.05
"""A position is good if more than this share of the whole picture's area is mask inside it."""


def crop_square(
    mask: NDArray[np.bool_], rng: np.random.Generator, *, tries: int = CROP_TRIES, least: float | None = None
) -> Window:
    """A mask (H, W) -> the window of a square of side min(H, W) that shows enough of it.

    Of `tries` random positions, the first with more mask pixels than `least`, by default CROP_SHARE of H·W; where none
    has, the one with the most. For an empty mask that is a random position. Takes the same numbers from `rng` whatever
    the mask. Raises DataError for a mask that is not (H, W) with pixels.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise DataError(f"a mask to crop by is (H, W) with at least one pixel; got {mask.shape}")
    side, axis = min(mask.shape), int(np.argmax(mask.shape))  # a square moves along the longer axis alone
    covered = np.concatenate(([0], np.count_nonzero(mask, axis=1 - axis).cumsum()))  # mask pixels before each line
    starts = rng.integers(mask.shape[axis] - side + 1, size=tries)
    counts = covered[starts + side] - covered[starts]
    good = counts > (CROP_SHARE * mask.size if least is None else least)
    start = int(starts[good.argmax() if good.any() else counts.argmax()])
    along, across = slice(start, start + side), slice(0, side)
    return (along, across) if axis == 0 else (across, along)


def cropped(sample: Sample, rng: np.random.Generator) -> Sample:
    """A sample -> the same cropped to a square: picture, mask and ignore by the mask, the support by its own mask.

    Nothing is copied: the arrays are views.
    """
    window = crop_square(sample.mask, rng)
    support = sample.support
    if support is not None:
        inner = crop_square(support.mask, rng)
        support = Support(support.picture[inner], support.mask[inner])
    return replace(
        sample,
        picture=sample.picture[window],
        mask=sample.mask[window],
        ignore=None if sample.ignore is None else sample.ignore[window],
        support=support,
    )


def to_pixels(picture: NDArray[np.uint8], size: int) -> torch.Tensor:
    """A picture (H, W, 3) uint8 -> what a model takes, (3, S, S) float32: squashed and normalised.

    Bilinear between corner pixels (`align_corners=True`), without antialiasing, then to 0...1 and by ImageNet's mean
    and deviation. Raises DataError for another shape, UsageError for a size below 1.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise DataError(f"a picture to train on is (H, W, 3) with at least one pixel; got {picture.shape}")
    grid = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    return normalised(F.interpolate(grid, _square(size), mode="bilinear", align_corners=True)[0].contiguous())


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (3, H, W) float32 of 0...255, which are overwritten -> the same of 0...1, by ImageNet's mean and std."""
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return pixels.div_(255).sub_(mean).div_(std)


def to_target(mask: NDArray[np.bool_], size: int) -> torch.Tensor:
    """A mask (H, W) bool -> what a loss compares with, (S, S) float32 of zeros and ones: squashed, nearest.

    Row i is row floor(i·H/S) of the mask, in float32 as torch has it, and columns likewise. Raises DataError for
    another shape, UsageError for a size below 1.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise DataError(f"a mask to train on is (H, W) with at least one pixel; got {mask.shape}")
    rows, columns = (
        (np.arange(side, dtype=np.float32) * (np.float32(length) / np.float32(side)))
        .astype(np.int64)
        .clip(0, length - 1)
        for side, length in zip(_square(size), mask.shape, strict=True)
    )
    return torch.from_numpy(mask[rows[:, None], columns].astype(np.float32))


def _square(size: int) -> tuple[int, int]:
    if size < 1:
        raise UsageError(f"the side of a model's pictures is {size} pixels; expected at least 1")
    return size, size
