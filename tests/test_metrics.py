import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate

from clipseg.errors import UsageError
from clipseg.metrics import (
    FINE_THRESHOLDS,
    THRESHOLDS,
    ConfusionMatrix,
    Counts,
    area_under_roc,
    boundary_f1,
    calibration_error,
    harmonic_mean,
    iou_per_mask,
    simpson,
)


@settings(deadline=None)
@given(st.data())
def test_iou_by_counting(data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    one, other = (data.draw(arrays(np.bool_, shape)) for _ in range(2))
    expected = []
    for a, b in zip(one, other, strict=True):
        inside, either = {tuple(p) for p in np.argwhere(a)}, {tuple(p) for p in np.argwhere(b)}
        expected.append(len(inside & either) / len(inside | either) if inside | either else 1.0)
    found = iou_per_mask(torch.from_numpy(one), torch.from_numpy(other))
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(found, iou_per_mask(torch.from_numpy(other), torch.from_numpy(one)))


def test_iou_at_the_ends():
    full, empty = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    assert iou_per_mask(full, full) == 1
    assert iou_per_mask(empty, empty) == 1, "nothing was there, and nothing was found"
    assert iou_per_mask(full, empty) == 0
    assert iou_per_mask(full.expand(2, 3, 4, 4), empty.expand(2, 3, 4, 4)).shape == (2, 3)


SCORES = st.lists(st.integers(0, 4).map(lambda n: n / 4) | st.floats(-10, 10, width=32), max_size=8)


@settings(deadline=None)
@given(positive=SCORES, negative=SCORES)
def test_area_under_roc_by_its_definition(positive, negative):
    found = area_under_roc(torch.tensor(positive), torch.tensor(negative))
    if not positive or not negative:
        assert math.isnan(found)
        return
    wins = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    assert found == pytest.approx(sum(wins) / len(wins), abs=1e-9)


def test_area_under_roc_at_the_ends():
    low, high = torch.tensor([0.1, 0.2]), torch.tensor([0.8, 0.9, 1.0])
    assert area_under_roc(high, low) == 1
    assert area_under_roc(low, high) == 0
    assert area_under_roc(low, low) == 0.5
    assert area_under_roc(torch.full((3,), 0.5), torch.full((9,), 0.5)) == 0.5
    strided = torch.tensor([[0.8, 0.0], [0.9, 0.0]])[:, 0]
    assert area_under_roc(strided, low) == 1
    assert area_under_roc(high.double(), low) == 1
    assert area_under_roc(torch.tensor([3]), torch.tensor([1.5])) == 1


def square(left, size=20):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[5:12, left : left + 7] = True
    return mask


def test_outlines_agree_within_the_tolerance():
    assert boundary_f1(square(4), square(4), 0) == 1
    assert boundary_f1(square(4), square(6), 2) == 1
    # Moved by two, an outline of 24 pixels keeps the 5 above and the 5 below that both squares have.
    assert boundary_f1(square(4), square(6), 0) == pytest.approx(10 / 24)
    assert boundary_f1(square(0), square(12), 1) == 0


def test_precision_and_recall_are_both_in_it():
    both = square(0) | square(13)
    assert boundary_f1(square(0), both, 0) == boundary_f1(both, square(0), 0) == pytest.approx(2 * 0.5 / 1.5, abs=0.05)


def test_outlines_of_nothing_and_of_everything():
    empty = torch.zeros(6, 6, dtype=torch.bool)
    assert boundary_f1(empty, empty, 1) == boundary_f1(~empty, ~empty, 1) == 1
    assert boundary_f1(empty, ~empty, 1) == boundary_f1(square(2), torch.zeros(20, 20, dtype=torch.bool), 9) == 0


@pytest.mark.parametrize("wrong", [torch.zeros(6, 6), torch.zeros(5, 6, dtype=torch.bool), torch.zeros(1, 6, 6) > 0])
def test_outlines_are_of_masks_of_one_size(wrong):
    with pytest.raises(UsageError, match=r"\(H, W\) bool of one size; got"):
        boundary_f1(wrong, torch.zeros(6, 6, dtype=torch.bool), 1)
    with pytest.raises(UsageError, match="at least 0"):
        boundary_f1(square(1), square(1), float("nan"))


def test_calibration_error() -> None:
    half = torch.full((8,), 0.5)
    assert calibration_error(half, torch.arange(8) < 4) == 0
    assert calibration_error(half, torch.arange(8) < 2) == pytest.approx(0.25)
    mixed = torch.tensor([0.05, 0.05, 0.95, 0.95, 1.0, 0.0])
    truth = torch.tensor([True, False, True, True, False, False])
    # The low bin holds three, one of which came true; the high one three, two of which did.
    assert calibration_error(mixed, truth) == pytest.approx((abs(0.1 - 1) + abs(2.9 - 2)) / 6)
    assert math.isnan(calibration_error(torch.empty(0), torch.empty(0, dtype=torch.bool)))


# -- counts -----------------------------------------------------------------------------------------------------------


def random_case(seed, pixels=60, ignored=0.2):
    """Scores that are often tied, their truth, and which to leave out."""
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random(pixels) < 0.3, rng.integers(0, 51, pixels) / 50, rng.random(pixels))
    truth = rng.random(pixels) < 0.15 + 0.6 * scores
    truth[:2] = True, False
    ignore = rng.random(pixels) < ignored
    ignore[:2] = False
    return scores, truth, ignore


def by_hand(scores, truth, threshold):
    positive = scores > threshold
    return [np.count_nonzero(part) for part in (positive & truth, positive & ~truth, ~positive & truth)]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_counts_are_those_of_counting(seed):
    scores, truth, ignore = random_case(seed)
    counts = Counts.of(scores, truth, ignore=ignore, label=3)
    assert counts.labels.tolist() == [3]
    assert (counts.tp + counts.fp + counts.fn + counts.tn == np.count_nonzero(~ignore)).all()
    for place, threshold in enumerate(THRESHOLDS):
        found = [int(part[0, place]) for part in (counts.tp, counts.fp, counts.fn)]
        assert found == by_hand(scores[~ignore], truth[~ignore], threshold)
    logits = Counts.of(
        np.log(scores + 1e-12) - np.log1p(-scores + 1e-12), truth, thresholds=(0.111, 0.777), logits=True
    )
    same = Counts.of(scores, truth, thresholds=(0.111, 0.777))
    assert all((getattr(logits, name) == getattr(same, name)).all() for name in ("tp", "fp", "fn", "tn"))


def test_a_pixel_at_the_threshold_is_not_positive():
    counts = Counts.of([0.5, 0.5, 0.75], [True, False, True], thresholds=(0.25, 0.5, 0.75))
    assert counts.tp.tolist() == [[2, 1, 0]]
    assert counts.fp.tolist() == [[1, 0, 0]]
    assert Counts.of([-np.inf, np.inf], [False, True], thresholds=(0.0, 1.0), logits=True).tp.tolist() == [[1, 0]]


def test_the_figures_against_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    parts = [random_case(seed) for seed in range(6)]
    counts = Counts.sum(Counts.of(s, t, ignore=i, label=n % 2) for n, (s, t, i) in enumerate(parts))
    scores, truth = (np.concatenate([part[k][~part[2]] for part in parts]) for k in (0, 1))
    preds, target = torch.from_numpy(scores), torch.from_numpy(truth).long()
    fine = Counts.of(scores, truth, thresholds=np.unique(scores))
    expected = float(torchmetrics.binary_average_precision(preds, target))
    assert fine.average_precision() == pytest.approx(expected, abs=1e-6)
    binned = Counts.of(scores, truth, thresholds=FINE_THRESHOLDS)
    assert binned.average_precision() == pytest.approx(expected, abs=2e-3)
    for threshold in (0.02, 0.3, 0.62):
        hard = (preds > threshold).long()
        classes = torchmetrics.multiclass_jaccard_index(hard, target, 2, average=None)
        at = counts.thresholds[counts.place(threshold)]
        assert at == pytest.approx(threshold)
        assert counts.at(counts.iou_cumulative(), threshold) == pytest.approx(float(classes[1]), abs=1e-6)
        assert counts.at(counts.iou_binary(), threshold) == pytest.approx(float(classes.mean()), abs=1e-6)
        found = counts.at(counts.precision(), threshold), counts.at(counts.recall(), threshold)
        assert found[0] == pytest.approx(float(torchmetrics.binary_precision(hard, target)), abs=1e-6)
        assert found[1] == pytest.approx(float(torchmetrics.binary_recall(hard, target)), abs=1e-6)
        means = []
        for label in (0, 1):
            own = [np.concatenate([part[k][~part[2]] for part in parts[label::2]]) for k in (0, 1)]
            tp, fp, fn = by_hand(*own, threshold)
            means.append(tp / (tp + fp + fn))
        assert counts.at(counts.iou_per_label_mean(), threshold) == pytest.approx(np.mean(means))


def brute_average_precision(scores, truth):
    """The definition: over the distinct scores from the highest down, the rise of recall times the precision there."""
    area, before = 0.0, 0.0
    for cut in sorted(set(scores.tolist()), reverse=True):
        positive = scores >= cut
        recall = np.count_nonzero(positive & truth) / np.count_nonzero(truth)
        area += (recall - before) * np.count_nonzero(positive & truth) / np.count_nonzero(positive)
        before = recall
    return area


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_average_precision_by_its_definition(seed):
    scores, truth, _ = random_case(seed, pixels=30)
    found = Counts.of(scores, truth, thresholds=np.unique(scores))
    assert found.average_precision() == pytest.approx(brute_average_precision(scores, truth), abs=1e-12)
    assert found.average_precision("interpolated") >= found.average_precision() - 1e-12
    # Of a few thresholds it is that of scores rounded down to them.
    cuts = np.array((0.2, 0.5, 0.8))
    rounded = np.array([np.count_nonzero(score > cuts) for score in scores])
    assert Counts.of(scores, truth, thresholds=cuts).average_precision() == pytest.approx(
        brute_average_precision(rounded, truth), abs=1e-12
    )


def test_average_precision_at_the_ends():
    low, high = np.full(5, 0.1), np.full(5, 0.9)
    truth = np.arange(10) >= 5
    assert Counts.of(np.append(low, high), truth).average_precision() == 1
    assert Counts.of(np.full(10, 0.5), truth).average_precision() == 0.5, "the share of true pixels"
    assert math.isnan(Counts.of(np.full(10, 0.5), truth & False).average_precision())
    worst = Counts.of(np.append(high, low), truth)
    assert worst.average_precision() == worst.average_precision("interpolated") == 0.5
    # High precision comes late: interpolated, it counts from the beginning.
    late = Counts.of([0.9, 0.7, 0.5, 0.3], [False, True, True, True])
    assert late.average_precision() == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
    assert late.average_precision("interpolated") == pytest.approx(3 / 4)


def test_the_definitions_of_the_paper():
    scores = np.array([0.95, 0.9, 0.6, 0.55, 0.3, 0.1])
    truth = np.array([True, False, True, True, False, False])
    counts = Counts.of(scores, truth, label=1) + Counts.of([0.01, 0.01], [False, False], label=2)
    at = 0.5  # of label 1 four are positive, three of them true
    assert counts.at(counts.iou_cumulative(paper=True), at) == 3 / 5
    assert counts.at(counts.iou_cumulative(), at) == 3 / 4
    assert counts.at(counts.iou_per_label_mean(paper=True), at) == (3 / 5 + 0) / 2
    assert counts.at(counts.iou_per_label_mean(), at) == (3 / 4 + 1) / 2, "nothing was there, and nothing was found"
    assert counts.at(counts.iou_binary(paper=True), at) == (3 / 5 + 4 / 6) / 2
    assert (counts.at(counts.precision(paper=True), at), counts.at(counts.recall(paper=True), at)) == (3 / 5, 3 / 4)
    points = {}  # by the table of the paper's definition
    for threshold in THRESHOLDS:
        tp, fp, fn = by_hand(scores, truth, threshold)
        if tp + fp:
            points[tp / (1 + tp + fn)] = max(tp / (1 + tp + fp), points.get(tp / (1 + tp + fn), 0))
    recall = sorted(points)
    expected = integrate.simpson([points[x] for x in recall], x=recall)
    assert counts.average_precision("paper") == pytest.approx(expected)
    assert Counts.of(scores, truth & False).average_precision("paper") != expected


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), min_size=1, max_size=9, unique_by=lambda point: point[0])
)
def test_simpson_is_scipys(points):
    x, y = zip(*sorted((place / 60, value) for place, value in points), strict=True)
    expected = integrate.simpson(y, x=x) if len(x) > 1 else 0
    assert simpson(y, x) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 1000))
def test_parts_add_up_to_the_whole(labels, seed):
    each = [Counts.of(*random_case(seed + n)[:2], label=label) for n, label in enumerate(labels)]
    whole = Counts.sum(each)
    assert whole.labels.tolist() == sorted(set(labels))
    for split in range(1, len(each)):
        merged = Counts.sum(each[split:]) + Counts.sum(each[:split])
        for name in ("labels", "tp", "fp", "fn", "tn"):
            assert np.array_equal(getattr(merged, name), getattr(whole, name))
    for label in set(labels):
        own = sum(each[n].tp[0] for n, one in enumerate(labels) if one == label)
        assert np.array_equal(whole.tp[whole.labels == label][0], own)
    assert np.array_equal(whole.pooled().fp[0], sum(one.fp[0] for one in each))


def test_thresholds_are_found_by_the_nearest_value():
    counts = Counts.of([0.3], [True])
    curve = np.arange(49.0)
    assert counts.at(curve, 0.3) == counts.at(curve, 0.1 + 0.2) == counts.at(curve, 0.301) == 14
    assert counts.at(curve, 0) == 0
    assert counts.best(-np.abs(curve - 14)) == (0.3, 0)
    assert counts.best(curve * 0) == (0.02, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], [True]), "all of one shape"),
        (([0.5], [1]), "truth of bool"),
        (([float("nan")], [True]), "NaN"),
    ],
)
def test_counts_refuse(arguments, message):
    with pytest.raises(UsageError, match=message):
        Counts.of(*arguments)


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.5), (0.6, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_thresholds_rise(thresholds):
    with pytest.raises(UsageError, match="rise from 0 to 1"):
        Counts.of([0.5], [True], thresholds=thresholds)


def test_only_counts_of_one_kind_add_up():
    with pytest.raises(UsageError, match="same thresholds"):
        Counts.of([0.5], [True]) + Counts.of([0.5], [True], thresholds=(0.5,))
    with pytest.raises(UsageError, match="one part at least"):
        Counts.sum([])
    with pytest.raises(UsageError, match="steps, interpolated, paper"):
        Counts.of([0.5], [True]).average_precision("simpson")


# -- classes ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_confusion_matrix_against_torchmetrics(seed):
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, 4, (2, 3, 5, 5))
    ignore = rng.random(truth.shape) < 0.3
    parts = [ConfusionMatrix.of(f, t, 5, i) for f, t, i in zip(found, truth, ignore, strict=True)]
    matrix = parts[0] + parts[1] + parts[2]
    preds, target = (torch.from_numpy(each[~ignore]) for each in (found, truth))
    assert np.array_equal(matrix.counts, torchmetrics.multiclass_confusion_matrix(preds, target, 5).numpy())
    each = torchmetrics.multiclass_jaccard_index(preds, target, 5, average=None).numpy()
    assert matrix.iou_per_class(paper=True) == pytest.approx(each, abs=1e-6)
    assert matrix.iou_per_class_mean(paper=True) == pytest.approx(each.mean(), abs=1e-6)
    present = np.flatnonzero(matrix.counts.sum(0) + matrix.counts.sum(1))
    assert 4 not in present
    assert matrix.iou_per_class_mean() == pytest.approx(each[present].mean(), abs=1e-6)
    assert matrix.iou_per_class_mean([1, 4]) == pytest.approx(each[1], abs=1e-6)
    assert math.isnan(matrix.iou_per_class_mean([4]))
    assert matrix.pixel_accuracy() == pytest.approx(float((preds == target).float().mean()), abs=1e-6)


def test_classes_out_of_range():
    for found, truth in (([3], [0]), ([0], [255]), ([-1], [0])):
        with pytest.raises(UsageError, match="from 0 to 2"):
            ConfusionMatrix.of(found, truth, 3)
    assert ConfusionMatrix.of([0], [255], 3, ignore=[True]).counts.sum() == 0
    with pytest.raises(UsageError, match="one shape"):
        ConfusionMatrix.of([0, 1], [0], 3)
    assert math.isnan(ConfusionMatrix.of([], [], 3).pixel_accuracy())


def test_harmonic_mean():
    assert harmonic_mean(0.2, 0.6) == pytest.approx(0.3)
    assert harmonic_mean(0.0, 0.5) == harmonic_mean(0.5, 0.0) == 0
    assert math.isnan(harmonic_mean(float("nan"), 0.5))
