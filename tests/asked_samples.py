"""Small data sets in memory, for what works on any: several questions of one picture, classes, ignored pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ready
from clipseg.data.labelled import LabelledPicture, LabelledPictures
from clipseg.data.sample import Sample, SampleDataset, Support
from clipseg.segmenter import Segmenter

PHRASES = ("cat", "cup", "dog", "wood", "glass", "jar")


class AskedSamples(SampleDataset):
    """Pictures of noise with boxes marked in them. Each picture is asked about two or three times in a row.

    Sample 5 asks for what is not there, every third has pixels to ignore; with `classes` the labels are three classes.
    """

    def __init__(self, samples: int = 8, classes: bool = False, visual: bool = True) -> None:
        self._samples, self._visual = samples, visual
        self.labels = ("cat", "cup", "dog") if classes else ()

    def __len__(self) -> int:
        return self._samples

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        picture = np.asarray(ready.picture(index * 2 // 5, 50 + index * 2 // 5, 36))
        mask = np.zeros(picture.shape[:2], bool)
        if index != 5:
            mask[4 + index % 7 : 30, 10 : 14 + index % 25] = True
        ignore = np.zeros_like(mask)
        ignore[:, : index % 10] = True
        shown = np.asarray(ready.picture(100 + index, 44, 40))
        example = np.zeros(shown.shape[:2], bool)
        example[5:30, 8:35] = True
        return Sample(
            picture,
            mask,
            PHRASES[index % len(PHRASES)],
            Support(shown, example) if self._visual else None,
            ignore if index % 3 == 0 else None,
            label=index % 3 if self.labels else index,
            name=f"sample {index}",
        )


class LabelledNoise(LabelledPictures):
    """Three pictures with four classes, one of them nowhere, the last unseen; a margin is of no class."""

    labels = ("background", "cat", "glass", "jar", "wood")
    unseen = (4,)

    def __len__(self) -> int:
        return 3

    def labelled(self, index: int) -> LabelledPicture:
        picture = np.asarray(ready.picture(index, 48, 40))
        classes = np.zeros(picture.shape[:2], np.uint8)
        classes[5:20, 5:30] = 1
        classes[22:38, 3:20] = 4
        classes[22:38, 25:40] = 2
        classes[:, :3] = 255
        return LabelledPicture(picture, classes, f"labelled {index}")

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        return self.labelled(index).sample(1, "cat", None, 1, f"labelled {index}")


def opened(folder: Path, dataset: SampleDataset) -> tuple[Segmenter, SampleDataset]:
    """What a process of an evaluation does first."""
    return Segmenter.from_pretrained(folder), dataset


def ious(answers, threshold, plus=0):
    """(anything, probabilities, truth) of samples -> the IoU of each, with `plus` in every denominator."""
    each = []
    for _, probabilities, truth in answers:
        union = np.count_nonzero((probabilities > threshold) | truth)
        inside = np.count_nonzero((probabilities > threshold) & truth)
        each.append(inside / (union + plus) if union + plus else 1.0)
    return each
