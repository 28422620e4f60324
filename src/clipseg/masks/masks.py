"""What a segmentation hands back.

P labels, h w the resolution of the logits, H W the original size of the picture. Coordinates and areas are in pixels of
the original size; boxes are half-open, so x1 - x0 is a width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index
from typing import overload

import torch
from PIL import Image

from clipseg.errors import PictureError, PromptError, UsageError
from clipseg.masks import draw
from clipseg.masks.resample import resize, resized_blocks
from clipseg.masks.thresholds import DEFAULT_THRESHOLD, Threshold, cutoffs

LOGIT_LIMIT = 80.0
"""Logits are kept within ± this: float32 then holds every probability above 0, and NaN and infinity have a place."""

SCORE_FRACTION = 0.01
"""Part of the low-resolution pixels, the brightest ones, that `scores` averages."""


class LabelError(PromptError, KeyError, IndexError):
    """A label or position that some masks do not have, or a label that several of them share."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


@dataclass(frozen=True, eq=False, repr=False)
class Masks:
    """Low-resolution logits (P, h, w), their labels and the picture's size -> masks of that size, on demand.

    A value: nothing here changes it, and each answer is computed when asked for, on the CPU. Shapes never depend on how
    many labels there are. `masks["wood"]` and `masks[0]` are one `Mask`, `masks[["wood", "a jar"]]` and `masks[:2]`
    are `Masks` again; iterating gives each `Mask` in turn.

    `logits` may be of any float dtype and on any device. They are copied to float32 on the CPU and held within
    ±`LOGIT_LIMIT`, NaN becoming the lower limit ("not here"), so that everything computed from them is finite.
    `picture` is what overlays are drawn on, of the original size, and may be left out.

    Memory: beside its answer a method holds 64 MiB of upsampled logits, or those of one label where that is more,
    however many labels there are. An answer (P, H, W) is as large as it says: 1 byte per pixel and label for `binary`,
    4 for `upsampled` and `probabilities`. For many labels of a large picture iterate, or ask for less of them.

    Raises PromptError where labels and logits do not fit, UsageError for misshapen logits or a misshapen size, and
    PictureError for a picture of another size.
    """

    logits: torch.Tensor
    labels: tuple[str, ...]
    size_hw: tuple[int, int]
    picture: Image.Image | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.logits, torch.Tensor) or not self.logits.is_floating_point():
            kind = getattr(self.logits, "dtype", type(self.logits).__name__)
            raise UsageError(f"logits must be a float tensor (P, h, w); got {kind}")
        if self.logits.ndim != 3 or 0 in self.logits.shape[1:]:
            raise UsageError(f"logits must be (P, h, w) with at least one pixel; got {tuple(self.logits.shape)}")
        if isinstance(self.labels, str) or not all(isinstance(label, str) for label in self.labels):
            raise PromptError(f"labels must be a sequence of strings, one per mask; got {self.labels!r}")
        if not len(self.labels) == len(self.logits) > 0:
            got = f"{len(self.labels)} labels for {len(self.logits)} maps of logits"
            raise PromptError(f"masks need one label each, and at least one mask; got {got}")
        logits = self.logits.detach().to("cpu", torch.float32)
        logits = logits.nan_to_num(nan=-LOGIT_LIMIT).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)  # (P, h, w), a copy
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "size_hw", _checked_size(self.size_hw))
        if self.picture is not None:
            self._fitting(self.picture)

    def upsampled(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> logits (P, H, W) float32 at the original size or another, resized bilinearly."""
        return resize(self.logits, self.size_hw if size_hw is None else _checked_size(size_hw))

    def probabilities(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> (P, H, W) float32 in 0 to 1 at the original size or another: the sigmoid of `upsampled`."""
        return self.upsampled(size_hw).sigmoid_()

    def binary(self, threshold: Threshold = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (P, H, W) bool: where the probability exceeds the threshold, which may be one number or one per label.

        At 0 that is everywhere and at 1 nowhere. Raises UsageError for a threshold outside 0 to 1.
        """
        binary = torch.empty((len(self), *self.size_hw), dtype=torch.bool)
        for part, _, inside in self._blocks(threshold):
            binary[part] = inside
        return binary

    def label_map(self, threshold: Threshold = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (H, W) int32: k where the k-th label, counted from 1, is the most probable of those that pass; else 0.

        So with one threshold per label each label must exceed its own first. Of two alike the earlier one wins.
        """
        numbers = torch.zeros(self.size_hw, dtype=torch.int32)
        highest = torch.full(self.size_hw, -torch.inf)
        for part, block, insides in self._blocks(threshold):
            for number, logits, inside in zip(range(part.start + 1, part.stop + 1), block, insides, strict=True):
                wins = inside & (logits > highest)
                numbers[wins] = number
                highest = torch.where(wins, logits, highest)
        return numbers

    def boxes(self, threshold: Threshold = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (P, 4) int64: the smallest box x0, y0, x1, y1 around each binary mask; zeros for an empty one."""
        return torch.cat([_boxes_xyxy(inside) for _, _, inside in self._blocks(threshold)])

    def areas(self, threshold: Threshold = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (P,) int64: pixels in each binary mask."""
        return torch.cat([inside.sum((1, 2)) for _, _, inside in self._blocks(threshold)])

    def empty(self, threshold: Threshold = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (P,) bool: whether a binary mask has no pixel."""
        return self.areas(threshold) == 0

    def mean_inside(self, threshold: Threshold = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (P,) float32 in 0 to 1: the mean probability inside each binary mask, 0 for an empty one."""
        means = []
        for _, logits, inside in self._blocks(threshold):
            total = (logits.sigmoid() * inside).sum((1, 2), dtype=torch.float64)
            means.append(total / inside.sum((1, 2)).clamp(min=1))
        return torch.cat(means).float()

    def scores(self) -> torch.Tensor:
        """-> (P,) float32 in 0 to 1: how sure the model is that a label is in the picture at all.

        The mean probability of the brightest hundredth (`SCORE_FRACTION`) of the low-resolution pixels, of one at
        least. It depends on no threshold and says that something is there, not how well its mask fits.
        """
        flat = self.logits.flatten(1)  # (P, h*w)
        brightest = flat.topk(max(1, round(SCORE_FRACTION * flat.shape[1])), dim=1).values
        return brightest.sigmoid().mean(dim=1)

    def overlay(
        self,
        picture: Image.Image | None = None,
        threshold: Threshold = DEFAULT_THRESHOLD,
        *,
        alpha: float = 0.5,
        legend: bool = True,
        soft: bool = False,
    ) -> Image.Image:
        """-> the picture in RGB with every mask filled in its own colour and outlined, above a legend with the scores.

        `soft` shows probabilities instead, each colour as strong as `alpha` times its probability, and needs no
        threshold. The picture keeps its size, at the top; the legend adds a strip of the same width below. The n-th
        label has the n-th colour of `draw.PALETTE`. Raises UsageError where there is no picture, here or in these
        masks, or `alpha` is not in 0 to 1, and PictureError for a picture of another size.
        """
        picture = self._fitting(self.picture if picture is None else picture)
        if soft:
            blocks = (block.sigmoid() for _, block in resized_blocks(self.logits, self.size_hw))
            painted = draw.paint_heat(picture, (heat.numpy() for block in blocks for heat in block), alpha)
        else:
            insides = (inside for _, _, inside in self._blocks(threshold))
            painted = draw.paint_masks(picture, (mask.numpy() for inside in insides for mask in inside), alpha)
        entries = map(draw.LegendEntry, self.labels, self.scores().tolist())
        return draw.with_legend(painted, list(entries)) if legend else painted

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator["Mask"]:
        return (self[n] for n in range(len(self)))

    def __contains__(self, label: object) -> bool:
        return label in self.labels

    @overload
    def __getitem__(self, key: str | int) -> "Mask": ...
    @overload
    def __getitem__(self, key: slice | list[str] | list[int] | tuple[str | int, ...]) -> "Masks": ...
    def __getitem__(self, key: str | int | slice | list[str] | list[int] | tuple[str | int, ...]) -> "Mask | Masks":
        """A label or position -> that `Mask`; a slice or several of them -> `Masks` in that order.

        Raises LabelError for a label or position that is not there and for a label that several masks share, and
        PromptError where nothing would be left.
        """
        if isinstance(key, slice):
            return self._only(range(len(self))[key])
        if isinstance(key, list | tuple):
            return self._only([self._position(one) for one in key])
        return Mask(self._only([self._position(key)]))

    def __repr__(self) -> str:
        _, h, w = self.logits.shape
        names = ", ".join(repr(label) for label in self.labels[:3]) + (", …" if len(self) > 3 else "")
        return f"Masks({len(self)} x {h}x{w} logits for a picture of {self.size_hw[0]}x{self.size_hw[1]}: {names})"

    def _blocks(self, threshold: Threshold) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """-> which labels, their upsampled logits (K, H, W) and where those pass (K, H, W) bool; in order."""
        cuts = cutoffs(threshold, len(self))[:, None, None]
        for part, logits in resized_blocks(self.logits, self.size_hw):
            yield part, logits, logits > cuts[part]

    def _only(self, positions: Sequence[int]) -> "Masks":
        labels = tuple(self.labels[n] for n in positions)
        return Masks(self.logits[list(positions)], labels, self.size_hw, self.picture)

    def _position(self, key: str | int) -> int:
        if not isinstance(key, str):
            position = index(key)
            if not -len(self) <= position < len(self):
                raise LabelError(f"there is no mask {position}: there are {len(self)}, counted from 0")
            return position % len(self)
        found = [n for n, label in enumerate(self.labels) if label == key]
        if not found:
            raise LabelError(f"there is no mask {key!r}; there are: {', '.join(map(repr, self.labels))}")
        if len(found) > 1:
            raise LabelError(f"{key!r} is the label of masks {', '.join(map(str, found))}; take one by its position")
        return found[0]

    def _fitting(self, picture: Image.Image | None) -> Image.Image:
        if picture is None:
            raise UsageError("these masks were made without their picture; hand it over: masks.overlay(picture)")
        if not isinstance(picture, Image.Image):
            raise PictureError(f"masks are drawn on a PIL picture; got {type(picture).__name__}; open it first")
        if (picture.height, picture.width) != self.size_hw:
            sizes = f"{picture.height}x{picture.width} but its masks are {self.size_hw[0]}x{self.size_hw[1]}"
            raise PictureError(f"the picture is {sizes}; hand over the very picture that was segmented")
        return picture


class Mask:
    """One of some `Masks`, answering the same questions without the axis P."""

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

    def upsampled(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> logits (H, W) float32, as `Masks.upsampled`."""
        return self._one.upsampled(size_hw)[0]

    def probabilities(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> (H, W) float32 in 0 to 1, as `Masks.probabilities`."""
        return self._one.probabilities(size_hw)[0]

    def binary(self, threshold: float = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (H, W) bool, as `Masks.binary`."""
        return self._one.binary(threshold)[0]

    def box(self, threshold: float = DEFAULT_THRESHOLD) -> torch.Tensor:
        """-> (4,) int64, as `Masks.boxes`."""
        return self._one.boxes(threshold)[0]

    def area(self, threshold: float = DEFAULT_THRESHOLD) -> int:
        """-> pixels in the binary mask."""
        return int(self._one.areas(threshold))

    def empty(self, threshold: float = DEFAULT_THRESHOLD) -> bool:
        """-> whether the binary mask has no pixel."""
        return bool(self._one.empty(threshold))

    def mean_inside(self, threshold: float = DEFAULT_THRESHOLD) -> float:
        """-> the mean probability inside the binary mask, 0 for an empty one."""
        return float(self._one.mean_inside(threshold))

    def score(self) -> float:
        """-> how sure the model is that the label is in the picture at all, 0 to 1, as `Masks.scores`."""
        return float(self._one.scores())

    def overlay(
        self,
        picture: Image.Image | None = None,
        threshold: float = DEFAULT_THRESHOLD,
        *,
        alpha: float = 0.5,
        legend: bool = True,
        soft: bool = False,
    ) -> Image.Image:
        """-> the picture with this mask alone, as `Masks.overlay`."""
        return self._one.overlay(picture, threshold, alpha=alpha, legend=legend, soft=soft)

    def __repr__(self) -> str:
        h, w = self.logits.shape
        return f"Mask({self.label!r}, {h}x{w} logits for a picture of {self.size_hw[0]}x{self.size_hw[1]})"


def _checked_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Any two whole numbers above 0 -> the same as a plain tuple. Raises UsageError for anything else."""
    try:
        height, width = (int(side) if int(side) == side else 0 for side in size_hw)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise UsageError(f"a size is (height, width) in whole pixels, each at least 1; got {size_hw!r}")
    return height, width


def _boxes_xyxy(inside: torch.Tensor) -> torch.Tensor:
    """(K, H, W) bool -> (K, 4) int64."""
    x0, x1 = _extent(inside.any(dim=1))
    y0, y1 = _extent(inside.any(dim=2))
    return torch.stack((x0, y0, x1, y1), dim=1)


def _extent(hit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(K, L) bool -> first hit and one past the last (K,) int64; both 0 where there is none."""
    first = hit.int().argmax(dim=1)
    past = hit.shape[1] - hit.flip(1).int().argmax(dim=1)
    return first, past * hit.any(dim=1)
