import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipseg.metrics import area_under_roc, iou_per_mask


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
