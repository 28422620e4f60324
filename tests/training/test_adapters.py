"""LoRA and adapters: merged, they are an ordinary model that answers the same, here and elsewhere."""

import copy

import pytest
import torch

import ready
import tiny
from clipseg.modeling.layers import MLP
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.segmenter import Segmenter
from clipseg.training.adapters import PROJECTIONS, TOWERS, added_parameters, merge
from clipseg.training.parameters import prepare_parameters

GIVEN = {**tiny.texts(2), "pixel_values": tiny.pixels(2)}


def learnt(train, model=None, **options):
    """-> a model whose added parts are no longer zero."""
    model = tiny.segmenter() if model is None else model
    prepare_parameters(model, train, **{"rank": 2, "width": 3, **options})
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in added_parameters(model):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model


@pytest.mark.parametrize("projections", [("q_proj", "v_proj"), PROJECTIONS])
def test_low_rank_is_merged_to_the_last_bit(projections):
    model = learnt("lora", projections=projections)
    before, weights = tiny.segmenter()(**GIVEN).logits, tiny.segmenter().state_dict()
    logits = model(**GIVEN).logits
    assert (logits - before).abs().max() > 0.1, "it matters here"
    merge(model)
    assert torch.equal(model(**GIVEN).logits, logits)
    changes = {name: value - weights[name] for name, value in model.state_dict().items()}
    changed = {name for name, change in changes.items() if change.any()}
    assert changed == {
        name for name in weights if name.endswith(tuple(f"self_attn.{p}.weight" for p in projections))
    } - {name for name in weights if name.startswith("decoder.")}
    assert all(torch.linalg.matrix_rank(changes[name], rtol=1e-4) == 2 for name in changed)


@pytest.mark.parametrize("towers", [("vision",), ("text",), TOWERS])
def test_adapters_become_wider_mlps(towers):
    model = learnt("adapters", towers=towers)
    before, logits = tiny.segmenter()(**GIVEN).logits, model(**GIVEN).logits
    assert (logits - before).abs().max() > 0.1
    merge(model)
    torch.testing.assert_close(model(**GIVEN).logits, logits, rtol=1e-5, atol=1e-5)
    inner = {"vision": model.config.vision_config, "text": model.config.text_config}
    plain = {"vision": tiny.VISION, "text": tiny.TEXT}
    for tower in TOWERS:
        assert inner[tower].intermediate_size == plain[tower]["intermediate_size"] + 3 * (tower in towers)
    assert not added_parameters(model)
    assert not any(parameter.requires_grad for parameter in model.clip.parameters())


@pytest.mark.parametrize("train", ["lora", "adapters"])
def test_a_merged_model_is_saved_as_any_other(train, tmp_path):
    segmenter = ready.segmenter()
    learnt(train, segmenter.model)
    picture, phrases = ready.picture(), ["a cat", "wood"]
    expected = segmenter.segment(picture, phrases).logits
    merge(segmenter.model)
    segmenter.model.save_pretrained(tmp_path)
    segmenter.processor.save_pretrained(tmp_path)
    again = Segmenter.from_pretrained(tmp_path, device="cpu")
    torch.testing.assert_close(again.segment(picture, phrases).logits, expected, rtol=1e-5, atol=1e-5)
    assert type(again.model) is CLIPSegForImageSegmentation
    assert all(type(layer.mlp) is MLP for layer in again.model.clip.vision_model.encoder.layers)


@pytest.mark.parametrize("train", ["lora", "adapters"])
def test_other_libraries_load_a_merged_model(train, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = learnt(train)
    logits = model(**GIVEN).logits
    merge(model)
    model.save_pretrained(tmp_path)
    theirs = transformers.CLIPSegForImageSegmentation.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(**GIVEN).logits, logits, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_a_model_under_way():
    """Its state dict, loaded into a model prepared alike, goes on where it was."""
    for train in ("lora", "adapters"):
        model = learnt(train)
        other = tiny.segmenter(seed=1)
        prepare_parameters(other, train, rank=2, width=3)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(**GIVEN).logits, model(**GIVEN).logits)


def test_merging_what_has_nothing_to_merge():
    model = tiny.segmenter()
    before = copy.deepcopy(model.state_dict())
    merge(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(model.state_dict()) == list(before)


@pytest.mark.parametrize("train", ["lora", "adapters"])
def test_gradient_checkpointing_and_copies(train):
    model = learnt(train).train()
    twin = copy.deepcopy(model)
    twin.gradient_checkpointing_enable()
    for each in (model, twin):
        each(**GIVEN).logits.square().mean().backward()
    for one, other in zip(added_parameters(model), added_parameters(twin), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert one.grad.any()
            torch.testing.assert_close(one.grad, other.grad)
    assert added_parameters(model)[0].grad is not None
