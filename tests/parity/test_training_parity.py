"""Losses and gradients against the reference implementation, with the same random weights."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from tiny import clip_config, config, model, pixels, segmenter, texts
from twins import Ear, Twin, difference, quiet

TOLERANCE = 1e-5

attentions = pytest.mark.parametrize("attention", ["eager", "sdpa"])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def built(cls: type[PreTrainedModel], attention: str, **changes: Any) -> tuple[Any, Twin]:
    """A small model of a class that may learn throughout, and its twin."""
    make = config if "Seg" in cls.__name__ else clip_config
    ours = model(cls, make(**changes)).requires_grad_(True)
    ours.set_attn_implementation(attention)
    twin = Twin(ours, attention)
    twin.attend(attention)
    return ours, twin


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    """The gradients that are there. Those of keys' biases are nothing but rounding: attention is blind to them."""
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {
        name: gradient for name, gradient in found.items() if gradient is not None and not name.endswith("k_proj.bias")
    }


def same(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> bool:
    assert ours.keys() == theirs.keys()
    assert len(theirs) > 10
    return all(difference(ours[name], theirs[name]) <= TOLERANCE for name in theirs)


CONDITIONS = {
    "text": texts(2),
    "picture": {"conditional_pixel_values": pixels(2, 80, seed=1)},
    "embedding": {"conditional_embeddings": noise(2, 12)},
}


@attentions
@pytest.mark.parametrize("refined", [True, False])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_decoder_learns_alike(condition: str, refined: bool, attention: str) -> None:
    ours = segmenter(use_complex_transposed_convolution=refined)
    ours.set_attn_implementation(attention)
    twin = Twin(ours, attention)
    twin.attend(attention)
    inputs = {"pixel_values": pixels(2), **CONDITIONS[condition], "labels": noise(2, 64, 64).sigmoid()}
    ours(**inputs).loss.backward()
    with quiet():
        twin.model(**inputs).loss.backward()
    learnt = gradients(ours)
    assert all(name.startswith("decoder.") for name in learnt)  # the rest is frozen, as it is in the reference
    assert same(learnt, gradients(twin.model))


@attentions
@pytest.mark.parametrize("condition", ["text", "picture"])
def test_thawed_towers_learn_what_the_reference_s_would(condition: str, attention: str) -> None:
    """The reference's forward call never lets gradients through to the towers, so its parts are called one by one."""
    ours, twin = built(CLIPSegForImageSegmentation, attention, freeze_clip=False)
    labels = noise(2, 64, 64).sigmoid()
    ours(pixel_values=pixels(2), labels=labels, **CONDITIONS[condition]).loss.backward()

    clip, decoder = twin.model.clip, twin.model.decoder
    with quiet():
        with Ear(clip.vision_model) as heard:
            clip.vision_model(pixels(2))
        if condition == "text":
            conditions = clip.get_text_features(**texts(2)).pooler_output
        else:
            conditions = clip.get_image_features(CONDITIONS["picture"]["conditional_pixel_values"]).pooler_output
        taps = [heard.states[layer + 1] for layer in ours.config.extract_layers]
        F.binary_cross_entropy_with_logits(decoder(taps, conditions).logits, labels).backward()
    learnt = gradients(ours)
    assert f"clip.{'text' if condition == 'text' else 'visual'}_projection.weight" in learnt
    assert same(learnt, gradients(twin.model))


@attentions
@pytest.mark.parametrize("cls", [CLIPModel, CLIPSegModel])
def test_contrastive_learning(cls: type[PreTrainedModel], attention: str) -> None:
    ours, twin = built(cls, attention)
    inputs = {"pixel_values": pixels(4).requires_grad_(), **texts(4), "return_loss": True}
    loss = ours(**inputs).loss
    loss.backward()
    through_ours, inputs["pixel_values"].grad = inputs["pixel_values"].grad, None
    with quiet():
        theirs = twin.model(**inputs).loss
        theirs.backward()
    assert difference(loss, theirs) <= TOLERANCE
    assert difference(through_ours, inputs["pixel_values"].grad) <= TOLERANCE
    assert "logit_scale" in gradients(ours)
    assert same(gradients(ours), gradients(twin.model))


INTEGERS = torch.tensor([2, 0, 1, 2])
LABELS = [
    (1, None, noise(4)),
    (1, None, noise(4, 1)),
    (1, "regression", noise(4)),
    (3, "regression", noise(4, 3)),
    (2, None, INTEGERS.clamp(max=1)),
    (3, None, INTEGERS),
    (3, "single_label_classification", INTEGERS),
    (3, None, (noise(4, 3) > 0).float()),
    (3, "multi_label_classification", (noise(4, 3) > 0).float()),
]


@attentions
@pytest.mark.parametrize(("classes", "problem", "labels"), LABELS)
def test_classification(classes: int, problem: str | None, labels: torch.Tensor, attention: str) -> None:
    ours, twin = built(CLIPForImageClassification, attention, num_labels=classes, problem_type=problem)
    assert ours.classifier.out_features == classes
    loss = ours(pixels(4), labels).loss
    loss.backward()
    with quiet():
        theirs = twin.model(pixels(4), labels).loss
        theirs.backward()
    assert difference(loss, theirs) <= TOLERANCE
    assert same(gradients(ours), gradients(twin.model))
    assert ours.config.problem_type == problem  # which the reference writes down at its first call


def test_gradients_reach_conditions() -> None:
    ours, conditions = segmenter(), noise(2, 12).requires_grad_()
    inputs = {"pixel_values": pixels(2), "conditional_embeddings": conditions, "labels": noise(2, 64, 64).sigmoid()}
    (mine,) = torch.autograd.grad(ours(**inputs).loss, conditions)
    with quiet():
        (theirs,) = torch.autograd.grad(Twin(ours, "sdpa").model(**inputs).loss, conditions)
    assert difference(mine, theirs) <= TOLERANCE
