"""Soft masks that follow the edges of their picture.

H W the picture's size, h w a smaller one on which the guided filter is computed. Built in is the guided filter (He, Sun
and Tang, "Guided Image Filtering", 2013) in its fast form (He and Sun, "Fast Guided Filter", 2015). Whatever is a
`Refiner` can take its place, such as a model that makes a mask of a box and points.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipseg.errors import UsageError
from clipseg.masks.hints import Hints, hints_of
from clipseg.masks.resample import Bilinear

GUIDED_RADIUS = 0.05
"""Half the side of the guided filter's window, as a part of the picture's shorter side.

About one patch of the released models (16 of 352 pixels), since edges of their maps are as uncertain as that.
"""

GUIDED_EPSILON = 1e-3
"""Variance of colours, from 0 to 1, below which a window counts as flat: differences of 8 in 255, more than noise."""

_SMALL_RADIUS = 8  # pixels that a window's half side has on the smaller picture
_STRIP = 2**17  # pixels of the picture worked on at once


class Refiner(Protocol):
    """What sharpens a soft mask."""

    def __call__(
        self, picture: Image.Image, soft: NDArray[np.float32], hints: Hints, /
    ) -> NDArray[np.generic] | torch.Tensor:
        """A picture in RGB, a soft mask (H, W) from 0 to 1 and hints of it -> a better mask (H, W), bool or 0 to 1.

        Called once for each label of which something was found.
        """


def refined(refiner: Refiner, picture: Image.Image, soft: NDArray[np.float32]) -> NDArray[np.float32]:
    """A soft mask (H, W) -> what a refiner makes of it; itself where it has nothing in it.

    Raises UsageError where the refiner's answer has another size or holds anything but bool or numbers from 0 to 1.
    """
    hints = hints_of(soft)
    if hints.box_xyxy is None:
        return soft
    answer = refiner(picture, soft, hints)
    mask = np.asarray(answer.detach().cpu() if isinstance(answer, torch.Tensor) else answer, np.float32)
    if mask.shape != soft.shape:
        raise UsageError(f"a refiner must return a mask of its picture's size {soft.shape}; got {mask.shape}")
    if not ((mask >= 0) & (mask <= 1)).all():
        raise UsageError("a refiner must return bool or probabilities from 0 to 1; got numbers beyond")
    return mask


class Guide:
    """A picture in RGB -> the guided filter for its soft masks. What depends on the picture alone is computed once.

    In every window a mask is explained by a linear function of the three colours, so it keeps an edge where the picture
    has one and is blurred where it has none. The functions are found on a picture small enough for the window to be
    17 pixels wide and then applied to the full one: the cost does not depend on the radius.
    """

    def __init__(self, picture: Image.Image, radius: float = GUIDED_RADIUS, epsilon: float = GUIDED_EPSILON) -> None:
        picture = picture.convert("RGB")
        self._pixels = np.stack([np.asarray(plane) for plane in picture.split()])  # (3, H, W)
        height, width = self._pixels.shape[1:]
        pixels = max(1.0, radius * min(height, width))
        factor = max(1.0, pixels / _SMALL_RADIUS)
        self._window = 2 * round(pixels / factor) + 1
        self._small_wh = max(1, round(width / factor)), max(1, round(height / factor))
        small = picture.resize(self._small_wh, Image.Resampling.BOX)
        self._colours = np.asarray(small, np.float32).transpose(2, 0, 1) / 255  # (3, h, w)
        self._means = self._mean(self._colours)
        products = self._colours[:, None] * self._colours[None]  # (3, 3, h, w)
        covariance = self._mean(products) - self._means[:, None] * self._means[None]
        regular = covariance.transpose(2, 3, 0, 1) + epsilon * np.eye(3, dtype=np.float32)
        self._inverse = np.linalg.inv(regular).astype(np.float32)  # (h, w, 3, 3)

    def __call__(self, soft: NDArray[np.float32]) -> NDArray[np.float32]:
        """A soft mask (H, W) from 0 to 1 -> the same along the picture's edges, from 0 to 1."""
        small = np.asarray(Image.fromarray(soft).resize(self._small_wh, Image.Resampling.BOX))  # (h, w)
        mean = self._mean(small)
        covariance = self._mean(self._colours * small) - self._means * mean  # (3, h, w)
        slopes = np.einsum("yxij,jyx->iyx", self._inverse, covariance)
        offset = mean - (slopes * self._means).sum(0)
        return self._applied(self._mean(np.concatenate((slopes, offset[None]))))

    def _mean(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """(…, h, w) -> the mean of each pixel's window."""
        means: NDArray[np.float32] = ndimage.uniform_filter(maps, self._window, mode="nearest", axes=(-2, -1))
        return means

    def _applied(self, functions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Slopes and offsets (4, h, w) -> the functions upsampled bilinearly, of the picture's colours (H, W).

        In strips that stay in the cache: the four of them at full size would take five times as much as the result.
        """
        height, width = self._pixels.shape[1:]
        functions[:3] /= 255
        red, green, blue, offset = (Bilinear(one, (height, width)) for one in functions)
        result = np.empty((height, width), np.float32)
        step = max(1, _STRIP // width)
        for top in range(0, height, step):
            strip = slice(top, min(top + step, height))
            window = strip, slice(0, width)
            values = offset.values(window).numpy()
            for slope, pixels in zip((red, green, blue), self._pixels, strict=True):
                values += slope.values(window).numpy() * pixels[strip].astype(np.float32)
            np.clip(values, 0, 1, out=result[strip])
        return result
