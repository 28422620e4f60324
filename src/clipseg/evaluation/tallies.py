"""What is kept of answers: counts that add up, so that parts of a data set can be judged apart, and merged exactly.

    halves = [tally_samples(segmenter, dataset, options, part=(i, 2)) for i in range(2)]
    whole = halves[0] + halves[1]

Shapes: H, W picture · h, w where answers are scored · C classes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.data.labelled import IGNORED, LabelledPictures
from clipseg.data.sample import Sample, SampleDataset
from clipseg.evaluation.answers import Answer, Asker, blocks
from clipseg.evaluation.options import EvaluationOptions
from clipseg.masks.draw import colour, paint_masks
from clipseg.metrics import FINE_THRESHOLDS, ConfusionMatrix, Counts
from clipseg.prompting.prompts import TextPrompt
from clipseg.segmenter import Segmenter

SIZE_EDGES = (0.01, 0.05, 0.2)
SIZES = ("not there", "below 1 %", "1 to 5 %", "5 to 20 %", "20 % and more")
"""Bins of how much of a picture is meant; their positions are the labels of `SampleTally.sizes`."""

BACKGROUND = "background"  # class 0 where classes compete
SHOWN_SIDE = 192  # pixels, of pictures on a sheet

Pictures: TypeAlias = dict[str, NDArray[np.uint8]]
"""What is shown -> a picture (h, w, 3)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the samples done and their number."""


class Row(NamedTuple):
    """One sample: its place in the data set, where it is from, what was asked, its label, the share that is meant.

    Its score is the IoU at the options' threshold; where classes compete, the part of pixels that is right.
    """

    place: int
    name: str
    prompt: str
    label: int
    share: float
    score: float


class Case(NamedTuple):
    """An answer to look at."""

    row: Row
    pictures: Pictures


@dataclass(frozen=True, eq=False)
class SampleTally:
    """Yes or no for every pixel: counts by label, of all pixels at fine thresholds, and by size; see also `Seen`.

    With the options' `paper` there are none at fine thresholds.
    """

    counts: Counts
    fine: Counts
    sizes: Counts
    seen: Seen

    def __add__(self, other: SampleTally) -> SampleTally:
        mine, theirs = (attrgetter("counts", "fine", "sizes", "seen")(each) for each in (self, other))
        return SampleTally(*(one + two for one, two in zip(mine, theirs, strict=True)))


@dataclass(frozen=True, eq=False)
class ClassTally:
    """One class for every pixel: the confusion of classes; see also `Seen`."""

    matrix: ConfusionMatrix
    seen: Seen

    def __add__(self, other: ClassTally) -> ClassTally:
        return ClassTally(self.matrix + other.matrix, self.seen + other.seen)


@dataclass(frozen=True)
class Seen:
    """The samples that were judged: their rows in the order of the data set, and the `keep` worst of them to look at.

    The worst have the lowest scores, the lowest first, and of two alike the one that comes first.
    """

    rows: tuple[Row, ...]
    worst: tuple[Case, ...]
    keep: int

    def __add__(self, other: Seen) -> Seen:
        return Seen(tuple(sorted(self.rows + other.rows)), _lowest(self.worst + other.worst, self.keep), self.keep)


class _Notes:
    """Takes samples down as they are judged; pictures are made only of those that are among the worst so far."""

    def __init__(self, keep: int) -> None:
        self.rows: list[Row] = []
        self._worst: tuple[Case, ...] = ()
        self._keep = keep

    def add(self, row: Row, pictures: Callable[[], Pictures]) -> None:
        self.rows.append(row)
        if len(self._worst) < self._keep or (self._keep and row.score < self._worst[-1].row.score):
            self._worst = _lowest((*self._worst, Case(row, pictures())), self._keep)

    def seen(self) -> Seen:
        return Seen(tuple(self.rows), self._worst, self._keep)


def tally_samples(
    segmenter: Segmenter,
    dataset: SampleDataset,
    options: EvaluationOptions,
    progress: Progress | None = None,
    part: tuple[int, int] = (0, 1),
) -> SampleTally:
    """A part (i, n) of a data set -> its tally. `progress` counts the samples of the part.

    Raises UsageError for a part that is none, DataError for a sample that does not ask as the options do, and what the
    data set and the segmenter raise.
    """
    asker, notes = Asker(segmenter, options), _Notes(options.worst)
    counts, sizes, fine = [Counts.none()], Counts.none(), Counts.none(FINE_THRESHOLDS)
    slots = list(blocks(options.samples(len(dataset)), part))
    _tell(progress, 0, slots)
    for slot in slots:
        samples = [dataset[index] for index in slot]
        for index, sample, answer in zip(slot, samples, asker.answers(samples), strict=True):
            one = answer.counts(label=sample.label)
            share = float((one.tp + one.fn)[0, 0]) / max(1, one.pixels)
            iou = one.at(one.iou_cumulative(paper=options.paper), options.threshold)
            counts.append(one)
            sizes += replace(one, labels=np.array([size_bin(share)]))
            if not options.paper:  # whose average precision has the usual thresholds
                fine += answer.counts(label=0, thresholds=FINE_THRESHOLDS)
            asked = sample.phrase or str(sample.label)
            asked = asked if options.prompt == "text" else f"example of {asked}"
            notes.add(
                Row(index, sample.name, asked, sample.label, share, iou),
                partial(_answered, asker, sample, answer, options),
            )
        _tell(progress, len(notes.rows), slots)
    return SampleTally(Counts.sum(counts), fine, sizes, notes.seen())


def tally_classes(
    segmenter: Segmenter,
    dataset: LabelledPictures,
    options: EvaluationOptions,
    progress: Progress | None = None,
    part: tuple[int, int] = (0, 1),
) -> ClassTally:
    """A part (i, n) of pictures with a class at every pixel -> its tally; the most probable class is the answer.

    Class 0 is the background. Its prompt is "background", its probability multiplied by the options' factor; without
    a factor it takes no part and its pixels do not count. Raises as `tally_samples`.
    """
    asker, notes, names = Asker(segmenter, options), _Notes(options.worst), dataset.names
    first = 0 if options.background else 1
    prompts = [TextPrompt(name, templates=options.templates) for name in (BACKGROUND, *names[1:])[first:]]
    conditions = torch.stack([asker.embedded(prompt) for prompt in prompts])  # (C, E)
    matrix = ConfusionMatrix.of([], [], len(names))
    slots = list(blocks(options.samples(len(dataset)), part))
    _tell(progress, 0, slots)
    for index in (index for slot in slots for index in slot):
        picture = dataset.labelled(index)
        truth = asker.truth(picture.classes, beyond=IGNORED)
        highest, found = np.full(truth.shape, -np.inf, np.float32), np.zeros(truth.shape, np.int64)
        for number, logits in enumerate(asker.maps(picture.picture, conditions, truth.shape), first):
            probability = torch.from_numpy(logits).sigmoid().numpy()
            if number == 0:
                probability = probability * options.background
            found[probability > highest] = number
            np.maximum(highest, probability, out=highest)
        ignore = (truth == IGNORED) | (truth < first)
        one = ConfusionMatrix.of(found, truth, len(names), ignore)
        matrix += one
        there = ", ".join(names[number] for number in np.unique(truth[~ignore]))
        notes.add(
            Row(index, picture.name, there, 0, float(np.mean(truth[~ignore] > 0)), one.pixel_accuracy()),
            partial(_classified, asker.picture(picture.picture), truth, found, names),
        )
        _tell(progress, len(notes.rows), slots)
    return ClassTally(matrix, notes.seen())


def size_bin(share: float) -> int:
    """How much of a picture is meant, 0 to 1 -> the position of its bin in SIZES."""
    return 1 + bisect_right(SIZE_EDGES, share) if share > 0 else 0


def _lowest(cases: tuple[Case, ...], keep: int) -> tuple[Case, ...]:
    return tuple(sorted(cases, key=lambda case: (case.row.score, case.row.place))[:keep])


def _tell(progress: Progress | None, done: int, slots: list[range]) -> None:
    if progress is not None:
        progress(done, sum(map(len, slots)))


# -- pictures of answers ---------------------------------------------------------------------------------------------


def _answered(asker: Asker, sample: Sample, answer: Answer, options: EvaluationOptions) -> Pictures:
    """-> the picture, what is true and what was found, and the example if that asked."""
    found = (torch.from_numpy(answer.logits).sigmoid().numpy() > options.threshold) & ~answer.ignore
    picture = asker.picture(sample.picture)
    shown = {"picture": picture, "truth": _marked(picture, answer.truth), "found": _marked(picture, found)}
    if options.prompt == "example" and sample.support is not None:
        shown["example"] = _marked(sample.support.picture, sample.support.mask)
    return {title: _small(pixels) for title, pixels in shown.items()}


def _classified(
    picture: NDArray[np.uint8], truth: NDArray[np.integer], found: NDArray[np.integer], names: tuple[str, ...]
) -> Pictures:
    """-> the picture, its true classes and those found, each class in its own colour."""
    known = np.where(truth == IGNORED, 0, truth)
    named = ", ".join(names[number] for number in np.unique(found))
    shown = {"picture": picture, "truth": _painted(picture, known), f"found: {named}": _painted(picture, found)}
    return {title: _small(pixels) for title, pixels in shown.items()}


def _marked(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture (h, w, 3) and a mask (h, w) -> the picture, dark outside the mask, which is outlined."""
    dimmed = np.where(mask[..., None], picture, picture // 4)
    return np.asarray(paint_masks(Image.fromarray(dimmed), [mask], alpha=0))


def _painted(picture: NDArray[np.uint8], classes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """A picture (h, w, 3) and class numbers (h, w), 0 for none -> the picture in grey, the others in their colours."""
    grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    colours = np.array([colour(number) for number in range(int(classes.max(initial=0)) + 1)], np.float32)
    mixed = np.float32(0.4) * grey + np.float32(0.6) * colours[np.maximum(classes.astype(np.int64) - 1, 0)]
    return np.where((classes > 0)[..., None], mixed, grey).astype(np.uint8)


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(image)
