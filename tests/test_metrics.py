import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipseg.errors import UsageError
from clipseg.metrics import area_under_roc, boundary_f1, calibration_error, iou_per_mask


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
