"""The paper's tasks on small data sets: figures by the definition, in parts, in both geometries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import special

import ready
from asked_samples import AskedSamples, LabelledNoise, ious
from clipseg.data.geometry import to_pixels, to_target
from clipseg.errors import DataError, UsageError
from clipseg.evaluation.options import options_for
from clipseg.evaluation.tallies import BACKGROUND, SampleTally
from clipseg.evaluation.tasks import evaluate, reported, tallied
from clipseg.metrics import Counts
from clipseg.prompting.prompts import ImagePrompt, TextPrompt
from clipseg.prompting.styles import STYLES
from clipseg.prompting.visual import engineer
from clipseg.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter():
    return ready.segmenter()


def own_answers(segmenter, dataset, prompt):
    """-> for each sample probabilities, truth and what to keep, one at a time."""
    for sample in dataset:
        probabilities = segmenter.segment(sample.picture, prompt(sample)).probabilities()[0].numpy()
        keep = np.ones_like(sample.mask) if sample.ignore is None else ~sample.ignore
        yield sample, probabilities[keep], sample.mask[keep]


def test_referring_by_the_definition(segmenter):
    dataset = AskedSamples()
    report = evaluate("referring", segmenter, dataset, options_for("referring", threshold=0.3))
    answers = list(own_answers(segmenter, dataset, lambda sample: sample.phrase))
    each = ious(answers, 0.3)
    assert [row.score for row in report.rows] == pytest.approx(each, abs=0.01)
    assert report.metrics["iou_per_sample_mean"] == pytest.approx(np.mean(each), abs=0.005)
    scores, truth = (np.concatenate([answer[k] for answer in answers]) for k in (1, 2))
    (whole,) = ious([(None, scores, truth)], 0.3)
    assert report.metrics["iou_cumulative"] == pytest.approx(whole, abs=0.005)
    precise = Counts.of(scores, truth, thresholds=np.unique(scores.astype(np.float64))).average_precision()
    assert report.metrics["average_precision"] == pytest.approx(precise, abs=0.005)
    assert report.samples == 8
    assert [row.place for row in report.rows] == list(range(8))
    assert [row.prompt for row in report.rows] == [sample.phrase for sample in dataset]
    assert not report.labels.rows
    sizes = dict(zip(report.sizes.headings, zip(*report.sizes.rows, strict=True), strict=True))
    assert sizes["share of the picture"][0] == "not there"
    assert sum(sizes["samples"]) == 8
    curve = [row[1] for row in report.curves.rows]
    assert report.curves.headings[1] == "iou_per_sample_mean"
    assert report.metrics["iou_per_sample_mean_best"] == max(curve) >= report.metrics["iou_per_sample_mean"]
    best = report.curves.rows[int(np.argmax(curve))][0]
    assert report.metrics["iou_per_sample_mean_best_threshold"] == best


def test_examples(segmenter):
    dataset = AskedSamples(4, classes=True)
    report = evaluate("one-shot", segmenter, dataset, options_for("one-shot", style="cut_out", threshold=0.5))
    answers = list(
        own_answers(segmenter, dataset, lambda s: ImagePrompt(s.support.picture, mask=s.support.mask, style="cut_out"))
    )
    assert [row.score for row in report.rows] == pytest.approx(ious(answers, 0.5), abs=0.01)
    by_class = {}
    for sample, probabilities, truth in answers:
        by_class.setdefault(sample.label, []).append((probabilities, truth))
    merged = [(None, *map(np.concatenate, zip(*parts, strict=True))) for _, parts in sorted(by_class.items())]
    expected = ious(merged, 0.5)
    assert [row[2] for row in report.labels.rows] == pytest.approx(expected, abs=0.01)
    assert [row[:2] for row in report.labels.rows] == [("cat", 2), ("cup", 1), ("dog", 1)]
    assert report.metrics["iou_per_class_mean"] == pytest.approx(np.mean(expected), abs=0.005)
    assert set(report.worst[0].pictures) == {"picture", "truth", "found", "example"}


def test_the_words_of_an_episode(segmenter):
    """One-shot asked by text is the paper's zero-shot segmentation in the one-shot protocol."""
    dataset = AskedSamples(3, classes=True)
    report = evaluate("one-shot", segmenter, dataset, options_for("one-shot", prompt="text"))
    answers = own_answers(segmenter, dataset, lambda sample: TextPrompt(sample.phrase, templates="photo"))
    assert [row.score for row in report.rows] == pytest.approx(ious(answers, 0.4), abs=0.01)


@pytest.mark.parametrize("task", ["referring", "one-shot"])
def test_the_authors_protocol(segmenter, task):
    """Squashed without antialiasing, scored at the model's size, +1 in every denominator, Simpson's rule."""
    dataset, model = AskedSamples(4), segmenter.model
    report = evaluate(task, segmenter, dataset, options_for(task, paper=True))
    answers = []
    with torch.inference_mode():
        for sample in dataset:
            pixels = to_pixels(sample.picture, ready.SIDE)[None]
            if task == "referring":
                condition = segmenter.embed(sample.phrase)
            else:
                shown = engineer(
                    to_pixels(sample.support.picture, ready.SIDE),
                    to_target(sample.support.mask, ready.SIDE),
                    STYLES["crop_blur_highlight"],
                    (ready.SIDE, ready.SIDE),
                )
                condition = model.get_conditional_embeddings(1, conditional_pixel_values=shown[None])
            logits = model.decode(model.encode_images(pixels), condition)[0, 0]
            keep = torch.ones(64, 64) if sample.ignore is None else 1 - to_target(sample.ignore, ready.SIDE)
            truth = to_target(sample.mask, ready.SIDE)
            answers.append((None, logits.sigmoid()[keep > 0].numpy(), truth[keep > 0].numpy() > 0))
    assert [row.score for row in report.rows] == pytest.approx(ious(answers, 0.3, plus=1), abs=2e-3)
    counts = Counts.sum(Counts.of(scores, truth) for _, scores, truth in answers)
    assert report.metrics["average_precision"] == pytest.approx(counts.average_precision("paper"), abs=2e-3)
    assert "average_precision_interpolated" not in report.metrics
    assert report.settings["threshold"] == 0.3
    assert report.settings["geometry"] == "squash"


def figures(report):
    return report.to_dict(), report.rows, [case.row for case in report.worst]


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_add_up_to_the_whole(segmenter, parts):
    dataset, options = AskedSamples(40), options_for("referring", worst=5)
    whole = reported("referring", tallied("referring", segmenter, dataset, options), dataset, options, "tiny")
    each = [tallied("referring", segmenter, dataset, options, part=(i, parts)) for i in range(parts)]
    assert [len(tally.seen.rows) for tally in each] == {2: [24, 16], 5: [16, 16, 8, 0, 0]}[parts]
    merged = each[-1]
    for tally in each[-2::-1]:
        merged = tally + merged
    assert isinstance(merged, SampleTally)
    assert figures(reported("referring", merged, dataset, options, "tiny")) == figures(whole)
    for one, other in zip(whole.worst, reported("referring", merged, dataset, options, "tiny").worst, strict=True):
        assert all((one.pictures[name] == other.pictures[name]).all() for name in one.pictures)
    scores = sorted(row.score for row in whole.rows)
    assert [case.row.score for case in whole.worst] == scores[:5]


def class_maps(segmenter, picture, names, paper):
    if not paper:
        return segmenter.segment(picture, names).upsampled()
    model, pixels = segmenter.model, to_pixels(picture, ready.SIDE)[None]
    with torch.inference_mode():
        return model.decode(model.encode_images(pixels), segmenter.embed(names))[0]


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("background", [3.0, 0.0])
def test_classes_compete(segmenter, paper, background):
    dataset = LabelledNoise()
    options = options_for("zero-shot", paper=paper, background=background)
    report = evaluate("zero-shot", segmenter, dataset, options)
    first = 0 if background else 1
    inside, union = np.zeros(5), np.zeros(5)
    right = []
    for index in range(3):
        one = dataset.labelled(index)
        names = [BACKGROUND, *dataset.labels[1:]][first:]
        scores = special.expit(class_maps(segmenter, one.picture, names, paper).numpy())
        if background:
            scores[0] *= background
        found, truth = scores.argmax(0) + first, one.classes
        if paper:
            truth = np.stack([to_target(truth == k, ready.SIDE).numpy() * k for k in np.unique(truth)]).sum(0)
        keep = (truth != 255) & (truth >= first)
        right.append(np.mean(found[keep] == truth[keep]))
        for k in range(5):
            inside[k] += np.count_nonzero((found == k) & (truth == k) & keep)
            union[k] += np.count_nonzero(((found == k) | (truth == k)) & keep)
    each = inside / np.maximum(union, 1)
    present = [k for k in range(first, 5) if union[k] or paper]
    seen = [each[k] for k in present if k != 4]
    assert report.metrics["iou_per_class_mean_seen"] == pytest.approx(np.mean(seen), abs=0.01)
    assert report.metrics["iou_per_class_mean_unseen"] == pytest.approx(each[4], abs=0.01)
    one, other = np.mean(seen), each[4]
    harmonic = 2 * one * other / (one + other) if one * other else 0
    assert report.metrics["iou_per_class_mean_harmonic"] == pytest.approx(harmonic, abs=0.01)
    assert report.metrics["iou_per_class_mean"] == pytest.approx(np.mean([each[k] for k in present]), abs=0.01)
    assert [row.score for row in report.rows] == pytest.approx(right, abs=0.01)
    assert [row[:2] for row in report.labels.rows][-1] == ("wood", "unseen")
    assert any("exchanged" in note for note in report.notes)
    halves = [tallied("zero-shot", segmenter, dataset, options, part=(i, 2)) for i in range(2)]
    assert figures(reported("zero-shot", halves[0] + halves[1], dataset, options, "m"))[1] == report.rows


def test_limit_and_progress(segmenter):
    told = []
    options = options_for("generalised", limit=3)
    report = evaluate("generalised", segmenter, AskedSamples(40), options, lambda *moved: told.append(moved))
    assert report.samples == 3
    assert told == [(0, 3), (3, 3)]


def test_refused(segmenter):
    class Silent(AskedSamples):
        def draw(self, index, rng):
            return dataclasses.replace(super().draw(index, rng), phrase=None)

    with pytest.raises(DataError, match="'sample 0' has no phrase"):
        evaluate("referring", segmenter, Silent())
    with pytest.raises(DataError, match="'sample 0' has no example"):
        evaluate("one-shot", segmenter, AskedSamples(visual=False))
    with pytest.raises(DataError, match="has 0 samples"):
        evaluate("referring", segmenter, AskedSamples(0))
    with pytest.raises(UsageError, match="a class at every pixel"):
        evaluate("zero-shot", segmenter, AskedSamples())
    with pytest.raises(UsageError, match="i from 0 to n - 1"):
        tallied("referring", segmenter, AskedSamples(), options_for("referring"), part=(2, 2))
    wide = Segmenter(segmenter.model, ready.processor(size={"height": 64, "width": 48}))
    with pytest.raises(UsageError, match="squash pictures to a square"):
        evaluate("referring", wide, AskedSamples(), options_for("referring", paper=True))
