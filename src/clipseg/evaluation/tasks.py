"""The paper's tasks on a data set: what is asked is tallied, in as many parts as one likes, and told of in a report.

report = evaluate("referring", Segmenter.from_pretrained("nano"), dataset, options_for("referring", paper=True))
report.metrics["iou_cumulative"]
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.data.labelled import LabelledPictures
from clipseg.data.sample import SampleDataset
from clipseg.errors import DataError, UsageError
from clipseg.evaluation.options import TASKS, EvaluationOptions, options_for
from clipseg.evaluation.report import EvaluationReport, Table
from clipseg.evaluation.tallies import (
    SIZES,
    ClassTally,
    Progress,
    Row,
    SampleTally,
    size_bin,
    tally_classes,
    tally_samples,
)
from clipseg.metrics import Counts, harmonic_mean
from clipseg.segmenter import Segmenter
from clipseg.version import __version__

Tally: TypeAlias = SampleTally | ClassTally


def evaluate(
    task: str,
    segmenter: Segmenter,
    dataset: SampleDataset,
    options: EvaluationOptions | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """A task of TASKS, a segmenter and a data set -> the report. Without `options`: those of `options_for(task)`.

    Raises UsageError for a task that is not known or a data set that is not for it, DataError for an empty data set
    and for samples that do not ask as the options do.
    """
    chosen = options_for(task) if options is None else options
    tally = tallied(task, segmenter, dataset, chosen, progress)
    return reported(task, tally, dataset, chosen, segmenter.name_or_path)


def tallied(
    task: str,
    segmenter: Segmenter,
    dataset: SampleDataset,
    options: EvaluationOptions,
    progress: Progress | None = None,
    part: tuple[int, int] = (0, 1),
) -> Tally:
    """As `evaluate`, of the part (i, n) of a data set -> a tally. Those of all n parts add up to that of the whole."""
    if TASKS[task].classes:
        if not isinstance(dataset, LabelledPictures):
            raise UsageError(f"{task} needs pictures with a class at every pixel, as VOC has; this data set has none")
        return tally_classes(segmenter, dataset, options, progress, part)
    return tally_samples(segmenter, dataset, options, progress, part)


def reported(
    task: str,
    tally: Tally,
    dataset: SampleDataset,
    options: EvaluationOptions,
    model: str,
    about: Mapping[str, Any] | None = None,
) -> EvaluationReport:
    """The tally of a data set -> its report; `about` are settings to tell beside the options.

    Raises DataError where nothing was judged.
    """
    if not tally.seen.rows:
        raise DataError(f"there is nothing to evaluate: the data set has {len(dataset)} samples")
    unused: tuple[str, ...]  # options that decide nothing here
    if isinstance(tally, ClassTally):
        metrics, notes, labels = _of_classes(tally, dataset, options)
        sizes, curves = Table((), ()), Table((), ())
        unused = ("threshold", "prompt", "style")
    else:
        metrics, curves = _of_samples(tally, dataset, options)
        labels, sizes, notes = _labels(tally, dataset, options), _sizes(tally, options), ()
        unused = ("background",) if options.prompt == "example" else ("background", "style")
    return EvaluationReport(
        task=task,
        model=model,
        samples=len(tally.seen.rows),
        metrics=metrics,
        notes=notes,
        labels=labels,
        sizes=sizes,
        curves=curves,
        rows=tally.seen.rows,
        worst=tally.seen.worst,
        settings={**(about or {}), **asdict(options), "style": str(options.style), **dict.fromkeys(unused)},
        versions={
            "clipseg": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        problems=tuple(map(str, getattr(dataset, "problems", ()))),
    )


# -- yes or no for every pixel ---------------------------------------------------------------------------------------


def _of_samples(
    tally: SampleTally, dataset: SampleDataset, options: EvaluationOptions
) -> tuple[dict[str, float], Table]:
    counts, paper = tally.counts, options.paper
    mean = "iou_per_class_mean" if dataset.labels else "iou_per_sample_mean"
    curves = {
        mean: counts.iou_per_label_mean(paper=paper),
        "iou_cumulative": counts.iou_cumulative(paper=paper),
        "iou_binary": counts.iou_binary(paper=paper),
        "precision": counts.precision(paper=paper),
        "recall": counts.recall(paper=paper),
    }
    metrics = {name: counts.at(curve, options.threshold) for name, curve in curves.items()}
    metrics["iou_per_sample_mean"] = _mean(tally.seen.rows)
    if paper:
        metrics["average_precision"] = counts.average_precision("paper")
    else:
        metrics["average_precision"] = tally.fine.average_precision()
        metrics["average_precision_interpolated"] = tally.fine.average_precision("interpolated")
    for name in (mean, "iou_cumulative", "iou_binary"):
        metrics[f"{name}_best_threshold"], metrics[f"{name}_best"] = counts.best(curves[name])
    rows = zip(counts.thresholds.tolist(), *(curve.tolist() for curve in curves.values()), strict=True)
    return metrics, Table(("threshold", *curves), tuple(rows))


def _labels(tally: SampleTally, dataset: SampleDataset, options: EvaluationOptions) -> Table:
    """-> a row for each class; none where every sample counts for itself."""
    names = dataset.labels
    if not names:
        return Table((), ())
    rows = []
    for number in tally.counts.labels.tolist():
        own = tally.counts.of_label(number)
        best = own.best(own.iou_cumulative(paper=options.paper))
        name = names[number] if number < len(names) else str(number)
        rows.append(
            (name, sum(row.label == number for row in tally.seen.rows), *_figures(own, options), best[1], best[0])
        )
    headings = ("class", "samples", "iou_cumulative", "precision", "recall")
    return Table((*headings, "iou_cumulative_best", "iou_cumulative_best_threshold"), tuple(rows))


def _sizes(tally: SampleTally, options: EvaluationOptions) -> Table:
    rows = []
    for number in tally.sizes.labels.tolist():
        within = [row for row in tally.seen.rows if size_bin(row.share) == number]
        rows.append((SIZES[number], len(within), _mean(within), *_figures(tally.sizes.of_label(number), options)))
    headings = ("share of the picture", "samples", "iou_per_sample_mean", "iou_cumulative", "precision", "recall")
    return Table(headings, tuple(rows))


def _figures(counts: Counts, options: EvaluationOptions) -> tuple[float, float, float]:
    """-> the cumulative IoU, precision and recall at the options' threshold."""
    curves = (counts.iou_cumulative, counts.precision, counts.recall)
    iou, precision, recall = (counts.at(curve(paper=options.paper), options.threshold) for curve in curves)
    return iou, precision, recall


def _mean(rows: Sequence[Row]) -> float:
    return float(np.mean([row.score for row in rows]))


# -- one class for every pixel ---------------------------------------------------------------------------------------


def _of_classes(
    tally: ClassTally, dataset: SampleDataset, options: EvaluationOptions
) -> tuple[dict[str, float], tuple[str, ...], Table]:
    matrix, names, unseen = tally.matrix, dataset.labels, getattr(dataset, "unseen", ())
    first = 0 if options.background else 1
    groups = {
        "seen": [number for number in range(first, len(names)) if number not in unseen],
        "unseen": sorted(unseen),
    }
    metrics = {
        f"iou_per_class_mean_{name}": matrix.iou_per_class_mean(group, paper=options.paper)
        for name, group in groups.items()
    }
    metrics["iou_per_class_mean_harmonic"] = harmonic_mean(*metrics.values())
    metrics["iou_per_class_mean"] = matrix.iou_per_class_mean(range(first, len(names)), paper=options.paper)
    metrics["pixel_accuracy"] = matrix.pixel_accuracy()
    notes = tuple(f"{name}: {', '.join(names[number] for number in group)}." for name, group in groups.items())
    ious: NDArray[np.float64] = matrix.iou_per_class(paper=options.paper)
    rows = tuple(
        (
            names[number],
            name,
            float(ious[number]),
            int(matrix.counts[number].sum()),
            int(matrix.counts[:, number].sum()),
        )
        for name, group in groups.items()
        for number in group
    )
    about = "The paper's columns of its own models may be exchanged: these are named by what they are."
    return metrics, (*notes, about), Table(("class", "group", "iou", "pixels true", "pixels found"), rows)
