import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clipseg.errors import UsageError
from clipseg.masks import thresholds
from clipseg.masks.resample import Dense
from clipseg.masks.rules import Area, Hysteresis, Level, Otsu
from clipseg.masks.thresholds import passing, threshold_rules


def random_map(seed: int, size: tuple[int, int] = (20, 30)) -> torch.Tensor:
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_one_threshold_serves_every_label() -> None:
    assert threshold_rules(0.5, 3) == [Level(0.5)] * 3
    assert threshold_rules("otsu", 2) == [Otsu()] * 2


@pytest.mark.parametrize(
    "many", [[0.0, 0.5, 1.0], (0.0, 0.5, 1.0), np.array([0.0, 0.5, 1.0]), torch.tensor([0, 0.5, 1])]
)
def test_or_each_label_has_its_own(many: object) -> None:
    assert threshold_rules(many, 3) == [Level(0), Level(0.5), Level(1)]  # type: ignore[arg-type]
    assert threshold_rules([0.2, "otsu"], 2) == [Level(0.2), Otsu()]


@pytest.mark.parametrize(
    "wrong",
    [-0.1, 1.0001, math.nan, math.inf, True, None, "oslo", [], [0.5], [0.5] * 4, [[0.5] * 3], [0.5, math.nan, 0.5], 1j],
)
def test_anything_else_says_what_was_expected(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"from 0 to 1.*3 of them"):
        threshold_rules(wrong, 3)  # type: ignore[arg-type]


def test_a_level_is_of_probabilities() -> None:
    logits = random_map(0)
    for level in (0.1, 0.4, 0.5, 0.93):
        assert torch.equal(passing(Dense(logits), Level(level)), logits.double().sigmoid() > level)
    assert passing(Dense(logits), Level(0)).all()
    assert not passing(Dense(logits), Level(1)).any()


def otsu_by_trying(probabilities: np.ndarray) -> np.ndarray:
    """Every cut between two values; where the variance between both sides is largest."""
    best, mask = -1.0, np.zeros(probabilities.shape, bool)
    for cut in np.unique(probabilities)[:-1]:
        above = probabilities > cut
        weight = above.mean()
        between = weight * (1 - weight) * (probabilities[above].mean() - probabilities[~above].mean()) ** 2
        if between > best:
            best, mask = between, above
    return mask


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=4, max_size=40).filter(lambda levels: len(set(levels)) > 1))
@example([2, 5, 6, 9])  # its own mirror image: two cuts are the best, and between them is a worse one
def test_otsu_is_the_best_of_all_cuts(levels: list[int]) -> None:
    probabilities = 0.2 + np.array([levels]) / 20
    logits = torch.logit(torch.from_numpy(probabilities)).float()

    def between(above: np.ndarray) -> float:
        weight = above.mean()
        return float(weight * (1 - weight) * (probabilities[above].mean() - probabilities[~above].mean()) ** 2)

    found = passing(Dense(logits), Otsu()).numpy()
    assert found.any()
    assert not found.all()
    # Bins are 1/256 of the range wide, so of cuts that are nearly as good another one may be taken.
    assert between(found) >= 0.99 * between(otsu_by_trying(probabilities))


def test_otsu_parts_two_levels_and_finds_nothing_in_one() -> None:
    logits = torch.full((6, 6), -1.0)
    assert not passing(Dense(logits), Otsu()).any()
    logits[2:4, 1:5] = -0.9
    assert torch.equal(passing(Dense(logits), Otsu()), logits > -0.95)


def test_otsu_counts_strips_together(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random_map(5)
    at_once = passing(Dense(logits), Otsu())
    monkeypatch.setattr(thresholds, "_STRIP", 1)
    assert torch.equal(passing(Dense(logits), Otsu()), at_once)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 100))
def test_an_area_is_the_most_probable_part(fraction: float, seed: int) -> None:
    logits = random_map(seed)
    inside = passing(Dense(logits), Area(fraction))
    assert fraction * 600 - 1e-3 <= inside.sum() < fraction * 600 + 1
    if inside.any() and not inside.all():
        assert logits[inside].min() > logits[~inside].max()


def test_areas_at_their_ends() -> None:
    logits = random_map(1)
    assert not passing(Dense(logits), Area(0)).any()
    assert passing(Dense(logits), Area(1)).all()
    assert passing(Dense(torch.zeros(3, 5)), Area(0.2)).all(), "all alike: there is no saying which three"
    logits[:10] = -torch.inf
    assert torch.equal(passing(Dense(logits), Area(1)), logits > -torch.inf)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_hysteresis_lies_between_its_levels_and_keeps_regions_whole(seed: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    logits = random_map(seed)
    inside = passing(Dense(logits), Hysteresis(low, high)).numpy()
    wide, sure = passing(Dense(logits), Level(low)).numpy(), passing(Dense(logits), Level(high)).numpy()
    assert np.array_equal(inside, ndimage.binary_propagation(sure & wide, np.ones((3, 3)), wide))
    if low == high:
        assert np.array_equal(inside, wide)
