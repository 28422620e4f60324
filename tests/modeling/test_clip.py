"""CLIPSegModel: features, similarities and the contrastive loss."""

import inspect
import math
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from clipseg.errors import PictureError, PromptError
from clipseg.modeling.clip import CLIPModel, CLIPSegModel, contrastive_loss
from clipseg.modeling.outputs import CLIPOutput, CLIPSegOutput
from tiny import clip_config, config, pixels, randomise, texts


@pytest.fixture
def model() -> CLIPSegModel:
    return randomise(CLIPSegModel(config())).eval()


@pytest.fixture
def clip(model: CLIPSegModel) -> CLIPModel:
    """`model` under its other name, with the same weights."""
    own = CLIPModel(clip_config()).eval()
    own.load_state_dict(model.state_dict())
    return own


def test_both_names_are_one_model(model: CLIPSegModel, clip: CLIPModel) -> None:
    with torch.no_grad():
        ours, theirs = clip(**texts(3), pixel_values=pixels(2)), model(**texts(3), pixel_values=pixels(2))
        assert (type(ours), type(theirs)) == (CLIPOutput, CLIPSegOutput)
        assert all(map(torch.equal, pytree.tree_leaves(ours), pytree.tree_leaves(theirs)))
        assert torch.equal(clip.get_text_features(**texts(3)), model.get_text_features(**texts(3)))
        assert torch.equal(clip.get_image_features(pixels(2)), model.get_image_features(pixels(2)))


def test_clip_takes_one_size_unless_told_otherwise(model: CLIPSegModel, clip: CLIPModel) -> None:
    with pytest.raises(PictureError, match="doesn't match model"):
        clip(**texts(1), pixel_values=pixels(1, 80))
    with pytest.raises(PictureError, match="doesn't match model"):
        clip.get_image_features(pixels(1, 80))
    with torch.no_grad():
        free = clip(**texts(1), pixel_values=pixels(1, 80), interpolate_pos_encoding=True)
        assert torch.equal(free.image_embeds, model(**texts(1), pixel_values=pixels(1, 80)).image_embeds)
        assert torch.equal(clip.get_image_features(pixels(1, 80), True), model.get_image_features(pixels(1, 80)))


SIGNATURES = {
    CLIPSegModel.forward: "input_ids pixel_values attention_mask position_ids return_loss output_attentions "
    "output_hidden_states interpolate_pos_encoding return_dict",
    CLIPSegModel.get_text_features: "input_ids attention_mask position_ids output_attentions output_hidden_states "
    "return_dict",
    CLIPSegModel.get_image_features: "pixel_values output_attentions output_hidden_states interpolate_pos_encoding "
    "return_dict",
    CLIPModel.forward: "input_ids pixel_values attention_mask position_ids return_loss interpolate_pos_encoding",
    CLIPModel.get_text_features: "input_ids attention_mask position_ids",
    CLIPModel.get_image_features: "pixel_values interpolate_pos_encoding",
}


@pytest.mark.parametrize("method", SIGNATURES, ids=lambda method: method.__qualname__)
def test_the_documented_signatures(method: Any) -> None:
    parameters = inspect.signature(method).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert " ".join(positional[1:]) == SIGNATURES[method]
    for parameter in parameters:
        if parameter.name == "interpolate_pos_encoding":
            assert parameter.default is (method.__qualname__.split(".")[0] == "CLIPSegModel")


def test_unknown_arguments_are_named(clip: CLIPModel) -> None:
    with pytest.raises(TypeError, match="bool_masked_pos"):
        clip(**texts(1), pixel_values=pixels(1), bool_masked_pos=None)


def test_similarities_are_cosines_times_the_scale(model: CLIPSegModel) -> None:
    with torch.no_grad():
        output = model(**texts(4), pixel_values=pixels(2))
        text, picture = model.get_text_features(**texts(4)), model.get_image_features(pixels(2))
    cosines = torch.nn.functional.cosine_similarity(text[:, None], picture[None], dim=-1)
    assert output.logits_per_text.shape == (4, 2)
    assert torch.allclose(output.logits_per_text, cosines * math.exp(2.6592), atol=1e-4)
    assert torch.equal(output.logits_per_image, output.logits_per_text.t())
    for embeds in (output.text_embeds, output.image_embeds):
        assert torch.allclose(embeds.norm(dim=1), torch.ones(len(embeds)))


def test_the_scale_starts_where_it_is_documented() -> None:
    assert float(CLIPSegModel(config()).logit_scale.detach()) == pytest.approx(2.6592, abs=1e-6)
    assert float(CLIPSegModel(config(logit_scale_init_value=1.5)).logit_scale.detach()) == 1.5


def test_loss_of_pairs_that_match_and_that_do_not() -> None:
    matching = torch.eye(3) * 50
    assert float(contrastive_loss(matching)) == pytest.approx(0, abs=1e-6)
    assert float(contrastive_loss(matching.flip(0)[[1, 2, 0]])) > 10
    assert float(contrastive_loss(torch.zeros(4, 4))) == pytest.approx(math.log(4))
    with pytest.raises(PromptError, match="needs as many texts as pictures; got 3 texts and 2 pictures"):
        contrastive_loss(torch.zeros(3, 2))


def test_the_documented_order_of_arguments(model: CLIPSegModel) -> None:
    inputs = texts(2)
    with torch.no_grad():
        by_position = model(inputs["input_ids"], pixels(2), inputs["attention_mask"], None, True)
        by_name = model(pixel_values=pixels(2), return_loss=True, **inputs)
    assert torch.equal(by_position.loss, by_name.loss)
    assert list(by_name) == [
        "loss",
        "logits_per_image",
        "logits_per_text",
        "text_embeds",
        "image_embeds",
        "text_model_output",
        "vision_model_output",
    ]


def test_pooled_states_are_those_before_the_projection(model: CLIPSegModel) -> None:
    with torch.no_grad():
        output = model(**texts(2), pixel_values=pixels(2))
        projected = model.text_projection(output.text_model_output.pooler_output)
    assert output.vision_model_output.pooler_output.shape == (2, 24)
    assert torch.allclose(projected, model.get_text_features(**texts(2)), atol=1e-6)


def test_both_inputs_are_needed(model: CLIPSegModel) -> None:
    with pytest.raises(PictureError, match="You have to specify pixel_values"):
        model(**texts(2))
    with pytest.raises(PromptError, match="You have to specify input_ids"):
        model(pixel_values=pixels(2))


def test_a_fixed_size_is_kept_to_on_request(model: CLIPSegModel) -> None:
    with pytest.raises(PictureError, match="doesn't match model"):
        model(**texts(1), pixel_values=pixels(1, 80), interpolate_pos_encoding=False)
    with pytest.raises(PictureError, match="doesn't match model"):
        model.get_image_features(pixels(1, 80), interpolate_pos_encoding=False)
