"""Samples as tensors, and the conditions that they ask under."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ready
from clipseg.data.geometry import to_pixels, to_target
from clipseg.errors import DataError
from clipseg.prompting.styles import STYLES
from clipseg.prompting.templates import TEMPLATES
from clipseg.prompting.visual import engineer
from clipseg.training.batches import collated, prepared
from clipseg.training.distributed import Processes
from clipseg.training.prompted import PromptedWork, answers, conditions
from clipseg.training.stages import PromptedStage
from square_samples import Squares

STAGE = PromptedStage(steps=1, batch=6, lr=0, size=32, text_min=0.2, text_max=0.4)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def sample():
    found = Squares(support=1.0, ignored=1.0, absent=0.0)[3]
    assert found.support is not None
    assert found.ignore is not None
    return found


def work(stage=STAGE, data=None, **options):
    defaults = {"seed": (0, 0), "processes": Processes(), "validation_samples": 4}
    return PromptedWork(
        stage, Squares() if data is None else data, Squares(6, seed=9), ready.tokenizer(), **{**defaults, **options}
    )


def test_a_sample_as_tensors(sample):
    found = prepared(sample, STAGE, rng())
    torch.testing.assert_close(found.pixels, to_pixels(sample.picture, 32))
    assert torch.equal(found.target, to_target(sample.mask, 32))
    assert torch.equal(found.valid, to_target(sample.ignore, 32) == 0)
    shown = engineer(
        to_pixels(sample.support.picture, 32), to_target(sample.support.mask, 32), STYLES[STAGE.style], (32, 32)
    )
    assert torch.equal(found.support, shown)
    assert found.text == sample.phrase
    assert 0.2 <= found.text_share <= 0.4


def test_shares_of_text(sample):
    shares = [prepared(sample, STAGE, rng(seed)).text_share for seed in range(50)]
    assert 0.2 <= min(shares) < 0.23 < 0.37 < max(shares) <= 0.4, "drawn from all of the range"
    assert prepared(replace(sample, support=None), STAGE, rng()).text_share == 1, "a unique phrase: the text alone"
    alone = prepared(replace(sample, phrase=None), STAGE, rng())
    assert (alone.text_share, alone.text) == (0, None)
    with pytest.raises(DataError, match="square 3 has neither phrase nor support"):
        prepared(replace(sample, phrase=None, support=None), STAGE, rng())


def test_templates_are_drawn(sample):
    texts = {prepared(sample, replace(STAGE, templates="shuffle+"), rng(seed)).text for seed in range(100)}
    assert texts == {template.replace("{}", sample.phrase) for template in TEMPLATES["shuffle+"]}


def test_crops_are_of_the_query_and_of_its_support(sample):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 40:] = 255
    mask = np.zeros((20, 60), bool)
    mask[:, 40:] = True
    cut = prepared(replace(sample, picture=wide, mask=mask, ignore=None), replace(STAGE, crop=True), rng())
    assert cut.target.mean() > 0.3, "a square around enough of the mask, where the whole has a third"
    assert cut.support.shape == (3, 32, 32)


def test_collating(sample):
    other = replace(sample, support=None, ignore=None)
    unnamed = replace(sample, phrase=None)
    rows = [prepared(one, STAGE, rng()) for one in (other, sample, unnamed, sample)]
    batch = collated(rows, ready.tokenizer())
    assert batch["pixels"].shape == (4, 3, 32, 32)
    assert batch["text_ids"].shape[0] == 1, "each text once"
    assert batch["supports"].shape[0] == 3
    assert batch["text_places"].tolist() == [0, 0, 0, 0]
    assert batch["support_places"].tolist() == [0, 0, 1, 2]
    assert batch["text_share"].tolist() == pytest.approx([1, rows[1].text_share, 0, rows[1].text_share])
    assert "supports" not in collated(rows[:1], ready.tokenizer())
    assert "text_ids" not in collated(rows[2:3], ready.tokenizer())


def test_conditions_are_mixed_and_not_normalised(sample):
    model = ready.model()
    rows = [
        prepared(one, STAGE, rng()) for one in (replace(sample, support=None), sample, replace(sample, phrase=None))
    ]
    batch = collated(rows, ready.tokenizer())
    found = conditions(model, batch)
    text = model.clip.get_text_features(batch["text_ids"], batch["text_keep"])[0]
    first, second = model.clip.get_image_features(batch["supports"])
    share = rows[1].text_share
    expected = torch.stack([text, share * text + (1 - share) * first, second])
    torch.testing.assert_close(found, expected)
    logits = model.decode(model.encode_images(batch["pixels"]), expected[:, None])[:, 0]
    torch.testing.assert_close(answers(model, batch), logits)


def test_what_is_ignored_does_not_count(sample):
    """Neither in the loss nor in what it is a mean over, nor in validation."""
    model, job = ready.model(), work()
    batch = collated([prepared(sample, STAGE, rng())], ready.tokenizer())
    assert job.counts(batch).tolist() == [batch["valid"].sum(), 1]
    shares = torch.ones(2)
    before = job.losses(model, batch, shares)["loss"]
    flipped = {**batch, "targets": torch.where(batch["valid"], batch["targets"], 1 - batch["targets"])}
    assert torch.equal(job.losses(model, flipped, shares)["loss"], before)


def test_parts_are_the_batch():
    """However a step is cut, it shows the same samples, and the parts' shares add up to the loss of the whole."""
    model, stage = ready.model(), replace(STAGE, dice=0.5, focal=0.3)
    whole = work(stage)
    full = whole.part(2, 0)
    expected = whole.losses(model, full, torch.ones(2))
    names = sorted(whole.names(2, 0))
    for parts, world in [(2, 1), (4, 1), (1, 2), (2, 3), (1, 5)]:
        jobs = [work(replace(stage, accumulate=parts), processes=Processes(rank, world)) for rank in range(world)]
        cut = [(job, job.part(2, number)) for job in jobs for number in range(parts)]
        counts = torch.stack([job.counts(batch) for job, batch in cut])
        assert torch.equal(counts.sum(0), whole.counts(full))
        losses = [
            job.losses(model, batch, (n / counts.sum(0)).float()) for (job, batch), n in zip(cut, counts, strict=True)
        ]
        for name, value in expected.items():
            torch.testing.assert_close(sum(loss[name] for loss in losses), value)
        assert sorted(name for job in jobs for n in range(parts) for name in job.names(2, n)) == names


def test_a_batch_that_does_not_go_round():
    with pytest.raises(DataError, match="a batch of 6 in 2 parts cannot be shared by 4 processes; expected at least 8"):
        work(replace(STAGE, accumulate=2), processes=Processes(0, 4))
    with pytest.raises(DataError, match="the data set has no sample; `clipseg data check`"):
        work(data=Squares(0))


def test_validation():
    found = work().validate(ready.model())
    assert set(found.scores) == {"iou_per_sample_mean", "iou_cumulative", "bce"}
    assert all(0 <= value <= 3 for value in found.scores.values())
    assert found.sheet is not None
    assert found.sheet.width == 400
    job = work()
    job.validation = None
    assert job.validate(ready.model()).scores == {}
