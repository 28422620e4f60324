"""Models whose text encoder was dropped: what still works, and what says why it does not."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from pathlib import Path

import pytest
import torch

import ready
from clipseg import ImagePrompt, Segmenter
from clipseg.errors import PromptError, UsageError
from clipseg.prompting.prompt_cache import VARIABLE


@pytest.fixture
def segmenter() -> Segmenter:
    return ready.segmenter()


def test_its_weights_are_gone_and_what_was_asked_stays(segmenter: Segmenter) -> None:
    picture = ready.picture()
    before = segmenter.segment(picture, ["a cat", "wood AND NOT a jar"]).logits
    parts = (segmenter.model.clip.text_model, segmenter.model.clip.text_projection)
    weights = [weakref.ref(parameter) for part in parts for parameter in part.parameters()]
    assert len(weights) > 10
    segmenter.drop_text_encoder()
    segmenter.drop_text_encoder()
    gc.collect()
    assert not any(weight() for weight in weights)
    assert all(parameter.is_meta for part in parts for parameter in part.parameters())
    assert torch.equal(segmenter.segment(picture, ["a cat", "wood AND NOT a jar"]).logits, before)
    assert segmenter.segment(picture, ImagePrompt(picture)).logits.isfinite().all()
    assert segmenter.similarity(picture, "wood").isfinite().all()
    assert str(segmenter.model.device) == "cpu"
    assert segmenter.model.dtype == torch.float32


def test_a_new_phrase_says_the_way_out(segmenter: Segmenter) -> None:
    segmenter.embed("wood")
    segmenter.drop_text_encoder()
    with pytest.raises(PromptError, match=r"'the dog' is not among the phrases .* load the model anew"):
        segmenter.embed(["wood", "the dog"])
    with pytest.raises(PromptError, match="text encoder was dropped; load the model anew"):
        segmenter.model.get_conditional_embeddings(1, torch.ones(1, 3, dtype=torch.long))


def test_half_a_model_is_not_saved(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.drop_text_encoder()
    for how in ({}, {"safe_serialization": False}, {"dtype": "float16"}):
        with pytest.raises(UsageError, match=r"of its tensors have no values, clip.text_model\.\S+ the first"):
            segmenter.model.save_pretrained(tmp_path / "half", **how)
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_knows_the_same_phrases(segmenter: Segmenter, copied) -> None:
    expected = segmenter.embed("wood")
    segmenter.drop_text_encoder()
    again = copied(segmenter)
    assert torch.equal(again.embed("wood"), expected)
    with pytest.raises(PromptError, match="'the dog' is not among"):
        again.embed("the dog")


def test_phrases_kept_on_the_disk_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "prompts.sqlite"))
    folder = ready.folder(tmp_path / "model")
    expected = Segmenter.from_pretrained(folder).embed("wood")
    light = Segmenter.from_pretrained(folder)
    light.drop_text_encoder()
    assert torch.equal(light.embed("wood"), expected)
    with pytest.raises(PromptError):
        light.embed("the dog")


def test_dropped_in_inference_mode_and_unloaded(segmenter: Segmenter) -> None:
    with torch.inference_mode():
        segmenter.embed("wood")
        segmenter.drop_text_encoder()
    assert segmenter.embed("wood").isfinite().all()
    segmenter.unload()
    with pytest.raises(UsageError, match="has been unloaded"):
        segmenter.drop_text_encoder()
