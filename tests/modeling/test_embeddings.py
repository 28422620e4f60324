"""Where the raw input enters: replaced in `test_every_class`, resized and made to require gradients here."""

import copy
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from clipseg.errors import UsageError
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection
from clipseg.modeling.vision import CLIPVisionModel
from tiny import WORDS, clip_config, config, model, texts

WITH_TEXTS: list[type[PreTrainedModel]] = [
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPSegModel,
    CLIPSegTextModel,
    CLIPSegForImageSegmentation,
]
texts_in = pytest.mark.parametrize("cls", WITH_TEXTS)


def built(cls: type[PreTrainedModel]) -> PreTrainedModel:
    return model(cls, config() if "CLIPSeg" in cls.__name__ else clip_config())


@texts_in
def test_added_tokens_have_vectors(tmp_path: Path, cls: type[PreTrainedModel]) -> None:
    ours = built(cls)
    old = ours.get_input_embeddings().weight.detach().clone()  # type: ignore[union-attr, operator]
    table = ours.resize_token_embeddings(WORDS + 3)
    assert table is ours.get_input_embeddings()
    assert torch.equal(table.weight[:WORDS], old)
    torch.testing.assert_close(table.weight[WORDS:], old.mean(0).expand(3, -1))
    assert table.weight.requires_grad is (cls is not CLIPSegForImageSegmentation)  # whose towers are frozen
    assert ours.config.get_text_config().vocab_size == WORDS + 3
    ours.save_pretrained(tmp_path)
    assert torch.equal(cls.from_pretrained(tmp_path).get_input_embeddings().weight, table.weight)  # type: ignore[arg-type]


def test_texts_of_known_tokens_stay_as_they_were() -> None:
    ours = model(CLIPTextModel, clip_config())
    before = ours(**texts(2)).pooler_output
    ours.resize_token_embeddings(WORDS + 1)
    assert torch.equal(ours(**texts(2)).pooler_output, before)
    ids = texts(2)["input_ids"]
    ids[:, 1] = WORDS
    assert not torch.equal(ours(ids).pooler_output, before)


def test_sizes_of_the_table() -> None:
    ours = model(CLIPTextModel, clip_config()).half()
    table = ours.get_input_embeddings()
    assert ours.resize_token_embeddings() is ours.resize_token_embeddings(WORDS) is table
    assert ours.resize_token_embeddings(WORDS + 1, pad_to_multiple_of=64).weight.shape == (64, 16)
    assert ours.resize_token_embeddings(pad_to_multiple_of=64).num_embeddings == 64
    smaller = ours.resize_token_embeddings(10)
    assert (smaller.weight.shape, smaller.weight.dtype, ours.config.vocab_size) == ((10, 16), torch.float16, 10)
    assert ours.num_parameters() == sum(parameter.numel() for parameter in ours.parameters())
    with pytest.raises(UsageError, match="new_num_tokens is 0; expected at least 1"):
        ours.resize_token_embeddings(0)
    with pytest.raises(UsageError, match="CLIPVisionModel takes no tokens in"):
        model(CLIPVisionModel, clip_config()).resize_token_embeddings(10)


def test_new_vectors_can_be_drawn() -> None:
    torch.manual_seed(0)
    ours = CLIPTextModel(clip_config({"initializer_factor": 2.0}).text_config)
    drawn = ours.resize_token_embeddings(WORDS + 500, mean_resizing=False).weight[WORDS:]
    assert drawn.std().item() == pytest.approx(0.04, rel=0.05)
    assert drawn.mean().item() == pytest.approx(0, abs=0.002)


def test_a_warning_where_the_highest_id_ends_a_text() -> None:
    legacy = model(CLIPTextModel, clip_config({"eos_token_id": 2}))
    with pytest.warns(UserWarning, match="a text ends at its highest id"):
        legacy.resize_token_embeddings(WORDS + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        legacy.resize_token_embeddings(WORDS)
        model(CLIPTextModel, clip_config()).resize_token_embeddings(WORDS + 1)


def test_gradients_reach_the_states_of_a_frozen_model() -> None:
    ours = model(CLIPTextModel, clip_config()).requires_grad_(False)
    ours.enable_input_require_grads()
    ours.enable_input_require_grads()  # once more changes nothing
    for twin in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert twin(**texts(2)).last_hidden_state.requires_grad
    ours.disable_input_require_grads()
    ours.disable_input_require_grads()
    assert not ours(**texts(2)).last_hidden_state.requires_grad


def test_bytes_in_memory() -> None:
    ours = model(CLIPTextModel, clip_config())
    ours.register_buffer("more", torch.zeros(3, dtype=torch.float64))
    assert ours.get_memory_footprint(return_buffers=False) == 4 * ours.num_parameters()
    assert ours.get_memory_footprint() == 4 * ours.num_parameters() + 24
    assert isinstance(ours.get_input_embeddings(), nn.Embedding)
