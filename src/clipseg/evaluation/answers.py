"""Samples in, logits out: what a segmenter answers to the questions of a data set, in the geometry they are scored in.

Every picture is encoded once, however many neighbouring samples ask something of it. An answer depends on the few
samples of its own block alone, never on what was asked before, so any number of processes gives the same figures.

Shapes: S side of the model's square · P prompts · E condition width · H, W picture · h, w where answers are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from PIL import Image

from clipseg.data.geometry import to_pixels
from clipseg.data.labelled import placed, squared_truth
from clipseg.data.sample import Sample, Support
from clipseg.errors import DataError, UsageError
from clipseg.evaluation.options import EvaluationOptions
from clipseg.metrics import THRESHOLDS, Counts
from clipseg.prompting.prompts import ImagePrompt, Prompt, TextPrompt
from clipseg.prompting.styles import style_named
from clipseg.prompting.visual import engineer
from clipseg.segmenter import Segmenter

BLOCK = 16
"""Samples that are held, and where they ask of one picture asked, together. Processes share out whole blocks."""


class Answer(NamedTuple):
    """Logits (h, w) float32, what is true (h, w) bool, and pixels that do not count (h, w) bool."""

    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    ignore: NDArray[np.bool_]

    def counts(self, label: int, thresholds: Sequence[float] = THRESHOLDS) -> Counts:
        """-> how its pixels are judged, under a label."""
        return Counts.of(self.logits, self.truth, ignore=self.ignore, label=label, thresholds=thresholds, logits=True)


class Geometry(NamedTuple):
    """How the authors bring a picture to the model, and a map of what is true to where it is scored.

    Fields
        pixels  (H, W, 3) uint8 and S -> (3, S, S) float32
        truth   (H, W) of any type, S, and what there is beyond the picture -> (h, w)
    """

    pixels: Callable[[NDArray[np.uint8], int], torch.Tensor]
    truth: Callable[[NDArray[Any], int, Any], NDArray[Any]]


def squashed(values: NDArray[Any], size: int, _beyond: Any = None) -> NDArray[Any]:
    """A map (H, W) -> (S, S), the nearest values as in `data.geometry.to_target`."""
    rows, columns = (np.arange(size) * length // size for length in values.shape)
    return np.asarray(values[rows[:, None], columns])


GEOMETRIES: Mapping[str, Geometry] = {
    "squash": Geometry(to_pixels, squashed),
    "placed": Geometry(placed, lambda values, _, beyond: squared_truth(values, beyond)),
}
"""Those of `EvaluationOptions.geometry` that are the authors'."""


def blocks(samples: int, part: tuple[int, int]) -> Iterator[range]:
    """A number of samples and (i, n) -> the blocks of the i-th of n parts: every n-th one, beginning with the i-th.

    Raises UsageError for a part that is none.
    """
    which, parts = part
    if not 0 <= which < parts:
        raise UsageError(f"part is {part}; expected (i, n) with i from 0 to n - 1")
    for start in range(which * BLOCK, samples, parts * BLOCK):
        yield range(start, min(start + BLOCK, samples))


class Asker:
    """A segmenter and options, ready to answer. Raises UsageError for a geometry that the model's input does not have.

    Prompts are embedded and pictures encoded one at a time: neighbours in a batch would show in the last bits.
    """

    def __init__(self, segmenter: Segmenter, options: EvaluationOptions) -> None:
        self._segmenter = segmenter
        self._options = options
        self._geometry = GEOMETRIES.get(options.geometry)
        size = segmenter.processor.image_processor.size
        if self._geometry is not None and not 0 < size.get("height", 0) == size.get("width"):
            raise UsageError(f"the authors squash pictures to a square, and this model takes them by {size}")
        self._side = size.get("height", 0)

    def answers(self, samples: Sequence[Sample]) -> Iterator[Answer]:
        """Samples of a block -> their answers, in order. Raises DataError for a sample that does not ask that way."""
        for run in _same_picture(samples):
            conditions = torch.stack([self.condition(sample) for sample in run])  # (P, E)
            truths = [self.truth(sample.mask, beyond=False) for sample in run]
            maps = self.maps(run[0].picture, conditions, truths[0].shape)
            for sample, truth, logits in zip(run, truths, maps, strict=True):
                ignore = np.zeros(sample.mask.shape, bool) if sample.ignore is None else sample.ignore
                yield Answer(logits, truth, self.truth(ignore, beyond=True))

    def truth(self, values: NDArray[Any], *, beyond: Any) -> NDArray[Any]:
        """A map (H, W) of a picture -> (h, w) as it is scored, with `beyond` where there is no picture."""
        if self._geometry is None:
            return values
        return self._geometry.truth(values, self._side, beyond)

    def picture(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture (H, W, 3) -> (h, w, 3) as what is scored lies on it, black beyond it; to look at."""
        return np.stack([self.truth(channel, beyond=0) for channel in np.moveaxis(picture, 2, 0)], -1)

    @torch.inference_mode()
    def maps(
        self, picture: NDArray[np.uint8], conditions: torch.Tensor, size_hw: tuple[int, ...]
    ) -> Iterator[NDArray[np.float32]]:
        """A picture (H, W, 3) and conditions (P, E) -> P times logits (h, w), `size_hw` being where they are scored."""
        if self._geometry is None:
            masks = self._segmenter.segment(self._segmenter.encode(Image.fromarray(picture)), conditions)
            for mask in masks:
                yield mask.upsampled().numpy()
            return
        model = self._segmenter.model
        pixels = self._geometry.pixels(picture, self._side)[None].to(model.device, model.dtype)
        logits = model.decode(model.encode_images(pixels), conditions.to(model.device, model.dtype))[0].float().cpu()
        for one in logits:
            resized = F.interpolate(one[None, None], size=size_hw, mode="bilinear", align_corners=True)
            yield resized[0, 0].numpy()

    def condition(self, sample: Sample) -> torch.Tensor:
        """A sample -> its question as the model takes it (E,). Raises DataError where it does not ask that way."""
        if self._options.prompt == "text":
            if sample.phrase is None:
                raise DataError(f"sample {sample.name!r} has no phrase; ask by its example (prompt='example')")
            return self.embedded(TextPrompt(sample.phrase, templates=self._options.templates))
        if sample.support is None:
            raise DataError(f"sample {sample.name!r} has no example; ask by its phrase (prompt='text')")
        if self._geometry is None:
            support = sample.support
            return self.embedded(ImagePrompt(support.picture, mask=support.mask, style=self._options.style))
        return self._engineered(sample.support)

    def embedded(self, prompt: Prompt) -> torch.Tensor:
        """A prompt -> (E,)."""
        return self._segmenter.embed(prompt)[0]

    @torch.inference_mode()
    def _engineered(self, support: Support) -> torch.Tensor:
        """An example -> (E,), squashed and engineered by the authors' rules; without a mask all of it is background."""
        model, side = self._segmenter.model, self._side
        pixels, mask = to_pixels(support.picture, side), torch.from_numpy(squashed(support.mask, side))
        shown = engineer(pixels, mask, style_named(self._options.style), (side, side))[None]
        embedded = model.get_conditional_embeddings(1, conditional_pixel_values=shown.to(model.device, model.dtype))
        return embedded[0].float().cpu()


def _same_picture(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Samples -> runs of neighbours that ask of one picture."""
    run: list[Sample] = []
    for sample in samples:
        if run and not np.array_equal(run[0].picture, sample.picture):
            yield run
            run = []
        run.append(sample)
    if run:
        yield run
