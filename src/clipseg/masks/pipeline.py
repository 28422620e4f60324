"""From low-resolution logits to finished masks, in the one order that `options` documents.

P labels, Q maps that compete, h w the resolution of the logits, H W the picture's size. Maps are handed on one by one,
as surfaces of logits, whose order and signs say all that later steps ask: where nothing has to be known of a map but
where it passes, most of it is never computed. A step at its default is not run, so it changes nothing to the last bit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import UsageError
from clipseg.masks.combine import as_logits
from clipseg.masks.components import selected, without_holes
from clipseg.masks.compose import composed
from clipseg.masks.lengths import pixels, square_pixels
from clipseg.masks.morphology import grown, shrunk
from clipseg.masks.options import MaskOptions
from clipseg.masks.refine import Guide, refined
from clipseg.masks.resample import Dense, Surface, upsampled
from clipseg.masks.rules import Rule, parse_keep
from clipseg.masks.smoothing import gaussian, median
from clipseg.masks.thresholds import passing

Maps: TypeAlias = Iterator[Surface]
"""The map of each label as logits, in order."""

Decided: TypeAlias = Iterator[tuple[Surface, torch.Tensor]]
"""The same, and where the mask is, (H, W) bool. Who is handed it may change the mask."""


@dataclass(frozen=True)
class Pipeline:
    """The steps for one picture.

    Fields
        options   what to do
        size_hw   of the picture, and of all that comes out
        picture   for `refine`
        existing  (1, H, W) or (P, H, W), bool or float32, for `compose`
    """

    options: MaskOptions
    size_hw: tuple[int, int]
    picture: Image.Image | None = None
    existing: torch.Tensor | None = None

    def maps(self, logits: torch.Tensor, rivals: torch.Tensor) -> Maps:
        """Logits (P, h, w) after combining -> what a threshold is put to: upsampled, refined, smoothed.

        With `competition="argmax"` a map is minus infinity wherever it is not the only highest of all rivals (Q, h, w):
        a decision is made at full size, for one made on few pixels could only be upsampled in blocks. The rivals are
        gone through once more for it.
        """
        if self.options.competition != "argmax":
            yield from self._calmed(logits)
            return
        highest = torch.full(self.size_hw, -torch.inf)
        second = highest.clone()
        for surface in self._calmed(rivals):
            one = surface.values()
            torch.maximum(second, torch.minimum(highest, one), out=second)
            torch.maximum(highest, one, out=highest)
        for surface in self._calmed(logits):
            one = surface.values()
            yield Dense(one.masked_fill((one < highest) | (highest == second), -torch.inf))

    def decided(self, maps: Maps, rules: Sequence[Rule]) -> Decided:
        """Maps and a rule per label -> maps and masks: threshold, morphology, components, inversion of both."""
        steps = self._shape_steps()
        for surface, rule in zip(maps, rules, strict=True):
            mask = passing(surface, rule).numpy()
            for step in steps:
                mask = step(mask)
            if self.options.invert:
                yield surface.negated(), torch.from_numpy(~mask)
            else:
                yield surface, torch.from_numpy(mask)

    def binary(self, decided: Decided) -> Decided:
        """Maps and masks -> the same composed with an existing mask: inside is what is then more than a half.

        Feathering is left out: yes and no cannot show it.
        """
        for number, (surface, mask) in enumerate(decided):
            composes = self.options.compose != "replace"
            yield surface, self._composed(mask.float(), number) > 0.5 if composes else mask

    def matte(self, decided: Decided) -> Iterator[torch.Tensor]:
        """Maps and masks -> each mask (H, W) float32 from 0 to 1, feathered and composed."""
        for number, (_, mask) in enumerate(decided):
            yield self._composed(self._feathered(mask.float()), number)

    def soft(self, maps: Maps) -> Iterator[torch.Tensor]:
        """Maps -> each one's probabilities (H, W) with nothing decided: inverted, feathered, composed."""
        for number, surface in enumerate(maps):
            values = (surface.negated() if self.options.invert else surface).values().sigmoid()
            yield self._composed(self._feathered(values), number)

    def _calmed(self, logits: torch.Tensor) -> Maps:
        steps = self._soft_steps()
        for one in logits:
            surface = upsampled(one, self.size_hw, self.options.upsample)
            if steps:
                values = surface.values().sigmoid()
                for step in steps:
                    values = step(values)
                surface = Dense(as_logits(values))
            yield surface

    def _soft_steps(self) -> list[Callable[[torch.Tensor], torch.Tensor]]:
        """-> what happens between upsampling and the threshold, as functions of probabilities (H, W)."""
        steps: list[Callable[[torch.Tensor], torch.Tensor]] = []
        if self.options.refine != "none":
            if self.picture is None:
                raise UsageError(
                    "refine follows the edges of the picture, and these masks were made without it; give them one"
                )
            picture = self.picture.convert("RGB")
            refiner = self.options.refine
            sharpen = Guide(picture) if isinstance(refiner, str) else partial(refined, refiner, picture)
            steps.append(lambda values: torch.from_numpy(sharpen(values.numpy())))
        sigma, side = (pixels(length, self.size_hw) for length in (self.options.smooth, self.options.median))
        if sigma > 0:
            steps.append(lambda values: gaussian(values, sigma))
        if side >= 3:
            steps.append(lambda values: median(values, side))
        return steps

    def _shape_steps(self) -> list[Callable[[NDArray[np.bool_]], NDArray[np.bool_]]]:
        """-> what happens between the threshold and inversion, as functions of a mask (H, W) bool."""
        options, steps = self.options, list[Callable[[NDArray[np.bool_]], NDArray[np.bool_]]]()
        grow, shrink = (pixels(length, self.size_hw) for length in (options.grow, options.shrink))
        least, keep = square_pixels(options.min_area, self.size_hw), parse_keep(options.keep)
        if grow >= 1:
            steps.append(lambda mask: grown(mask, grow, options.shape))
        if shrink >= 1:
            steps.append(lambda mask: shrunk(mask, shrink, options.shape))
        if options.fill_holes:
            steps.append(without_holes)
        if least > 1 or keep.numbers is not None:
            steps.append(lambda mask: selected(mask, least, keep))
        return steps

    def _feathered(self, values: torch.Tensor) -> torch.Tensor:
        return gaussian(values, pixels(self.options.feather, self.size_hw))

    def _composed(self, values: torch.Tensor, number: int) -> torch.Tensor:
        """A label's mask (H, W) float32 -> the same composed with the existing one."""
        if self.options.compose == "replace":
            return values
        if self.existing is None:
            raise UsageError(f"compose={self.options.compose!r} needs a mask that was there before: masks.onto(mask)")
        before = self.existing[number if len(self.existing) > 1 else 0].float()
        return composed(values, before, self.options.compose, self.options.alpha)
