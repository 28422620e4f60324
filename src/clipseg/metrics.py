"""Scores of masks as functions of arrays. A metric's name states its averaging.

    counts = Counts.of(probabilities, truth, label=7) + Counts.of(others, their_truth, label=8)
    curve = counts.iou_cumulative()              # at every threshold
    counts.best(curve), counts.at(curve, 0.3)

Whatever is summed over pictures or processes is a count, so parts add up to the whole exactly. Definitions are those of
textbooks; `paper=True` gives those of CLIPSeg's authors, who add 1 to every denominator (Lüddecke and Ecker 2022).

Shapes: T thresholds · L labels · C classes · H, W a picture's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from clipseg.errors import UsageError

THRESHOLDS: tuple[float, ...] = tuple(step / 50 for step in range(1, 50))
"""Of a probability: 0.02, 0.04 … 0.98, as in the paper."""

FINE_THRESHOLDS: tuple[float, ...] = tuple((1 / (1 + np.exp(-np.linspace(-16, 16, 2**12 - 1)))).tolist())
"""What cuts probabilities into 2^12 bins of equal width in logits, from -16 to 16: for the average precision of
millions of pixels. It is exact but for the order of pixels within a bin, which count as tied."""

Integration: TypeAlias = Literal["steps", "interpolated", "paper"]


@dataclass(frozen=True, eq=False)
class Counts:
    """How pixels were judged at each threshold, for each label: counts that add up.

    Fields
        thresholds  (T,) rising probabilities; a pixel is positive if its own is above
        labels      (L,) rising, whatever means are taken over: a class, a sample, a bin of sizes
        tp          (L, T) int64, positive and true
        fp          (L, T) int64, positive and not true
        fn          (L, T) int64, true and not positive
        tn          (L, T) int64, neither

    A curve is a metric at each threshold (T,), or of each label (L, T). A share of nothing is 1: nothing was there, and
    nothing was found; of `paper=True` it is 0.
    """

    thresholds: NDArray[np.float64]
    labels: NDArray[np.int64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    tn: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        scores: ArrayLike,
        truth: ArrayLike,
        *,
        ignore: ArrayLike | None = None,
        label: int = 0,
        thresholds: Sequence[float] = THRESHOLDS,
        logits: bool = False,
    ) -> Counts:
        """Probabilities, or `logits`, and the truth (bool) of one shape -> their counts, but for those to ignore.

        Raises UsageError for other shapes, scores that are NaN, and thresholds that do not rise from 0 to 1.
        """
        values, true = np.asarray(scores, np.float64), np.asarray(truth)
        keep = np.ones(true.shape, bool) if ignore is None else ~np.asarray(ignore, bool)
        if not values.shape == true.shape == keep.shape or true.dtype != np.bool_:
            found = f"scores {values.shape}, truth {true.shape} {true.dtype}, ignore {keep.shape}"
            raise UsageError(f"scores are counted against a truth of bool, all of one shape; got {found}")
        cuts = np.asarray(thresholds, np.float64)
        if cuts.ndim != 1 or not len(cuts) or not (np.diff(cuts, prepend=-1e-9, append=1 + 1e-9) > 0).all():
            raise UsageError(f"thresholds are probabilities that rise from 0 to 1; got {thresholds}")
        values, true = values[keep], true[keep]
        if np.isnan(values).any():
            raise UsageError(
                "scores hold NaN, which is neither above a threshold nor below; look at the model's output"
            )
        with np.errstate(divide="ignore"):
            edges = np.log(cuts) - np.log1p(-cuts) if logits else cuts
        passed = np.searchsorted(edges, values, side="left")  # how many thresholds lie below each pixel
        above = [np.bincount(passed[which], minlength=len(cuts) + 1)[::-1].cumsum()[::-1] for which in (true, ~true)]
        (tp, fp), (trues, others) = (each[None, 1:] for each in above), (each[0] for each in above)
        return cls(cuts, np.array([label], np.int64), tp, fp, trues - tp, others - fp)

    @classmethod
    def none(cls, thresholds: Sequence[float] = THRESHOLDS) -> Counts:
        """-> the counts of nothing, to which others can be added."""
        nothing = np.zeros((0, len(thresholds)), np.int64)
        return cls(np.asarray(thresholds, np.float64), np.zeros(0, np.int64), nothing, nothing, nothing, nothing)

    @classmethod
    def sum(cls, parts: Iterable[Counts]) -> Counts:
        """Counts at the same thresholds -> one, the counts of each label added. Raises UsageError otherwise."""
        each = list(parts)
        if not each or any(not np.array_equal(one.thresholds, each[0].thresholds) for one in each):
            raise UsageError("counts are added up at the same thresholds, and of one part at least")
        labels, where = np.unique(np.concatenate([one.labels for one in each]), return_inverse=True)
        order = np.argsort(where, kind="stable")
        starts = np.searchsorted(where[order], np.arange(len(labels)))
        tables = (np.concatenate([getattr(one, name) for one in each])[order] for name in ("tp", "fp", "fn", "tn"))
        return cls(each[0].thresholds, labels, *(np.add.reduceat(table, starts) for table in tables))

    def __add__(self, other: Counts) -> Counts:
        return Counts.sum([self, other])

    def of_label(self, label: int) -> Counts:
        """-> the counts of one label, or of none where it does not occur."""
        own = self.labels == label
        return Counts(self.thresholds, self.labels[own], *(each[own] for each in (self.tp, self.fp, self.fn, self.tn)))

    @property
    def pixels(self) -> int:
        """How many pixels were judged."""
        return int((self.tp + self.fp + self.fn + self.tn)[:, 0].sum())

    def pooled(self) -> Counts:
        """-> the counts of all labels together, as those of one label 0."""
        tables = (each.sum(0, keepdims=True) for each in (self.tp, self.fp, self.fn, self.tn))
        return Counts(self.thresholds, np.zeros(1, np.int64), *tables)

    # -- curves --------------------------------------------------------------------------------------------------

    def iou_per_label(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (L, T): intersection over union, the counts of each label summed first."""
        return _share(self.tp, self.tp + self.fp + self.fn, paper)

    def iou_per_label_mean(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (T,): the mean over labels, each weighing the same.

        Where every sample has a label of its own it is a mean over samples (the paper's mIoU on PhraseCut), where
        labels are classes one over classes (its mIoU on Pascal and COCO).
        """
        return np.asarray(self.iou_per_label(paper=paper).mean(0))

    def iou_cumulative(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (T,): the IoU of all pixels of all pictures together (the paper's IoU_FG); large things weigh more."""
        return _share_of_all(self.tp, self.tp + self.fp + self.fn, paper)

    def iou_binary(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (T,): the mean of the cumulative IoU of what is meant and of all the rest (the paper's IoU_BIN)."""
        rest = _share_of_all(self.tn, self.tn + self.fn + self.fp, paper)
        return (self.iou_cumulative(paper=paper) + rest) / 2

    def precision(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (T,): the part of all positive pixels that is true."""
        return _share_of_all(self.tp, self.tp + self.fp, paper)

    def recall(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (T,): the part of all true pixels that is positive."""
        return _share_of_all(self.tp, self.tp + self.fn, paper)

    # -- figures -------------------------------------------------------------------------------------------------

    def average_precision(self, integration: Integration = "steps") -> float:
        """-> the area under precision over recall, of all pixels together; NaN where nothing is true.

        steps         each rise of recall weighs with the precision there, from recall 0 to the end where all pixels are
                      positive: scikit-learn's and torchmetrics' definition. Exact where thresholds tell all scores
                      apart, see FINE_THRESHOLDS
        interpolated  the same with the best precision at that recall or beyond it (Everingham and others, 2010)
        paper         with +1 in both denominators, at the thresholds with a positive pixel, by Simpson's rule over the
                      range of recall that occurs and no further. Of points of one recall the most precise counts

        Raises UsageError for another integration.
        """
        if integration not in get_args(Integration):
            raise UsageError(f"integration is {integration!r}; known are {', '.join(get_args(Integration))}")
        whole = self.pooled()
        tp, positive, true = whole.tp[0], (whole.tp + whole.fp)[0], int((whole.tp + whole.fn)[0, 0])
        if not true:
            return float("nan")
        if integration == "paper":
            precision, recall = tp / (1 + positive), tp / (1 + true)
            points: dict[float, float] = {}
            for x, y in zip(recall[positive > 0].tolist(), precision[positive > 0].tolist(), strict=True):
                points[x] = max(y, points.get(x, 0.0))
            return simpson([points[x] for x in sorted(points)], sorted(points))
        every = int(true + (whole.fp + whole.tn)[0, 0])
        tp, positive = np.append(tp[::-1], true), np.append(positive[::-1], every)  # from the highest threshold down
        precision = tp / np.maximum(positive, 1)
        if integration == "interpolated":
            precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(tp, prepend=0) / true * precision).sum())

    def at(self, curve: NDArray[np.float64], threshold: float) -> float:
        """A curve (T,) and a threshold -> its value at the nearest threshold there is, the lower of two as near."""
        return float(curve[self.place(threshold)])

    def place(self, threshold: float) -> int:
        """A threshold -> the position of the nearest one there is."""
        return int(np.abs(self.thresholds - threshold).argmin())

    def best(self, curve: NDArray[np.float64]) -> tuple[float, float]:
        """A curve (T,) -> the threshold where it is highest, the lowest of several, and its value there."""
        place = int(np.argmax(curve))
        return float(self.thresholds[place]), float(curve[place])


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Pixels by what they are and what they were taken for: (C, C) int64, true classes in rows; counts that add up."""

    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls, predicted: ArrayLike, truth: ArrayLike, classes: int, ignore: ArrayLike | None = None
    ) -> ConfusionMatrix:
        """Two maps of class numbers of one shape -> their counts, but for pixels to ignore.

        Raises UsageError for other shapes and for numbers that are not from 0 to C - 1.
        """
        found, true = np.asarray(predicted), np.asarray(truth)
        keep = np.ones(true.shape, bool) if ignore is None else ~np.asarray(ignore, bool)
        if not found.shape == true.shape == keep.shape:
            raise UsageError(f"maps of classes are of one shape; got {found.shape}, {true.shape} and {keep.shape}")
        found, true = found[keep].astype(np.int64), true[keep].astype(np.int64)
        if len(true) and not (min(found.min(), true.min()) >= 0 and max(found.max(), true.max()) < classes):
            raise UsageError(f"classes are numbered from 0 to {classes - 1}; ignore pixels of no class")
        return cls(np.bincount(classes * true + found, minlength=classes**2).reshape(classes, classes))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix(self.counts + other.counts)

    def iou_per_class(self, *, paper: bool = False) -> NDArray[np.float64]:
        """-> (C,): intersection over union; a class that is neither there nor found is NaN, or 0 of the paper's."""
        inside = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - inside
        return np.where(union > 0, inside / np.maximum(union, 1), 0.0 if paper else np.nan)

    def iou_per_class_mean(self, classes: Iterable[int] | None = None, *, paper: bool = False) -> float:
        """-> the mean over these classes, or all, that have a number; NaN for none."""
        each = self.iou_per_class(paper=paper)[slice(None) if classes is None else list(classes)]
        known = each[~np.isnan(each)]
        return float(known.mean()) if len(known) else float("nan")

    def pixel_accuracy(self) -> float:
        """-> the part of all pixels that was taken for what it is; NaN for none."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


def harmonic_mean(one: float, other: float) -> float:
    """Two figures of at least 0 -> their harmonic mean, 0 where one is; NaN stays NaN."""
    return 0.0 if 0.0 in (one, other) else 2 * one * other / (one + other)


def simpson(y: Sequence[float], x: Sequence[float]) -> float:
    """Values at rising places -> the area under the parabolas through each three of them; 0 for one.

    Of an odd number of intervals the last one lies under the parabola of the last three points (Cartwright, 2017), and
    of two points it is a trapezium, as in `scipy.integrate.simpson` from 1.11 on.
    """
    if len(x) < 3:
        return (y[0] + y[1]) / 2 * (x[1] - x[0]) if len(x) == 2 else 0.0
    area = 0.0
    for n in range(0, len(x) - 2, 2):
        a, b = x[n + 1] - x[n], x[n + 2] - x[n + 1]
        weights = 2 - b / a, (a + b) ** 2 / (a * b), 2 - a / b
        area += (a + b) / 6 * sum(weight * value for weight, value in zip(weights, y[n : n + 3], strict=True))
    if len(x) % 2 == 0:
        a, b = x[-2] - x[-3], x[-1] - x[-2]
        area += y[-1] * b * (2 * b + 3 * a) / (6 * (a + b)) + y[-2] * b * (b + 3 * a) / (6 * a)
        area -= y[-3] * b**3 / (6 * a * (a + b))
    return area


def _share_of_all(part: NDArray[np.int64], whole: NDArray[np.int64], paper: bool) -> NDArray[np.float64]:
    """Counts (L, T) -> the share of their sums over labels (T,)."""
    return _share(part.sum(0), whole.sum(0), paper)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64], paper: bool) -> NDArray[np.float64]:
    share: NDArray[np.float64] = part / (1 + whole) if paper else np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
    return share


def iou_per_mask(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Two boolean masks (…, H, W) -> intersection over union of each pair (…), 1 where both are empty."""
    intersection = (predicted & truth).sum((-1, -2))
    union = (predicted | truth).sum((-1, -2))
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones((), device=union.device))


def area_under_roc(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Scores of present (n,) and of absent things (m,) -> the chance that a present one scores higher.

    Ties count half; NaN where either kind is missing.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    order, scores = negative.double().sort().values, positive.double().contiguous()
    below = torch.searchsorted(order, scores, right=False)
    up_to = torch.searchsorted(order, scores, right=True)
    return float((below + up_to).double().mean() / (2 * len(negative)))


def calibration_error(probabilities: torch.Tensor, truth: torch.Tensor, bins: int = 10) -> float:
    """Probabilities (n,) of outcomes, and the outcomes (n,) bool -> the expected calibration error, 0 to 1.

    In `bins` bins of equal width, the mean probability against the share that came true; the mean of the differences,
    each bin weighing as it is filled (Naeini, Cooper and Hauskrecht, 2015). NaN for no outcomes.
    """
    if not len(probabilities):
        return float("nan")
    place = (probabilities.double() * bins).long().clamp(0, bins - 1)
    differences = torch.zeros(bins, dtype=torch.float64)
    differences.index_add_(0, place, probabilities.double() - truth.double())
    return float(differences.abs().sum() / len(probabilities))


def boundary_f1(predicted: torch.Tensor, truth: torch.Tensor, tolerance: float) -> float:
    """Two boolean masks (H, W) -> how well their outlines agree, 0 to 1; 1 where both are empty.

    The harmonic mean of precision, the part of the predicted outline that is within `tolerance` pixels of the true one,
    and recall, the reverse (Martin, Fowlkes and Malik, 2004, without one-to-one matching). An outline is the pixels of
    a mask with a neighbour outside it, by a side; the picture's border is none. Raises UsageError unless both are
    (H, W) bool of one size and the tolerance is at least 0.
    """
    for mask in (predicted, truth):
        if mask.dtype != torch.bool or mask.ndim != 2 or mask.shape != truth.shape:
            shapes = f"{tuple(predicted.shape)} {predicted.dtype} and {tuple(truth.shape)} {truth.dtype}"
            raise UsageError(f"outlines are compared of two masks (H, W) bool of one size; got {shapes}")
    if not tolerance >= 0:
        raise UsageError(f"tolerance is a number of pixels of at least 0; got {tolerance}")
    outlines = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (predicted.numpy(), truth.numpy())]
    if not (outlines[0].any() and outlines[1].any()):
        return float(bool((predicted == truth).all()))
    near = [ndimage.distance_transform_edt(~outline) <= tolerance for outline in outlines]
    precision, recall = float(near[1][outlines[0]].mean()), float(near[0][outlines[1]].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
