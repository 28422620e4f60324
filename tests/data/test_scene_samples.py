"""Synthetic scenes as a data set, and data sets by their kinds."""

import numpy as np
import pytest

from clipseg.data.kinds import HELD_OUT
from clipseg.data.scene_samples import SceneSamples
from clipseg.data.table import DATASETS, check_options, open_dataset, opener
from clipseg.errors import UsageError


@pytest.fixture(scope="module")
def scenes(installed_pictograms):
    return SceneSamples(20, size=32, negatives=0.5, visual=True, seed=3)


def test_a_scene_and_its_questions(scenes):
    assert len(scenes) == 20
    drawn = [scenes.draw(4, np.random.default_rng(seed)) for seed in range(12)]
    assert all(np.array_equal(sample.picture, drawn[0].picture) for sample in drawn), (
        "the scene stays, questions change"
    )
    assert len({sample.phrase for sample in drawn}) > 3
    present = [sample.mask.any() for sample in drawn]
    assert any(present)
    assert not all(present)
    for sample in drawn:
        assert sample.picture.shape == (32, 32, 3)
        assert sample.mask.shape == (32, 32)
        assert sample.support.mask.any()
        assert 0 <= sample.label < len(scenes.labels)
    assert np.array_equal(scenes[4].mask, scenes[4].mask)
    assert not np.array_equal(scenes[4].picture, scenes[5].picture)


def test_kinds_that_no_training_sees(installed_pictograms):
    assert len(SceneSamples(1, size=32, kinds="held-out").labels) == len(HELD_OUT)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"length": 0}, "length is 0"), ({"kinds": "all"}, "kinds is 'all'"), ({"negatives": 2.0}, "negatives is 2.0")],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UsageError, match=message):
        SceneSamples(**options)


def test_the_table(installed_pictograms):
    for kind in DATASETS:
        assert callable(opener(kind))
    assert len(open_dataset("scenes", "", {"length": 3, "size": 32})) == 3
    with pytest.raises(UsageError, match="unknown kind of data set 'scene'; did you mean 'scenes'"):
        opener("scene")
    with pytest.raises(UsageError, match="unknown option 'negative' of scenes data; did you mean 'negatives'"):
        check_options("scenes", {"negative": 1})
    with pytest.raises(UsageError, match="phrasecut data lie in a folder, and none is given; name it with data=DIR"):
        open_dataset("phrasecut", "", {})


def test_a_fold_keeps_kinds_apart(installed_pictograms):
    train = SceneSamples(30, size=32, fold=1, negatives=0.3, visual=True)
    test = SceneSamples(30, size=32, fold=1, split="test", seed=1)
    rng = np.random.default_rng(0)
    assert all(train.draw(number, rng).label % 5 != 1 for number in range(30))
    assert all(test.draw(number, rng).label % 5 == 1 for number in range(30))
    with pytest.raises(UsageError, match="fold is 5; expected 0 to 4"):
        SceneSamples(3, fold=5)
    with pytest.raises(UsageError, match="split is 'val'; known are train, test"):
        SceneSamples(3, fold=0, split="val")


def test_descriptions_ask_for_some_of_a_kind(installed_pictograms):
    scenes = SceneSamples(60, described=1.0, negatives=0.2, seed=2)
    drawn = [scenes[number] for number in range(60)]
    assert sum(sample.phrase.startswith("the ") for sample in drawn) > 50
    assert 0.4 < np.mean([sample.mask.any() for sample in drawn]) < 0.95, "some are true of nothing"
