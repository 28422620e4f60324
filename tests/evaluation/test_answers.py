"""Answers: each picture once, in the geometry that they are scored in, whoever else is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ready
from asked_samples import AskedSamples, ious
from clipseg.data.geometry import to_target
from clipseg.data.labelled import placed
from clipseg.errors import UsageError
from clipseg.evaluation.answers import BLOCK, Asker, blocks, squashed
from clipseg.evaluation.options import options_for
from clipseg.evaluation.tasks import evaluate, tallied
from clipseg.prompting.prompts import TextPrompt


@pytest.fixture(scope="module")
def segmenter():
    return ready.segmenter()


@pytest.mark.parametrize("paper", [False, True])
def test_a_picture_is_encoded_once(segmenter, monkeypatch, paper):
    encoded, encode = [], segmenter.model.encode_images
    monkeypatch.setattr(segmenter.model, "encode_images", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    tallied("referring", segmenter, AskedSamples(), options_for("referring", paper=paper))
    assert encoded == [1, 1, 1], "eight questions of three pictures"


def test_neighbours_do_not_show(segmenter):
    """The same bits alone as behind other samples, so that parts can be judged anywhere."""
    dataset, options = AskedSamples(8), options_for("referring")
    together = list(Asker(segmenter, options).answers([dataset[index] for index in range(8)]))
    for index in (2, 4):  # the last of a picture, and the last of the next
        run = [other for other in range(8) if (dataset[other].picture.shape == dataset[index].picture.shape)]
        alone = list(Asker(ready.segmenter(), options).answers([dataset[other] for other in run]))
        assert (alone[run.index(index)].logits == together[index].logits).all()


def test_placed_on_black(segmenter):
    """As the authors test on Pascal-5i: the answer of the square is resized to one of the picture's longer side."""
    dataset = AskedSamples(1)
    report = evaluate(
        "one-shot", segmenter, dataset, options_for("one-shot", paper=True, geometry="placed", prompt="text")
    )
    (sample,) = dataset
    condition = segmenter.embed(TextPrompt(sample.phrase, templates="photo"))
    with torch.inference_mode():
        shown = placed(sample.picture, ready.SIDE)[None]
        logits = segmenter.model.decode(segmenter.model.encode_images(shown), condition)
        height, width = sample.mask.shape
        square = F.interpolate(logits, (width, width), mode="bilinear", align_corners=True)[0, 0, :height].sigmoid()
    keep = ~sample.ignore
    answer = (None, square.numpy()[keep], sample.mask[keep])
    assert height < width
    assert report.rows[0].score == pytest.approx(ious([answer], 0.3, plus=1)[0], abs=2e-3)
    assert report.worst[0].pictures["picture"].shape == (width, width, 3)


def test_squashed_is_to_target():
    mask = np.random.default_rng(0).random((37, 50)) < 0.4
    assert (squashed(mask, 16) == to_target(mask, 16).numpy().astype(bool)).all()
    classes = np.arange(37 * 50).reshape(37, 50)
    assert (squashed(classes, 64)[0, :3] == [0, 0, 1]).all()


def test_blocks_are_dealt_in_turn():
    every = [list(blocks(5 * BLOCK + 3, (part, 2))) for part in range(2)]
    assert [len(part) for part in every] == [3, 3]
    numbers = sorted(number for part in every for block in part for number in block)
    assert numbers == list(range(5 * BLOCK + 3))
    assert list(blocks(3, (1, 2))) == []
    for part in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(UsageError, match="i from 0 to n - 1"):
            list(blocks(3, part))
