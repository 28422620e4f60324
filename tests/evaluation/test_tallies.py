"""Tallies: bins of sizes, the worst answers and their pictures."""

from __future__ import annotations

import numpy as np
import pytest

import ready
from asked_samples import AskedSamples
from clipseg.evaluation.options import options_for
from clipseg.evaluation.tallies import SHOWN_SIDE, SIZES, size_bin
from clipseg.evaluation.tasks import tallied
from clipseg.metrics import FINE_THRESHOLDS


@pytest.fixture(scope="module")
def segmenter():
    return ready.segmenter()


def test_sizes():
    assert [SIZES[size_bin(share)] for share in (0, 0.005, 0.01, 0.06, 0.2, 1)] == [
        "not there",
        "below 1 %",
        "1 to 5 %",
        "5 to 20 %",
        "20 % and more",
        "20 % and more",
    ]


def test_fine_thresholds_are_those_of_the_tally(segmenter):
    tally = tallied("referring", segmenter, AskedSamples(2), options_for("referring"))
    assert tally.fine.thresholds.tolist() == list(FINE_THRESHOLDS)
    assert tally.fine.pixels == tally.counts.pixels == tally.sizes.pixels


def test_the_worst_are_shown_as_they_are(segmenter):
    dataset = AskedSamples(5)
    tally = tallied("referring", segmenter, dataset, options_for("referring", worst=2))
    case = tally.seen.worst[0]
    sample = dataset[case.row.place]
    assert case.row.score == min(row.score for row in tally.seen.rows)
    assert (case.pictures["picture"] == sample.picture).all(), "smaller than what is shown at most"
    inside = case.pictures["truth"][sample.mask]
    assert (inside == sample.picture[sample.mask]).mean() > 0.4, "but for the outline"
    outside = case.pictures["truth"][~sample.mask]
    assert (outside == sample.picture[~sample.mask] // 4).all()
    assert tallied("referring", segmenter, dataset, options_for("referring", worst=0)).seen.worst == ()


def test_large_pictures_are_shown_small(segmenter):
    class Large(AskedSamples):
        def draw(self, index, rng):
            sample = super().draw(index, rng)
            grown = {name: np.kron(getattr(sample, name), np.ones((9, 9), np.uint8)) for name in ("mask", "ignore")}
            picture = sample.picture.repeat(9, 0).repeat(9, 1)
            return type(sample)(picture, grown["mask"] > 0, "cat", None, grown["ignore"] > 0)

    (case,) = tallied("referring", segmenter, Large(1), options_for("referring", worst=1)).seen.worst
    assert {max(pixels.shape[:2]) for pixels in case.pictures.values()} == {SHOWN_SIDE}
