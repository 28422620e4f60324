"""The evaluation under segmenters that know the truth, know its opposite, or know nothing."""

import dataclasses

import numpy as np
import pytest
import torch

import ready
from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.data.pictograms import pictograms
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import UsageError
from clipseg.evaluation import scenes as evaluation
from clipseg.evaluation.scenes import SceneReport, evaluate_scenes, example, name_of
from clipseg.masks.masks import Masks
from clipseg.prompting.prompts import ImagePrompt, TextPrompt

OPTIONS = SceneOptions(size=32, objects=(1, 3))

pytestmark = pytest.mark.usefixtures("installed_pictograms")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Few kinds; and every scene that is drawn, as (characters, scene, must_contain) in order."""
    scenes = []

    class Remembering(SceneGenerator):
        def scene(self, seed, kinds=None, *, must_contain=None):
            made = super().scene(seed, kinds, must_contain=must_contain)
            scenes.append((self, made))
            return made

    monkeypatch.setattr(evaluation, "SEEN", SEEN[:9])
    monkeypatch.setattr(evaluation, "HELD_OUT", HELD_OUT[:3])
    monkeypatch.setattr(evaluation, "SceneGenerator", Remembering)
    return scenes


class Oracle:
    """Answers a name, or an example's label, with the true mask of that kind; `sign` -1 turns the answer round."""

    def __init__(self, drawn, sign=1):
        self.drawn, self.sign, self.asked = drawn, sign, []

    def segment(self, picture, prompts):
        self.asked.append((picture, list(prompts)))
        ((generator, scene),) = [
            (generator, scene) for generator, scene in self.drawn if (scene.picture == np.asarray(picture)).all()
        ]
        names = [kind.name for kind in generator.pictograms]
        logits = []
        for prompt in prompts:
            kind = names.index(prompt.label)
            mask = scene.masks[scene.kinds.index(kind)] if kind in scene.kinds else np.zeros((32, 32), dtype=bool)
            logits.append(self.sign * 20 * (2.0 * torch.from_numpy(mask) - 1))
        return Masks(torch.stack(logits), tuple(prompt.label for prompt in prompts), (32, 32))


def test_who_knows_the_truth_scores_one(drawn):
    report = evaluate_scenes(Oracle(drawn), scenes=6, options=OPTIONS)
    assert report.iou_text_per_object_mean == 1
    assert report.iou_example_per_object_mean == 1
    assert report.iou_unseen_example_per_object_mean == 1
    assert report.auroc_presence == 1
    assert report.boundary_f1_text_per_object_mean == 1
    assert (report.scenes, report.seed, report.threshold) == (6, 0, 0.5)
    assert report.unseen_kinds == 3
    assert report.absent_names == 6 * 5
    assert 6 <= report.objects <= 18
    assert 3 <= report.names <= report.objects
    assert report.unseen_objects >= 6


def test_who_turns_it_round_scores_none(drawn):
    report = evaluate_scenes(Oracle(drawn, sign=-1), scenes=4, options=OPTIONS)
    assert report.iou_text_per_object_mean == 0
    assert report.iou_example_per_object_mean == 0
    assert report.iou_unseen_example_per_object_mean == 0
    assert report.auroc_presence == 0.5, "every score is as high as can be"


@pytest.mark.parametrize("blind_to", [TextPrompt, ImagePrompt])
def test_names_and_examples_are_told_apart(drawn, blind_to):
    class HalfBlind(Oracle):
        def segment(self, picture, prompts):
            masks = super().segment(picture, prompts)
            blind = torch.tensor([isinstance(prompt, blind_to) for prompt in prompts])
            return Masks(torch.where(blind[:, None, None], -20.0, masks.logits), masks.labels, masks.size_hw)

    report = evaluate_scenes(HalfBlind(drawn), scenes=2, options=OPTIONS)
    by_text, by_example = float(blind_to is not TextPrompt), float(blind_to is not ImagePrompt)
    assert report.iou_text_per_object_mean == by_text
    assert report.iou_example_per_object_mean == by_example
    assert report.iou_unseen_example_per_object_mean == by_example
    assert report.auroc_presence == (1 + by_text) / 2
    assert report.boundary_f1_text_per_object_mean == by_text


def test_what_is_asked(drawn):
    """Seen scenes by name and by example, present and absent; then scenes with an unseen kind, by example alone."""
    oracle = Oracle(drawn)
    evaluate_scenes(oracle, scenes=3, options=OPTIONS)
    assert len(oracle.asked) == 6
    unseen_names = {kind.name for kind in pictograms(HELD_OUT[:3])}
    queries = {picture.tobytes() for picture, _ in oracle.asked}
    for number, (_, prompts) in enumerate(oracle.asked):
        texts = [prompt for prompt in prompts if isinstance(prompt, TextPrompt)]
        shown = [prompt for prompt in prompts if isinstance(prompt, ImagePrompt)]
        if number % 2:
            assert not texts
            assert shown
            assert {prompt.label for prompt in shown} <= unseen_names
        else:
            assert len(texts) == len(shown) + 5
            assert [prompt.label for prompt in shown] == [prompt.label for prompt in texts[: len(shown)]]
            assert not {prompt.label for prompt in prompts} & unseen_names
            assert len({prompt.label for prompt in texts}) == len(texts)
        for prompt in shown:
            assert prompt.picture.tobytes() not in queries, "an example is of another scene"
            assert prompt.mask.any()


def test_a_random_model(drawn):
    segmenter = ready.segmenter()
    report = evaluate_scenes(segmenter, scenes=3, options=OPTIONS)
    for item in dataclasses.fields(SceneReport)[:4]:
        assert 0 <= getattr(report, item.name) < 1
    again = evaluate_scenes(segmenter, scenes=3, options=OPTIONS)
    assert again == report, "the same figures from the same seed"
    other = evaluate_scenes(segmenter, scenes=3, seed=1, options=OPTIONS)
    assert other.seed == 1
    assert other.iou_text_per_object_mean != report.iou_text_per_object_mean


def test_more_scenes_begin_with_the_same(drawn):
    evaluate_scenes(Oracle(drawn), scenes=2, options=OPTIONS)
    first = [scene.picture.tobytes() for _, scene in drawn]
    drawn.clear()
    evaluate_scenes(Oracle(drawn), scenes=3, options=OPTIONS)
    assert [scene.picture.tobytes() for _, scene in drawn][: len(first)] == first


def test_progress(drawn):
    seen = []
    evaluate_scenes(Oracle(drawn), scenes=2, options=OPTIONS, progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]


def test_no_scenes():
    for scenes in (0, -3):
        with pytest.raises(UsageError, match=f"scenes is {scenes}; expected at least 1"):
            evaluate_scenes(ready.segmenter(), scenes=scenes)


def test_the_report_as_rows(drawn):
    report = evaluate_scenes(Oracle(drawn), scenes=1, options=OPTIONS)
    report = dataclasses.replace(report, auroc_presence=0.123456)
    values = report.to_dict()
    assert values["auroc_presence"] == 0.1235
    assert list(values) == [item.name for item in dataclasses.fields(SceneReport)]
    assert ("auroc presence", "0.1235") in report.table()
    assert len(report.table()) == len(values)


def test_an_example():
    generator = SceneGenerator(SEEN[:4], OPTIONS)
    for kind in range(4):
        prompt = example(generator, kind, [1, 2])
        scene = generator.scene([1, 2], must_contain=kind)
        assert prompt.label == generator.pictograms[kind].name
        assert (prompt.picture == scene.picture).all()
        assert (prompt.mask == scene.masks[scene.kinds.index(kind)]).all()


def test_every_name_of_a_kind_is_asked_for(drawn):
    kind = next(kind for kind in pictograms(SEEN) if len(kind.synonyms) > 1)
    prompts = [name_of(kind, np.random.default_rng(number)) for number in range(60)]
    assert {prompt.text for prompt in prompts} == {kind.name, *kind.synonyms}
    assert {prompt.label for prompt in prompts} == {kind.name}
    oracle = Oracle(drawn)
    report = evaluate_scenes(oracle, scenes=6, options=OPTIONS)
    there = set()
    for (_, prompts), (_, scene) in zip(oracle.asked[::2], [d for d in drawn if d[1].seed[1:3] == (0, 0)], strict=True):
        there |= {prompt.text for prompt in prompts[: len(scene.kinds)]}
    assert len(there) == report.names


def test_unseen_kinds_are_unseen():
    """Neither drawn by training nor called by a name that it uses."""
    assert not set(SEEN) & set(HELD_OUT)
    assert len(SEEN) == 179
    assert len(HELD_OUT) == 30
    names = [{kind.name, *kind.synonyms} for kind in pictograms(SEEN + HELD_OUT)]
    assert not set().union(*names[:179]) & set().union(*names[179:])


def test_its_seeds_are_not_those_of_training():
    """The first number of every seed here is one that recipes do not use, validation included."""
    from clipseg.training.synthetic import VALIDATION_SEED

    assert evaluation.EVALUATION_STREAM > 2 * VALIDATION_SEED
