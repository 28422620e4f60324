"""Prompts, embedded and ready to be asked of any number of pictures.

Shapes: L distinct prompts of a question · P, E prompts and condition width · h, w low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image

from clipseg.errors import PictureError, UsageError
from clipseg.features import ImageFeatures, PictureEncoder
from clipseg.fits import Fit
from clipseg.masks.masks import Masks
from clipseg.masks.options import MaskOptions
from clipseg.processing.images import PictureSource
from clipseg.processing.on_demand import SettledPicture
from clipseg.prompting.expressions import Check, unhurried
from clipseg.prompting.questions import Question


@dataclass(frozen=True, eq=False)
class Answered:
    """What `Segmenter.asking` gives, a function: pictures or features, as they come -> the `Masks` of each in turn.

    Fields
        encoder           what sees the pictures
        question          which prompts make which mask
        conditions        of the prompts (P, E)
        finish            how masks are finished
        combined          whether they become one
        fit               see `Segmenter.encode`; None: of features their own
        batch_size        pictures, or tiles of one, that go through the model together
        reduced_decoding  whether JPEG files may be decoded at a reduced scale
        alone             whether pictures are decoded in the caller's thread, not ahead in others
    """

    encoder: PictureEncoder
    question: Question
    conditions: torch.Tensor
    finish: MaskOptions
    combined: bool
    fit: Fit | None
    batch_size: int
    reduced_decoding: bool
    alone: bool = False

    def __call__(self, pictures: Iterable[PictureSource | SettledPicture | ImageFeatures]) -> Iterator[Masks]:
        """Pictures or features -> the masks of each. Raises PictureError when the turn of one comes that has none."""
        for one in self.each(pictures):
            if isinstance(one, PictureError):
                raise one
            yield one

    def logits(self, features: ImageFeatures) -> torch.Tensor:
        """Features -> the logits (L, h, w) float32 of the question's prompts, on the CPU. Raises PictureError."""
        return self.encoder.logits(features, self.conditions)

    def each(
        self, pictures: Iterable[PictureSource | SettledPicture | ImageFeatures]
    ) -> Generator[Masks | PictureError, None, None]:
        """Pictures or features -> the masks of each, or why there are none; the others are done all the same.

        Raises UsageError for one picture that is not in a list, such as a path: it has letters, not pictures.
        """
        if isinstance(pictures, (str, bytes, bytearray, memoryview)) or not isinstance(pictures, Iterable):
            got = f"one {type(pictures).__name__}"
            raise UsageError(f"pictures are a list, or come one by one, got {got}; put a single picture into a list")
        for features in self.encoder.each(pictures, self.batch_size, self.fit, self.reduced_decoding, alone=self.alone):
            if isinstance(features, PictureError):
                yield features
                continue
            try:
                logits = self.logits(features)
            except PictureError as error:
                yield error
                continue
            yield masks_of(self.question, logits, features.picture, self.finish, self.combined)


def masks_of(
    question: Question,
    logits: torch.Tensor,
    picture: Image.Image,
    finish: MaskOptions,
    combined: bool,
    check: Check = unhurried,
) -> Masks:
    """A question, the logits (L, h, w) of its prompts on a picture, and how masks are finished -> the masks.

    `combined` makes them one. The logits are the masks' from then on. `check` is called between the steps of
    expressions, and may raise. Raises UsageError as `Masks.combined` does.
    """
    size_hw = (picture.height, picture.width)
    answers, negatives = question.answers(logits, size_hw, check)
    masks = Masks(answers, question.labels, size_hw, picture, finish, negatives, owned=True)
    return masks.combined() if combined else masks
