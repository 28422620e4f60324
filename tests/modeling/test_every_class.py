"""What all model classes have in common: files, wholes and parts, outputs, backends, checkpointing."""

import copy
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clipseg.errors import CheckpointMismatchError
from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.layers import Layer
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection
from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel, CLIPVisionModelWithProjection
from tiny import clip_config, config, pixels, segmenter, texts
from tiny import model as tiny_model


def same(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


CLASSES: list[type[PreTrainedModel]] = [
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    CLIPForImageClassification,
    CLIPSegModel,
    CLIPSegTextModel,
    CLIPSegVisionModel,
    CLIPSegForImageSegmentation,
]
every = pytest.mark.parametrize("cls", CLASSES)


WIDTH = {"projection_dim": 12}


def built(cls: type[PreTrainedModel]) -> PreTrainedModel:
    """A model with weights that matter, whose projections fit the wholes' in other tests."""
    clip = issubclass(cls.config_class, (CLIPConfig, CLIPTextConfig, CLIPVisionConfig))
    return tiny_model(cls, clip_config(WIDTH, WIDTH) if clip else config())


def inputs_of(model: PreTrainedModel, rows: int = 2) -> dict[str, Any]:
    known = inspect.signature(model.forward).parameters
    return {name: value for name, value in {"pixel_values": pixels(rows), **texts(rows)}.items() if name in known}


@every
def test_every_class_there_and_back(tmp_path: Path, cls: type[PreTrainedModel]) -> None:
    model = built(cls)
    model.save_pretrained(tmp_path)
    back, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert same(model, back)
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [cls.__name__]


@every
@pytest.mark.parametrize("whole", [CLIPModel, CLIPSegModel, CLIPSegForImageSegmentation])
@pytest.mark.filterwarnings("ignore:.* holds no .*:UserWarning")
def test_every_class_from_every_whole(tmp_path: Path, cls: type[PreTrainedModel], whole: type[PreTrainedModel]) -> None:
    source = built(whole)
    source.save_pretrained(tmp_path)
    layers: dict[str, Any] = {"extract_layers": [0, 1, 2]} if cls is CLIPSegForImageSegmentation else {}
    model, info = cls.from_pretrained(tmp_path, output_loading_info=True, **layers)
    given = {key.removeprefix("clip."): value for key, value in source.state_dict().items()}
    heads = ("classifier.", "decoder.")
    for key, value in model.state_dict().items():
        name = key.removeprefix("clip.")
        assert name in given or name.startswith(heads)
        assert name not in given or torch.equal(value, given[name])
    assert all(key.startswith(heads) for key in info["missing_keys"])
    taken = {key.removeprefix("clip.") for key in model.state_dict()}
    assert {key.removeprefix("clip.") for key in info["unexpected_keys"]} == given.keys() - taken


def test_a_projection_s_width_comes_from_the_whole(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path)  # whose parts know no width of projections
    assert CLIPTextModelWithProjection.from_pretrained(tmp_path).config.projection_dim == 12
    with pytest.raises(CheckpointMismatchError, match="set projection_dim=12"):
        CLIPVisionModelWithProjection.from_pretrained(tmp_path, projection_dim=7)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "20KB"}, {"safe_serialization": False}])
def test_variants_stand_beside_each_other(tmp_path: Path, options: dict[str, Any]) -> None:
    segmenter().save_pretrained(tmp_path)
    segmenter(seed=1).save_pretrained(tmp_path, variant="fp16", dtype="float16", **options)
    assert same(CLIPSegForImageSegmentation.from_pretrained(tmp_path), segmenter())
    half = CLIPSegForImageSegmentation.from_pretrained(tmp_path, variant="fp16", dtype="auto")
    assert same(half, segmenter(seed=1).half())
    with pytest.raises(OSError, match=r"model\.bf16\.safetensors"):
        CLIPSegForImageSegmentation.from_pretrained(tmp_path, variant="bf16")


# What all classes offer


@every
def test_inputs_enter_through_a_module_that_can_be_replaced(cls: type[PreTrainedModel]) -> None:
    model = built(cls)
    text = cls.main_input_name == "input_ids"
    assert next(iter(inspect.signature(model.forward).parameters)) == cls.main_input_name
    entry = model.get_input_embeddings()
    assert isinstance(entry, nn.Embedding if text else nn.Conv2d)
    other = copy.deepcopy(entry)
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is other
    assert model.get_output_embeddings() is None
    assert model.can_generate() is False


@every
def test_tuples_are_the_output_without_its_names(cls: type[PreTrainedModel]) -> None:
    model = built(cls)
    options = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        output = model(**inputs_of(model), **options)
        by_argument = model(**inputs_of(model), **options, return_dict=False)
        for name in ("return_dict", *options):
            setattr(model.config, name, name != "return_dict")
        by_configuration = model(**inputs_of(model))
    for plain in (by_argument, by_configuration):
        assert pytree.tree_structure(plain) == pytree.tree_structure(output.to_tuple())
        assert all(map(torch.equal, pytree.tree_leaves(plain), pytree.tree_leaves(output)))


@every
def test_both_attentions_agree(cls: type[PreTrainedModel]) -> None:
    model = built(cls)
    with torch.no_grad():
        sdpa = model(**inputs_of(model))
        model.set_attn_implementation("eager")
        eager = model(**inputs_of(model))
    assert model.config.attn_implementation == model.config._attn_implementation == "eager"
    for left, right in zip(pytree.tree_leaves(sdpa), pytree.tree_leaves(eager), strict=True):
        assert torch.allclose(left, right, rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("options", [None, {"use_reentrant": True}, {"use_reentrant": False}])
def test_checkpointing_changes_no_gradient(cls: type[PreTrainedModel], options: dict[str, bool] | None) -> None:
    model = built(cls).requires_grad_(True).train()
    assert cls.supports_gradient_checkpointing
    assert not model.is_gradient_checkpointing

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        sum(leaf.square().sum() for leaf in pytree.tree_leaves(model(**inputs_of(model)))).backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    calls: list[int] = []
    next(m for m in model.modules() if isinstance(m, Layer)).register_forward_pre_hook(lambda *_: calls.append(1))
    kept = gradients()
    assert len(calls) == 1
    model.gradient_checkpointing_enable(options)
    assert model.is_gradient_checkpointing
    again = gradients()
    assert len(calls) == 3  # once more in the backward pass
    assert all(map(torch.equal, kept, again))
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_checkpointing_by_configuration() -> None:
    own = config()
    own.gradient_checkpointing = True
    assert CLIPSegForImageSegmentation(own).is_gradient_checkpointing


@every
def test_counts(cls: type[PreTrainedModel]) -> None:
    model = built(cls).requires_grad_(True)
    total = sum(weight.numel() for weight in model.state_dict().values())
    tables = sum(w.numel() for k, w in model.state_dict().items() if re.search(r"(token|position)_embedding\.w", k))
    assert model.num_parameters() == model.num_parameters(only_trainable=True) == total
    assert model.num_parameters(exclude_embeddings=True) == total - tables


def test_the_model_inside() -> None:
    model = segmenter()
    assert model.base_model is model.clip
    assert model.clip.base_model is model.clip


def test_new_models_of_a_configuration() -> None:
    own = config()
    model = CLIPSegForImageSegmentation._from_config(own, attn_implementation="eager", dtype=torch.bfloat16)
    assert (model.dtype, model.config.attn_implementation) == (torch.bfloat16, "eager")
    assert own.attn_implementation is None
