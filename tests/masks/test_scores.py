"""Scores against their definition: the mean probability of the brightest hundredth of a map."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipseg.masks.scores import SCORE_FRACTION, scores_of


@given(seed=st.integers(0, 999), side=st.integers(1, 40), ties=st.booleans())
def test_the_mean_of_the_brightest(seed: int, side: int, ties: bool) -> None:
    maps = 4 * torch.randn(3, side, side + 3, generator=torch.Generator().manual_seed(seed))
    maps = maps.round() if ties else maps
    count = max(1, round(SCORE_FRACTION * side * (side + 3)))
    expected = maps.sigmoid().flatten(1).sort(1, descending=True).values[:, :count].mean(1)
    torch.testing.assert_close(scores_of(maps), expected)


@pytest.mark.parametrize(("count", "hw"), [(0, (5, 4)), (2, (1, 1))])
def test_no_map_and_maps_of_one_pixel(count: int, hw: tuple[int, int]) -> None:
    assert scores_of(torch.zeros(count, *hw)).tolist() == [0.5] * count


def test_maps_that_are_no_block_of_memory_and_stay_as_they_are() -> None:
    maps = torch.randn(30, 20, 2).permute(2, 0, 1)
    before = maps.clone()
    torch.testing.assert_close(scores_of(maps), scores_of(maps.contiguous()))
    assert torch.equal(maps, before)
