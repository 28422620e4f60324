"""What a segmentation hands back.

P labels, h w the resolution of the logits, H W the original size of the picture. Coordinates and areas are in pixels of
the original size; boxes are half-open, so x1 - x0 is a width.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import InitVar, dataclass
from functools import cached_property
from typing import Any, overload

import torch
from PIL import Image

from clipseg.errors import PictureError, PromptError, UsageError
from clipseg.masks import draw
from clipseg.masks.boxes import boxes_xyxy, counts, mean_of
from clipseg.masks.combine import LOGIT_LIMIT as LOGIT_LIMIT
from clipseg.masks.combine import Rivals, checked_logits, stretched, united, without
from clipseg.masks.components import window_of
from clipseg.masks.compose import ExistingMask, existing_maps
from clipseg.masks.detections import to_supervision
from clipseg.masks.instances import Instance, instances_of, numbered
from clipseg.masks.labels import LabelError as LabelError
from clipseg.masks.labels import position_of
from clipseg.masks.mask import Mask as Mask  # also found here, beside the masks it is one of
from clipseg.masks.options import DEFAULT_OPTIONS, MaskOptions
from clipseg.masks.pipeline import Decided, Maps, Pipeline
from clipseg.masks.polygons import Polygon, polygons
from clipseg.masks.resample import resize
from clipseg.masks.rle import Rle, compressed
from clipseg.masks.rules import DEFAULT_ORDER, parse_keep
from clipseg.masks.scores import scores_of
from clipseg.masks.thresholds import Threshold, threshold_rules


@dataclass(frozen=True, eq=False, repr=False)
class Masks:
    """Low-resolution logits (P, h, w), their labels and the picture's size -> masks of that size, on demand.

    A value: nothing here changes it, and each answer is computed when asked for, on the CPU. Shapes never depend on how
    many labels there are. `masks["wood"]` and `masks[0]` are one `Mask`, `masks[["wood", "a jar"]]` and `masks[:2]`
    are `Masks` again; iterating gives each `Mask` in turn.

    `options` say how masks are finished, and hold for every answer; `masks.with_options(smooth="1%", keep="largest")`
    are the same masks finished so. Where a method takes a `threshold`, it comes before that of the options: whatever
    `rules.parse_rule` reads, or one per label.

    `logits` may be of any float dtype and on any device. They are copied to float32 on the CPU and held within
    ±`LOGIT_LIMIT`, NaN becoming the lower limit ("not here"), so that everything computed from them is finite.
    `negatives` (N, h, w) are logits of what is not wanted: taken out of every mask, or competing with them all.
    `picture` is what overlays are drawn on and edges are found in, of the original size, and may be left out.
    `existing` is a mask for `compose`, as `onto` sets it. `rivals` are all that competes for pixels, where that is more
    than logits and negatives: masks picked from others go on competing with those. Logits and negatives that are
    `owned` are nobody else's: they are not copied but held within their limits where they are.

    Memory: beside its answer a method holds one mask, or the upsampled logits of one label, however many labels there
    are, and a few maps of that size for each step that the options turn on. An answer
    (P, H, W) is as large as it says: 1 byte per pixel and label for `binary`, 4 for `upsampled`, `probabilities`,
    `soft` and `matte`. For many labels of a large picture take `each_binary`, `each_soft` or `each_matte`.

    Raises PromptError where labels and logits do not fit, UsageError for misshapen logits or a misshapen size, and
    PictureError for a picture of another size. Answers raise UsageError for a threshold that is not known or does not
    fit the labels, for yes or no of a soft result (`threshold=None`), and where an option lacks what it works on.
    """

    logits: torch.Tensor
    labels: tuple[str, ...]
    size_hw: tuple[int, int]
    picture: Image.Image | None = None
    options: MaskOptions = DEFAULT_OPTIONS
    negatives: torch.Tensor | None = None
    existing: torch.Tensor | None = None
    rivals: Rivals | None = None
    owned: InitVar[bool] = False

    def __post_init__(self, owned: bool) -> None:
        logits = checked_logits(self.logits, "logits", "P", owned=owned)
        if isinstance(self.labels, str) or not all(isinstance(label, str) for label in self.labels):
            raise PromptError(f"labels must be a sequence of strings, one per mask; got {self.labels!r}")
        if not len(self.labels) == len(logits) > 0:
            got = f"{len(self.labels)} labels for {len(logits)} maps of logits"
            raise PromptError(f"masks need one label each, and at least one mask; got {got}")
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "size_hw", _checked_size(self.size_hw))
        if self.negatives is not None:
            negatives = checked_logits(self.negatives, "negatives", "N", owned=owned)
            if not len(negatives) or negatives.shape[1:] != logits.shape[1:]:
                fit = f"at least one map of {tuple(logits.shape[1:])}, as the logits"
                raise UsageError(f"negatives must be {fit}; got {tuple(negatives.shape)}")
            object.__setattr__(self, "negatives", negatives)
        if self.existing is not None:
            object.__setattr__(self, "existing", existing_maps(self.existing, len(logits), self.size_hw))
        if self.picture is not None:
            self._fitting(self.picture)

    def with_options(self, options: MaskOptions | None = None, /, **changes: Any) -> "Masks":
        """-> the same masks finished in another way: by these options, or by their own, with some changed.

        Raises UsageError for a name or value that is not known.
        """
        return self._changed(options=(self.options if options is None else options).replace(**changes))

    def onto(self, existing: ExistingMask, compose: str | None = None, alpha: float | None = None) -> "Masks":
        """-> the same masks, composed with one that was there before: (H, W) for all labels or (P, H, W).

        It is bool, numbers from 0 to 1, 8-bit levels or a picture of grey. How they are composed says the option
        `compose`, which may be given here, and `alpha` with it. Raises UsageError for a mask of another size.
        """
        given = {"compose": compose, "alpha": alpha}
        changes = {name: value for name, value in given.items() if value is not None}
        maps = existing_maps(existing, len(self), self.size_hw)
        return self._changed(options=self.options.replace(**changes), existing=maps)

    def combined(self, label: str | None = None) -> "Masks":
        """-> one mask of all labels, by the option `combine`, before anything is upsampled.

        The shares of a softmax are summed instead. Negatives are taken out of the one mask, or compete with it alone.
        Its label is all labels unless one is given. Raises UsageError under softmax where nothing else competes.
        """
        options, negatives = self.options, self.negatives
        if options.competition == "softmax":
            if len(self._rivals.logits) == len(self):
                raise UsageError("all shares of a softmax sum to 1 everywhere; add a negative prompt to compete with")
            one, negatives = united(self._competing(), "sum"), None
            options = options.replace(competition="none")
        else:
            one = united(self.logits, options.combine)
        name = " | ".join(self.labels) if label is None else label
        return Masks(one, (name,), self.size_hw, self.picture, options, negatives, self.existing)

    def upsampled(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> logits (P, H, W) float32 at the original size or another: combined and upsampled, nothing more."""
        size_hw = self.size_hw if size_hw is None else _checked_size(size_hw)
        return resize(self._normalized(self._competing()), size_hw, self.options.upsample)

    def probabilities(self, size_hw: tuple[int, int] | None = None) -> torch.Tensor:
        """-> (P, H, W) float32 in 0 to 1 at the original size or another: the sigmoid of `upsampled`."""
        return self.upsampled(size_hw).sigmoid_()

    def soft(self) -> torch.Tensor:
        """-> (P, H, W) float32 in 0 to 1: probabilities through all steps, but for those that decide yes or no.

        That is the result for `threshold=None`: no threshold, morphology or components.
        """
        return self._filled(self.each_soft(), torch.float32)

    def matte(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (P, H, W) float32 in 0 to 1: the binary masks, their edges softened by the option `feather`."""
        return self._filled(self.each_matte(threshold), torch.float32)

    def binary(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (P, H, W) bool: where the probability exceeds the threshold, and what the other steps make of that.

        At 0 that is everywhere and at 1 nowhere.
        """
        return self._filled(self.each_binary(threshold), torch.bool)

    def each_soft(self) -> Iterator[torch.Tensor]:
        """-> what `soft` has for each label (H, W), one by one."""
        return self._pipeline.soft(self._maps())

    def each_matte(self, threshold: Threshold | None = None) -> Iterator[torch.Tensor]:
        """-> what `matte` has for each label (H, W), one by one."""
        return self._pipeline.matte(self._decided(threshold))

    def each_binary(self, threshold: Threshold | None = None) -> Iterator[torch.Tensor]:
        """-> what `binary` has for each label (H, W), one by one."""
        return (inside for _, inside in self._each(threshold))

    def label_map(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (H, W) int32: k where the k-th label, counted from 1, is the most probable of those that pass; else 0.

        So with one threshold per label each label must exceed its own first. Of two alike the earlier one wins.
        """
        numbers = torch.zeros(self.size_hw, dtype=torch.int32)
        highest = torch.full(self.size_hw, -torch.inf)
        for number, (surface, inside) in enumerate(self._each(threshold), 1):
            window = window_of(inside.numpy())
            logits, top = surface.values(window), highest[window]
            wins = inside[window] & ((numbers[window] == 0) | (logits > top))
            numbers[window][wins] = number
            top.copy_(torch.where(wins, logits, top))
        return numbers

    def boxes(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (P, 4) int64: the smallest box x0, y0, x1, y1 around each binary mask; zeros for an empty one."""
        return torch.cat([boxes_xyxy(inside[None]) for inside in self.each_binary(threshold)])

    def areas(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (P,) int64: pixels in each binary mask."""
        return torch.cat([counts(inside[None]) for inside in self.each_binary(threshold)])

    def empty(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (P,) bool: whether a binary mask has no pixel."""
        return self.areas(threshold) == 0

    def mean_inside(self, threshold: Threshold | None = None) -> torch.Tensor:
        """-> (P,) float32 in 0 to 1: the mean probability inside each binary mask, 0 for an empty one."""
        return torch.tensor([mean for _, mean in self.each_measured(threshold)], dtype=torch.float32)

    def each_measured(self, threshold: Threshold | None = None) -> Iterator[tuple[torch.Tensor, float]]:
        """-> what `binary` and `mean_inside` have for each label, one by one, computed once for both."""
        return ((inside, mean_of(surface, inside)) for surface, inside in self._each(threshold))

    def scores(self) -> torch.Tensor:
        """-> (P,) float32 in 0 to 1: how sure the model is that a label is in the picture at all.

        The mean probability of the brightest hundredth (`SCORE_FRACTION`) of the low-resolution pixels, of one at
        least. It says that something is there, not how well its mask fits, and of all options knows `competition` and
        negatives alone.
        """
        return scores_of(self._competing())

    def overlay(
        self,
        picture: Image.Image | None = None,
        threshold: Threshold | None = None,
        *,
        alpha: float = 0.5,
        legend: bool = True,
        soft: bool | None = None,
        colours: str | Sequence[str | draw.Colour] | None = None,
    ) -> Image.Image:
        """-> the picture in RGB with every mask filled in its own colour and outlined, above a legend with the scores.

        `soft` shows probabilities instead, each colour as strong as `alpha` times its probability; so it is, unless
        said otherwise, where neither `threshold` nor the options have one. The picture keeps its size, at the top; the
        legend adds a strip of the same width below. The n-th label has the n-th of `colours`, which are names as Pillow
        knows them ("white", "#1e90ff") or red, green and blue; without them it is that of `draw.PALETTE`. Raises
        UsageError where there is no picture, here or in these masks, for a colour that is none, and where `alpha` is
        not in 0 to 1, and PictureError for a picture of another size.
        """
        chosen = draw.read_colours(colours)
        picture = self._fitting(self.picture if picture is None else picture)
        if soft or (soft is None and threshold is None and self.options.threshold is None):
            painted = draw.paint_heat(picture, (heat.numpy() for heat in self.each_soft()), alpha, chosen)
        else:
            painted = draw.paint_masks(picture, (mask.numpy() for mask in self.each_binary(threshold)), alpha, chosen)
        entries = map(draw.LegendEntry, self.labels, self.scores().tolist())
        return draw.with_legend(painted, list(entries), chosen) if legend else painted

    def instances(self, threshold: Threshold | None = None, *, order: str | None = None) -> list[Instance]:
        """-> the connected parts of every binary mask, label by label, each numbered from 1 within its own.

        `order` is a key of `rules.SORT_KEYS`; without one it is that of the option `keep`, or left-to-right. Raises
        UsageError for another.
        """
        order = order or parse_keep(self.options.keep).order or DEFAULT_ORDER
        return [
            part
            for label, (surface, inside) in zip(self.labels, self._each(threshold), strict=True)
            for part in instances_of(label, inside.numpy(), surface, order)
        ]

    def preview(
        self,
        picture: Image.Image | None = None,
        threshold: Threshold | None = None,
        *,
        order: str | None = None,
        alpha: float = 0.5,
    ) -> Image.Image:
        """-> the picture in RGB with every part of every mask in its own colour, and its number in `instances`."""
        picture = self._fitting(self.picture if picture is None else picture)
        return numbered(picture, self.instances(threshold, order=order), alpha)

    def rle(self, threshold: Threshold | None = None) -> list[Rle]:
        """-> COCO's compressed run lengths of each binary mask, ready for JSON."""
        return [compressed(inside.numpy()) for inside in self.each_binary(threshold)]

    def polygons(self, threshold: Threshold | None = None, *, tolerance: float | None = None) -> list[list[Polygon]]:
        """-> of each binary mask a polygon for every connected part, as `polygons.polygons`."""
        return [polygons(inside.numpy(), tolerance) for inside in self.each_binary(threshold)]

    def to_supervision(self, threshold: Threshold | None = None, *, instances: bool = False) -> Any:
        """-> `supervision.Detections`: the masks that are not empty, or their connected parts; see `detections`."""
        return to_supervision(self, threshold, instances=instances)

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
            return self._only([position_of(one, self.labels) for one in key])
        return Mask(self._only([position_of(key, self.labels)]))

    def __repr__(self) -> str:
        _, h, w = self.logits.shape
        names = ", ".join(repr(label) for label in self.labels[:3]) + (", …" if len(self) > 3 else "")
        return f"Masks({len(self)} x {h}x{w} logits for a picture of {self.size_hw[0]}x{self.size_hw[1]}: {names})"

    def _changed(self, **fields: object) -> "Masks":
        """-> the same but for these fields, already checked; a thousand maps of logits are shared, not copied."""
        changed = copy(self)
        for name, value in fields.items():
            object.__setattr__(changed, name, value)
        return changed

    @cached_property
    def _rivals(self) -> Rivals:
        if self.rivals is not None:
            return self.rivals
        return Rivals(self.logits if self.negatives is None else torch.cat((self.logits, self.negatives)))

    @property
    def _pipeline(self) -> Pipeline:
        return Pipeline(self.options, self.size_hw, self.picture, self.existing)

    def _competing(self) -> torch.Tensor:
        """-> logits (P, h, w) after negatives and a softmax; argmax is decided at full size."""
        if self.options.competition == "softmax":
            return self._rivals.softmax(self.logits)
        if self.options.competition == "none" and self.negatives is not None:
            return without(self.logits, self.negatives)
        return self.logits

    def _normalized(self, logits: torch.Tensor) -> torch.Tensor:
        return stretched(logits) if self.options.normalize == "minmax" else logits

    def _maps(self) -> Maps:
        rivals = self._rivals.logits
        if self.options.competition == "argmax":
            rivals = self._normalized(rivals)
        return self._pipeline.maps(self._normalized(self._competing()), rivals)

    def _decided(self, threshold: Threshold | None) -> Decided:
        chosen = self.options.threshold if threshold is None else threshold
        if chosen is None:
            raise UsageError("these masks are soft (threshold=None): take soft(), or give a threshold here")
        return self._pipeline.decided(self._maps(), threshold_rules(chosen, len(self)))

    def _each(self, threshold: Threshold | None) -> Decided:
        """-> each label's map of logits and its mask (H, W) bool; in order."""
        return self._pipeline.binary(self._decided(threshold))

    def _filled(self, maps: Iterator[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        answer = torch.empty((len(self), *self.size_hw), dtype=dtype)
        for place, one in zip(answer, maps, strict=True):
            place.copy_(one)
        return answer

    def _only(self, positions: Sequence[int]) -> "Masks":
        """-> some of these masks; what competes for pixels here goes on doing so."""
        options, existing = self.options, self.existing
        if isinstance(options.threshold, tuple) and len(options.threshold) == len(self):
            options = options.replace(threshold=tuple(options.threshold[n] for n in positions))
        return Masks(
            self.logits[list(positions)],
            tuple(self.labels[n] for n in positions),
            self.size_hw,
            self.picture,
            options,
            self.negatives,
            existing if existing is None or len(existing) == 1 else existing[list(positions)],
            None if options.competition == "none" else self._rivals,
        )

    def _fitting(self, picture: Image.Image | None) -> Image.Image:
        if picture is None:
            raise UsageError("these masks were made without their picture; hand it over: masks.overlay(picture)")
        if not isinstance(picture, Image.Image):
            raise PictureError(f"masks are drawn on a PIL picture; got {type(picture).__name__}; open it first")
        if (picture.height, picture.width) != self.size_hw:
            sizes = f"{picture.height}x{picture.width} but its masks are {self.size_hw[0]}x{self.size_hw[1]}"
            raise PictureError(f"the picture is {sizes}; hand over the very picture that was segmented")
        return picture


def _checked_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Any two whole numbers above 0 -> the same as a plain tuple. Raises UsageError for anything else."""
    try:
        height, width = (int(side) if int(side) == side else 0 for side in size_hw)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise UsageError(f"a size is (height, width) in whole pixels, each at least 1; got {size_hw!r}")
    return height, width
