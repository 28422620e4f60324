"""What trains, by name and by count, and what stays as it was."""

import pytest
import torch

import tiny
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import UsageError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.training.adapters import merge
from clipseg.training.parameters import prepare_parameters

MODES = ("decoder", "head", "adapters", "lora", "all")


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def step(model):
    """One step of plain gradient descent on pictures under texts and examples."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    texts = model.clip.get_text_features(**tiny.texts(2))
    examples = model.clip.get_image_features(tiny.pixels(2, seed=1))
    conditions = torch.stack([texts, examples], dim=1)
    model.decode(model.encode_images(tiny.pixels(2)), conditions).square().mean().backward()
    torch.optim.SGD(free, lr=0.1).step()


@pytest.mark.parametrize(
    ("train", "count"),
    [("decoder", 1_073_153), ("head", 16_385), ("adapters", 3_040_769), ("lora", 1_564_673), ("all", 150_693_890)],
)
def test_counts_at_the_released_size(train, count):
    """Those of the module's own docstring; 3 million is what VLSM-Adapter reports."""
    with torch.device("meta"):
        model = CLIPSegForImageSegmentation(CLIPSegConfig(vision_config={"patch_size": 16}))
    prepare_parameters(model, train)
    assert model.num_parameters(only_trainable=True) == count


def test_names_of_what_trains():
    model = tiny.segmenter()
    every = {name for name, _ in model.named_parameters()}
    decoder = {name for name in every if name.startswith("decoder.")}
    prepare_parameters(model, "decoder")
    assert trained(model) == decoder
    prepare_parameters(model, "head")
    assert trained(model) == {name for name in every if name.startswith("decoder.transposed_convolution.")}
    prepare_parameters(model, "all")
    assert trained(model) == every
    prepare_parameters(model, "lora", rank=2, towers=["text"])
    added = trained(model) - decoder
    assert len(added) == 2 * 2 * 2, "two matrices for the query and the value of two layers"
    assert all(name.startswith("clip.text_model.encoder.layers.") for name in added)
    prepare_parameters(model, "adapters", width=3, towers=["vision"])
    added = trained(model) - decoder
    assert len(added) == 4 * 3, "weight and bias down, weight up, of four layers"
    assert all(name.startswith("clip.vision_model.encoder.layers.") for name in added)


@pytest.mark.parametrize("train", MODES)
def test_only_what_trains_changes(train):
    model = tiny.segmenter().train()
    prepare_parameters(model, train, rank=2, width=3)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    step(model)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed <= trained(model)
    # What is multiplied by zero learns from the second step on; CLIP's own similarity takes no part in masks.
    late = {name for name in trained(model) if name.endswith((".down", ".down.weight", ".down.bias"))}
    unused = {"clip.logit_scale", "clip.text_model.encoder.layers.0.self_attn.k_proj.bias"}
    assert {name for name in trained(model) - changed - late if not name.endswith("k_proj.bias")} <= unused
    if train in ("adapters", "lora"):
        assert all(not model.get_parameter(name).grad.any() for name in late)
        step(model)
        assert all(model.get_parameter(name).grad.any() for name in late)


@pytest.mark.parametrize("train", MODES)
def test_preparing_changes_no_answer(train):
    model, plain = tiny.segmenter(), tiny.segmenter()
    prepare_parameters(model, train)
    given = {**tiny.texts(2), "pixel_values": tiny.pixels(2)}
    torch.testing.assert_close(model(**given).logits, plain(**given).logits, rtol=0, atol=0)


def test_stages_one_after_the_other():
    """Each takes over what the one before has learnt, in an ordinary model."""
    model = tiny.segmenter().train()
    given = {**tiny.texts(2), "pixel_values": tiny.pixels(2)}
    names = set(model.state_dict())
    for train in ("lora", "adapters", "lora", "decoder"):
        prepare_parameters(model, train, rank=2, width=3)
        step(model)
        step(model)
        logits = model(**given).logits
    merge(model)
    assert set(model.state_dict()) == names
    assert model.config.vision_config.intermediate_size == tiny.VISION["intermediate_size"] + 3
    torch.testing.assert_close(model(**given).logits, logits, rtol=0, atol=0)


def test_what_there_is_none_of():
    model = tiny.segmenter()
    for wrong in (
        {"train": "encoder"},
        {"train": "lora", "rank": 0},
        {"train": "lora", "rank": 16},
        {"train": "lora", "projections": ["q"]},
        {"train": "adapters", "width": 0},
        {"train": "adapters", "towers": ["audio"]},
        {"train": "adapters", "towers": []},
    ):
        with pytest.raises(UsageError, match="expected"):
            prepare_parameters(model, **wrong)
