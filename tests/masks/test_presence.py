"""Scores become probabilities that hold, whatever made the scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import CheckpointError, UsageError
from clipseg.masks.presence import Presence
from clipseg.metrics import calibration_error


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 3), st.floats(-4, 4))
def test_what_made_the_outcomes_is_found(slope: float, offset: float) -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.rand(20_000, generator=draw)
    chance = Presence(slope, offset).probabilities(scores)
    truth = torch.rand(20_000, generator=draw) < chance
    found = Presence.fitted(scores[truth], scores[~truth])
    # Outcomes weigh alike whatever their number, which moves the offset by the log of the odds, and nothing else.
    odds = torch.log(truth.sum() / (~truth).sum())
    assert found.slope == pytest.approx(slope, rel=0.15)
    assert found.offset == pytest.approx(offset - float(odds), abs=0.3)


def test_probabilities_hold() -> None:
    draw = torch.Generator().manual_seed(1)
    present = torch.randn(4000, generator=draw).add(2).sigmoid()
    absent = torch.randn(4000, generator=draw).sub(1).sigmoid()
    found = Presence.fitted(present[:2000], absent[:2000])
    both, truth = torch.cat((present[2000:], absent[2000:])), torch.arange(4000) < 2000
    assert calibration_error(found.probabilities(both), truth) < 0.03 < calibration_error(both, truth)
    assert (found.probabilities(both).argsort() == both.argsort()).all()  # the order of labels stays


def test_scores_that_never_overlap_have_a_finite_answer() -> None:
    found = Presence.fitted(torch.tensor([0.9, 1.0]), torch.tensor([0.0, 0.1]))
    low, high = found.probabilities(torch.tensor([0.05, 0.95]))
    assert low < 0.1 < 0.9 < high
    assert found.probabilities(torch.tensor([0.0, 1.0])).isfinite().all()


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(UsageError, match="got 0 and 2"):
        Presence.fitted(torch.empty(0), torch.tensor([0.1, 0.2]))
    with pytest.raises(UsageError, match="slope above 0"):
        Presence.fitted(torch.tensor([0.1, 0.2]), torch.tensor([0.8, 0.9]))


def test_files() -> None:
    presence = Presence(1.5, -2.0, {"on": "scenes"})
    again = Presence.from_dict(presence.to_dict(), "presence.json")
    assert again == presence
    assert again.measured == {"on": "scenes"}
    for damaged in ({}, {"slope": "x", "offset": 0}, {"slope": -1, "offset": 0}, {"slope": 1, "offset": None}):
        with pytest.raises(CheckpointError, match=r"presence\.json holds no calibration"):
            Presence.from_dict(damaged, "presence.json")
