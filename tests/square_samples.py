"""A data set that a tiny model can learn in a few steps: a square of a colour, which the phrase names."""

from __future__ import annotations

import numpy as np

from clipseg.data.sample import Sample, SampleDataset, Support

COLOURS = {"a cat": (220, 30, 30), "wood": (30, 200, 40), "a glass": (40, 60, 230), "jar": (230, 220, 40)}
"""Phrases that the tokenizer of `ready` knows, and the colours they mean here."""


class Squares(SampleDataset):
    """Each entry a picture; what is asked about it is drawn. All options but the first two are shares of samples."""

    labels = tuple(COLOURS)

    def __init__(
        self,
        length: int = 12,
        seed: int = 0,
        *,
        support: float = 0.5,
        phraseless: float = 0.0,
        ignored: float = 0.3,
        absent: float = 0.2,
    ) -> None:
        self.length, self.seed, self.support, self.phraseless = length, seed, support, phraseless
        self.ignored, self.absent = ignored, absent

    def __len__(self) -> int:
        return self.length

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        label = index % len(COLOURS)
        phrase = self.labels[label]
        picture, mask = square(np.random.default_rng([self.seed, index]), COLOURS[phrase])
        if rng.random() < self.absent:
            phrase, mask = self.labels[(label + 1) % len(COLOURS)], np.zeros_like(mask)
        with_support, without_phrase = rng.random() < self.support, rng.random() < self.phraseless
        support = Support(*square(rng, COLOURS[phrase])) if with_support or without_phrase else None
        ignore = rng.random(mask.shape) < 0.2 if rng.random() < self.ignored else None
        return Sample(picture, mask, None if without_phrase else phrase, support, ignore, label, f"square {index}")


def square(rng: np.random.Generator, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """-> a picture of noise (H, W, 3) with a square of a colour, and its mask."""
    height, width = (int(side) for side in rng.integers(40, 64, 2))
    picture = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
    side = int(rng.integers(14, 28))
    top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
    picture[top : top + side, left : left + side] = colour
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return picture, mask
