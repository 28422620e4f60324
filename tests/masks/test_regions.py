"""What formats list: masks that are not empty, or their parts."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.masks.masks import Masks
from clipseg.masks.regions import Region, regions
from clipseg.masks.thresholds import Threshold
from made_masks import blobs, masks_of, rectangle

SIZE = (20, 30)
BLOCK = rectangle(SIZE, (2, 1, 7, 4))
PAIR = rectangle(SIZE, (1, 10, 5, 14)) | rectangle(SIZE, (20, 5, 29, 19))
MASKS = masks_of(np.stack((BLOCK, np.zeros_like(BLOCK), PAIR)), ("block", "nothing", "pair"))


def test_a_region_for_each_mask_that_is_not_empty() -> None:
    block, pair = regions(MASKS)
    assert (block.label, block.box_xyxy, block.area) == ("block", (2, 1, 7, 4), 15)
    assert (pair.label, pair.box_xyxy, pair.area) == ("pair", (1, 5, 29, 19), 16 + 126)
    assert np.array_equal(block.mask, BLOCK)
    assert np.array_equal(pair.mask, PAIR)
    assert [block.score, pair.score] == [MASKS.scores()[0].item(), MASKS.scores()[2].item()]
    assert all(type(number) is int for number in (*block.box_xyxy, block.area))
    assert type(block.score) is float


def test_a_region_for_each_part() -> None:
    found = list(regions(MASKS, instances=True))
    assert [one.label for one in found] == ["block", "pair", "pair"]
    assert [one.box_xyxy for one in found[1:]] == [(1, 10, 5, 14), (20, 5, 29, 19)]
    assert [one.area for one in found] == [15, 16, 126]
    assert np.array_equal(found[1].mask | found[2].mask, PAIR)
    for one in found:
        probabilities = MASKS[one.label].soft().numpy()
        assert one.score == pytest.approx(probabilities[one.mask].mean(), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), instances=st.booleans())
def test_boxes_and_areas_are_those_of_the_mask(seed: int, instances: bool) -> None:
    inside = np.stack([blobs(seed + n, SIZE, 2, 0.5) for n in range(2)])
    masks = masks_of(inside)
    together = {label: np.zeros(SIZE, int) for label in masks.labels}
    for one in regions(masks, instances=instances):
        x0, y0, x1, y1 = one.box_xyxy
        rows, columns = np.nonzero(one.mask)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.area == one.mask.sum() > 0
        together[one.label] += one.mask
    assert np.array_equal(np.stack(list(together.values())), inside)


@pytest.mark.parametrize("instances", [False, True])
def test_the_threshold_and_the_options_count(instances: bool) -> None:
    slope = Masks(torch.linspace(-3, 3, 30).expand(1, *SIZE), ("slope",), SIZE)
    (usual,), (strict,) = (list(regions(slope, threshold, instances=instances)) for threshold in (None, 0.9))
    assert usual.area == slope.areas()[0] > strict.area == slope.areas(0.9)[0] > 0
    (grown,) = regions(slope.with_options(threshold=0.9, grow=2), instances=instances)
    assert grown.box_xyxy[0] == strict.box_xyxy[0] - 2
    assert not list(regions(slope, 1.0, instances=instances))
    with pytest.raises(UsageError, match="soft"):
        list(regions(slope.with_options(threshold=None), instances=instances))


def test_masks_come_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole = Masks.each_binary

    def counted(self: Masks, threshold: Threshold | None = None) -> Iterator[torch.Tensor]:
        for number, inside in enumerate(whole(self, threshold)):
            asked.append(number)
            yield inside

    monkeypatch.setattr(Masks, "each_binary", counted)
    first = next(regions(MASKS))
    assert isinstance(first, Region)
    assert asked == [0]
