"""One mask of several: the questions of `Masks`, answered without the axis of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from clipseg.masks.draw import Colour
from clipseg.masks.options import MaskOptions

if TYPE_CHECKING:
    from clipseg.masks.instances import Instance
    from clipseg.masks.masks import Masks
    from clipseg.masks.polygons import Polygon
    from clipseg.masks.rle import Rle


class Mask:
    """One of some `Masks`, answering the same questions without the axis P.

    A `threshold` is a number from 0 to 1, "otsu", "area:F" or "hysteresis:L,H"; without one it is that of the options.
    """

    def __init__(self, one: Masks) -> None:
        self._one = one  # a Masks of one label

    @property
    def label(self) -> str:
        """What the mask is of."""
        return self._one.labels[0]

    @property
    def logits(self) -> torch.Tensor:
        """Low-resolution logits (h, w) float32."""
        return self._one.logits[0]

    @property
    def size_hw(self) -> tuple[int, int]:
        """The original size of the picture."""
        return self._one.size_hw

    @property
    def picture(self) -> Image.Image | None:
        """The picture that was segmented, where it was kept."""
        return self._one.picture

    @property
    def options(self) -> MaskOptions:
        """How the mask is finished."""
        return self._one.options

    def with_options(self, options: MaskOptions | None = None, /, **changes: Any) -> Mask:
        """-> the same mask finished in another way, as `Masks.with_options`."""
        return self._one.with_options(options, **changes)[0]

    def upsampled(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> logits (H, W) float32, as `Masks.upsampled`."""
        return self._one.upsampled(size_hw)[0]

    def probabilities(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> (H, W) float32 in 0 to 1, as `Masks.probabilities`."""
        return self._one.probabilities(size_hw)[0]

    def soft(self) -> torch.Tensor:
        """-> (H, W) float32 in 0 to 1, as `Masks.soft`."""
        return self._one.soft()[0]

    def matte(self, threshold: float | str | None = None) -> torch.Tensor:
        """-> (H, W) float32 in 0 to 1, as `Masks.matte`."""
        return self._one.matte(threshold)[0]

    def binary(self, threshold: float | str | None = None) -> torch.Tensor:
        """-> (H, W) bool, as `Masks.binary`."""
        return self._one.binary(threshold)[0]

    def box(self, threshold: float | str | None = None) -> torch.Tensor:
        """-> (4,) int64, as `Masks.boxes`."""
        return self._one.boxes(threshold)[0]

    def area(self, threshold: float | str | None = None) -> int:
        """-> pixels in the binary mask."""
        return int(self._one.areas(threshold))

    def empty(self, threshold: float | str | None = None) -> bool:
        """-> whether the binary mask has no pixel."""
        return bool(self._one.empty(threshold))

    def mean_inside(self, threshold: float | str | None = None) -> float:
        """-> the mean probability inside the binary mask, 0 for an empty one."""
        return float(self._one.mean_inside(threshold))

    def score(self) -> float:
        """-> how sure the model is that the label is in the picture at all, 0 to 1, as `Masks.scores`."""
        return float(self._one.scores())

    def instances(self, threshold: float | str | None = None, *, order: str | None = None) -> list[Instance]:
        """-> the connected parts of the binary mask, as `Masks.instances`."""
        return self._one.instances(threshold, order=order)

    def overlay(
        self,
        picture: Image.Image | None = None,
        threshold: float | str | None = None,
        *,
        alpha: float = 0.5,
        legend: bool = True,
        soft: bool | None = None,
        colours: str | Sequence[str | Colour] | None = None,
    ) -> Image.Image:
        """-> the picture with this mask alone, as `Masks.overlay`."""
        return self._one.overlay(picture, threshold, alpha=alpha, legend=legend, soft=soft, colours=colours)

    def rle(self, threshold: float | str | None = None) -> Rle:
        """-> COCO's compressed run lengths of the binary mask, as `Masks.rle`."""
        return self._one.rle(threshold)[0]

    def polygons(self, threshold: float | str | None = None, *, tolerance: float | None = None) -> list[Polygon]:
        """-> a polygon for every connected part, as `Masks.polygons`."""
        return self._one.polygons(threshold, tolerance=tolerance)[0]

    def to_supervision(self, threshold: float | str | None = None, *, instances: bool = False) -> Any:
        """-> `supervision.Detections`, as `Masks.to_supervision`."""
        return self._one.to_supervision(threshold, instances=instances)

    def __repr__(self) -> str:
        h, w = self.logits.shape
        return f"Mask({self.label!r}, {h}x{w} logits for a picture of {self.size_hw[0]}x{self.size_hw[1]})"
