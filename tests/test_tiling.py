"""Tiles as numbers: plans that cover, blending that keeps what it is given, one pass over the whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.tiling import LARGE, BoxXYXY, TilePlan, planned, spans, starts

lines = st.tuples(
    st.integers(1, 60), st.integers(0, 400), st.floats(0, 0.9), st.integers(1, 24), st.floats(0.05, 1)
).map(lambda drawn: (drawn[0], drawn[0] + drawn[1], drawn[2] * drawn[0], drawn[3], drawn[4]))


# -- blending ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(lines)
def test_constants_and_slopes_are_kept(line: tuple[int, int, float, int, float]) -> None:
    side, length, overlap, samples, shrink = line
    begins = starts(length, side, overlap)
    parts = spans(length, side, begins, samples, shrink)
    cells = max(part.cells.stop for part in parts)
    total, slope = torch.zeros(cells), torch.zeros(cells)
    for begin, part in zip(begins, parts, strict=True):
        total[part.cells] += part.blend.sum(1)
        slope[part.cells] += part.blend @ (begin + (torch.arange(samples) + 0.5) * side / samples)
    torch.testing.assert_close(total, torch.ones(cells))
    expected = (torch.arange(cells) + 0.5) * length / cells
    assert (slope - expected).abs().max() <= side / samples / 2 + 0.01  # at the ends there is no sample beyond the last
    inside = (expected > side / samples) & (expected < length - side / samples)
    # Where tiles touch without overlap, each has such an end; where they have few pixels, rounding shows.
    if len(begins) > 1 and overlap > 3 * side / samples and side >= 8:
        torch.testing.assert_close(slope[inside], expected[inside], rtol=0, atol=0.2 * side / samples)


@settings(max_examples=60, deadline=None)
@given(lines)
def test_tiles_cover_and_overlap(line: tuple[int, int, float, int, float]) -> None:
    side, length, overlap, _, _ = line
    begins = starts(length, side, overlap)
    assert begins[0] == 0
    assert begins[-1] == length - side
    assert all(
        0 < later - earlier <= side - overlap + 1 and later - earlier <= side for earlier, later in pairwise(begins)
    )


def joined(plan: TilePlan, see: Callable[[BoxXYXY], torch.Tensor], **options: Any) -> torch.Tensor:
    """What `see` says of the box of the whole and that of each tile (s, s) -> the joined map (h, w)."""
    height, width = plan.size_hw
    whole = see((0, 0, width, height))[None]
    return plan.joined(whole, (see(box)[None] for box in plan.boxes), **options)[0]


def constant(value: float, side: int = 64) -> torch.Tensor:
    return torch.full((side, side), value)


def test_a_slope_shows_no_borders() -> None:
    def ramp(box: BoxXYXY) -> torch.Tensor:
        across = box[0] + (torch.arange(32) + 0.5) * (box[2] - box[0]) / 32
        return (across / 300 - 1).expand(32, 32)

    found = joined(planned((400, 600), 150), ramp)
    steps = found[2:-2, 2:-2].diff(dim=1)
    assert steps.max() - steps.min() < 0.01
    assert found[:, 2:-2].std(dim=0).max() < 1e-4


def test_tiles_that_disagree_fade_into_each_other() -> None:
    plan = planned((100, 400), 100, "50%")
    moods = {box: 4.0 if number % 2 else -4.0 for number, box in enumerate(plan.boxes)}
    found = joined(plan, lambda box: constant(moods.get(box, -20.0)))
    assert found.max() > 3.9
    assert found.min() < -3.9
    assert found.diff(dim=1).abs().max() < 8 / 16  # a hard border would be a step of 8; half a tile is 32 cells


@pytest.mark.parametrize(("share", "seen"), [(0.9, True), (0.5, True), (0.1, False), (0.04, False)])
def test_the_whole_is_believed_about_large_things_alone(share: float, seen: bool) -> None:
    plan = planned((300, 300), 100)

    def see(box: BoxXYXY) -> torch.Tensor:
        logits = constant(-6.0)
        if box not in plan.boxes:
            half = round(32 * share)
            logits[32 - half : 32 + half, 32 - half : 32 + half] = 6.0
        return logits

    found = joined(plan, see)
    assert (found[found.shape[0] // 2, found.shape[1] // 2] > 0) == seen
    assert found[0, 0] == -6


def test_tiles_find_what_the_whole_misses() -> None:
    plan = planned((300, 300), 100)
    assert joined(plan, lambda box: constant(6.0 if box in plan.boxes else -6.0)).min() > 5.9
    assert 0 < LARGE < 1


def test_maps_are_bounded() -> None:
    plan, noise = planned((200, 400), 50), np.random.default_rng(0)
    seen: dict[BoxXYXY, torch.Tensor] = {}

    def see(box: BoxXYXY) -> torch.Tensor:
        if box not in plan.boxes:
            return constant(-20.0, 32)
        return seen.setdefault(box, torch.from_numpy(noise.normal(size=(32, 32))).float())

    full, small = joined(plan, see), joined(plan, see, logits_side=128)
    assert full.shape == (128, 256)
    assert small.shape == (64, 128)
    averaged = torch.nn.functional.interpolate(full[None, None], size=(64, 128), mode="area")[0, 0]
    assert (small - averaged).abs().mean() < 1e-4


def test_a_tile_too_few_is_an_error() -> None:
    plan = planned((300, 300), 100)
    with pytest.raises(ValueError, match="shorter"):
        plan.joined(constant(0.0)[None], [constant(0.0)[None] for _ in plan.boxes[1:]])


@pytest.mark.parametrize("size_hw", [(50, 50), (1, 1)])
def test_one_tile_is_the_whole(size_hw: tuple[int, int]) -> None:
    plan = planned(size_hw, "100%")
    assert plan.boxes == []
    whole = torch.randn(2, 8, 8)
    assert plan.joined(whole, []) is whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "never get on"),
        ({"tile": "10 feet"}, "tile is '10 feet'"),
        ({"tile": -4}, "tile is -4"),
        ({"overlap": "100%"}, "never get on"),
        ({"tile": 20, "overlap": 20}, "never get on"),
    ],
)
def test_lengths_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned((30, 40), **options)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (2, 2)])
def test_the_thinnest_pictures_are_seen_whole(size_hw: tuple[int, int]) -> None:
    plan = planned(size_hw)
    assert plan.boxes == []
    whole = torch.randn(2, 8, 8)
    assert plan.joined(whole, []) is whole


def test_an_overlap_in_pixels_holds_for_pictures_smaller_than_it() -> None:
    assert planned((50, 50), tile=200, overlap=100).boxes == []  # the whole picture is the tile
    plan = planned((50, 500), tile=200, overlap=100)  # half of a tile, as where there is room for one
    assert (plan.side, plan.lefts[:3]) == (50, (0, 25, 50))
