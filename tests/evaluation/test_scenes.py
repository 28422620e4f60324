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
from clipseg.evaluation.scenes import NamesInTurn, SceneReport, descriptions, evaluate_scenes, example
from clipseg.masks.masks import Masks
from clipseg.prompting.prompts import ImagePrompt, TextPrompt

OPTIONS = SceneOptions(size=32, objects=(2, 4))

pytestmark = pytest.mark.usefixtures("installed_pictograms")


class Drawn(list):
    """Every scene that is drawn, with its generator; and what is true of descriptions, by picture and phrase."""

    def __init__(self):
        self.told = {}


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Few kinds; and all that is drawn."""
    scenes = Drawn()

    def remembered(generator, scene, rng):
        told = descriptions(generator, scene, rng)
        scenes.told |= {(scene.picture.tobytes(), prompt.text): mask for prompt, mask in told}
        return told

    class Remembering(SceneGenerator):
        def scene(self, seed, kinds=None, *, must_contain=None):
            made = super().scene(seed, kinds, must_contain=must_contain)
            scenes.append((self, made))
            return made

    monkeypatch.setattr(evaluation, "SEEN", SEEN[:9])
    monkeypatch.setattr(evaluation, "HELD_OUT", HELD_OUT[:3])
    monkeypatch.setattr(evaluation, "SceneGenerator", Remembering)
    monkeypatch.setattr(evaluation, "descriptions", remembered)
    return scenes


class Oracle:
    """Answers a name, a description or an example with the true mask; `sign` -1 turns the answer round."""

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
            if isinstance(prompt, TextPrompt):
                mask = self.drawn.told.get((scene.picture.tobytes(), prompt.text), mask)
            logits.append(self.sign * 20 * (2.0 * torch.from_numpy(mask) - 1))
        return Masks(torch.stack(logits), tuple(prompt.label for prompt in prompts), (32, 32))


def test_who_knows_the_truth_scores_one(drawn):
    report = evaluate_scenes(Oracle(drawn), scenes=6, options=OPTIONS)
    assert report.iou_text_per_object_mean == 1
    assert report.iou_example_per_object_mean == 1
    assert report.iou_unseen_example_per_object_mean == 1
    assert report.iou_described_per_object_mean == 1
    assert report.auroc_presence == 1
    assert report.boundary_f1_text_per_object_mean == 1
    assert (report.scenes, report.seed, report.threshold) == (6, 0, 0.5)
    assert report.unseen_kinds == 3
    assert report.absent_names == 6 * 5
    assert 6 <= report.objects <= 24
    assert report.described_objects == len(drawn.told) > 0
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
    evaluate_scenes(oracle, scenes=12, options=OPTIONS)
    assert len(oracle.asked) > 24
    unseen_names = {kind.name for kind in pictograms(HELD_OUT[:3])}
    queries = {picture.tobytes() for picture, _ in oracle.asked}
    for picture, prompts in oracle.asked:
        (scene,) = [scene for _, scene in drawn if (scene.picture == np.asarray(picture)).all()]
        texts = [prompt for prompt in prompts if isinstance(prompt, TextPrompt)]
        shown = [prompt for prompt in prompts if isinstance(prompt, ImagePrompt)]
        if scene.seed[2] == 3:
            assert not texts
            assert shown
            assert {prompt.label for prompt in shown} <= unseen_names
        elif scene.seed[2] == 5:
            assert not shown
            assert all((scene.picture.tobytes(), prompt.text) in drawn.told for prompt in texts)
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
    assert 0 <= report.iou_text_per_object_mean < 1
    assert 0 <= report.iou_example_per_object_mean < 1
    assert 0 <= report.iou_unseen_example_per_object_mean < 1
    assert 0 <= report.auroc_presence < 1
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


def test_no_scene_has_several_of_a_kind(drawn):
    report = evaluate_scenes(Oracle(drawn), scenes=1, options=SceneOptions(size=32, objects=(1, 1)))
    assert report.iou_described_per_object_mean is None
    assert report.to_dict()["iou_described_per_object_mean"] is None
    assert report.described_objects == 0


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


def test_the_names_of_a_kind_take_turns(drawn):
    kinds = pictograms(SEEN)
    place = next(place for place, kind in enumerate(kinds) if len(kind.synonyms) > 1)
    kind, names = kinds[place], NamesInTurn(kinds, seed=4)
    prompts = [names.next(place) for _ in range(2 * (1 + len(kind.synonyms)))]
    assert {prompt.text for prompt in prompts[::2]} | {prompt.text for prompt in prompts[1::2]} == {
        kind.name, *kind.synonyms,
    }  # fmt: skip
    assert [prompt.text for prompt in prompts[len(prompts) // 2 :]] == [
        prompt.text for prompt in prompts[: len(prompts) // 2]
    ]
    assert {prompt.label for prompt in prompts} == {kind.name}
    firsts = {NamesInTurn(kinds, seed).next(place).text for seed in range(40)}
    assert firsts == {kind.name, *kind.synonyms}, "nobody is always first"
    oracle = Oracle(drawn)
    report = evaluate_scenes(oracle, scenes=6, options=OPTIONS)
    there = set()
    for picture, prompts in oracle.asked:
        (scene,) = [scene for _, scene in drawn if (scene.picture == np.asarray(picture)).all()]
        if scene.seed[2] == 0:
            there |= {prompt.text for prompt in prompts[: len(scene.kinds)]}
    assert len(there) == report.names


def test_unseen_kinds_are_unseen():
    """Neither drawn by training nor called by a name that it uses."""
    assert not set(SEEN) & set(HELD_OUT)
    assert len(SEEN) == 528
    assert len(HELD_OUT) == 60
    names = [{kind.name, *kind.synonyms} for kind in pictograms(SEEN + HELD_OUT)]
    assert not set().union(*names[:528]) & set().union(*names[528:])


def test_its_seeds_are_not_those_of_training():
    """The first number of every seed here is one that recipes do not use, validation included."""
    from clipseg.training.synthetic import VALIDATION_SEED

    assert evaluation.EVALUATION_STREAM > 2 * VALIDATION_SEED
