"""The towers, alone, projected and compared, against the reference implementation with the same random weights."""

from typing import Any

import pytest
import torch

from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection
from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel, CLIPVisionModelWithProjection
from tiny import END, START, clip_config, config, model, pixels, texts
from twins import Twin, difference, quiet

TOLERANCE = 1e-5

attentions = pytest.mark.parametrize("attention", ["eager", "sdpa"])
comparing = pytest.mark.parametrize("cls", [CLIPModel, CLIPSegModel])
reading = pytest.mark.parametrize("cls", [CLIPTextModel, CLIPTextModelWithProjection, CLIPSegTextModel])
seeing = pytest.mark.parametrize("cls", [CLIPVisionModel, CLIPVisionModelWithProjection, CLIPSegVisionModel])


def built(cls: type[PreTrainedModel], attention: str = "sdpa", **changes: Any) -> tuple[Any, Twin]:
    """A small model of a class, and its twin."""
    ours = model(cls, (config if "Seg" in cls.__name__ else clip_config)(**changes))
    ours.set_attn_implementation(attention)
    return ours, Twin(ours, attention)


@attentions
@comparing
@pytest.mark.parametrize("side", [64, 112, 75])
def test_comparison(cls: type[PreTrainedModel], attention: str, side: int) -> None:
    ours, twin = built(cls, attention)
    inputs = {"pixel_values": pixels(3, side), **texts(3), "return_loss": True, "interpolate_pos_encoding": True}
    asked = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        whole = ours(**inputs, **asked)
        plain = ours(**inputs, **asked, return_dict=False)
    theirs = twin(True, True, **inputs)
    assert next(iter(whole)) == "loss"
    assert difference(whole, theirs) <= TOLERANCE
    assert difference(plain, theirs.to_tuple()) <= TOLERANCE
    assert theirs.logits_per_text.std() > 0.5


@comparing
def test_more_texts_than_pictures(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    inputs = {"pixel_values": pixels(2), **texts(5)}
    with torch.no_grad():
        whole = ours(**inputs)
    assert whole.logits_per_image.shape == (2, 5)
    assert "loss" not in whole
    assert difference(whole, twin(**inputs)) <= TOLERANCE


@comparing
def test_features_are_projected_and_not_normalised(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    large = {"pixel_values": pixels(3, 75, 112), "interpolate_pos_encoding": True}
    with torch.no_grad(), quiet():
        text = ours.get_text_features(**texts(3))
        # The reference answers with an output object since release 5.0.
        assert difference(text, twin.model.get_text_features(**texts(3)).pooler_output) <= TOLERANCE
        for inputs in ({"pixel_values": pixels(3)}, large):
            picture = ours.get_image_features(**inputs)
            assert difference(picture, twin.model.get_image_features(**inputs).pooler_output) <= TOLERANCE
    assert not torch.allclose(text.norm(dim=1), torch.ones(3), atol=0.1)


def test_features_are_those_of_the_projected_towers() -> None:
    whole = clip_config({"projection_dim": 12}, {"projection_dim": 12})
    clip, text, vision = (
        model(cls, whole) for cls in (CLIPModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection)
    )
    weights = clip.state_dict()
    for tower in (text, vision):
        tower.load_state_dict({key: weights[key] for key in tower.state_dict()})
    with torch.no_grad():
        assert torch.equal(text(**texts(3)).text_embeds, clip.get_text_features(**texts(3)))
        assert torch.equal(vision(pixels(3)).image_embeds, clip.get_image_features(pixels(3)))


@attentions
@reading
@pytest.mark.parametrize("padded", ["right", "left", "not"])
@pytest.mark.parametrize("eos", [2, END])
def test_text_tower(cls: type[PreTrainedModel], attention: str, padded: str, eos: int) -> None:
    ours, twin = built(cls, attention, text={"eos_token_id": eos})
    inputs: dict[str, Any] = {"input_ids": texts(4)["input_ids"]}
    if padded == "right":
        inputs = texts(4)
    if padded == "left":
        inputs["attention_mask"] = torch.ones(4, 9).long()
        for row in range(4):
            inputs["input_ids"][row, : row + 1] = START
            inputs["attention_mask"][row, :row] = 0
    with torch.no_grad():
        whole = ours(**inputs, output_hidden_states=True, output_attentions=True)
    theirs = twin(True, True, **inputs)
    if padded == "left":  # rows that see nothing may hold anything finite, and nothing else looks at them
        seen = inputs["attention_mask"].bool()
        assert difference(whole.last_hidden_state[seen], theirs.last_hidden_state[seen]) <= TOLERANCE
        pooled = "pooler_output" if "pooler_output" in theirs else "text_embeds"
        assert difference(whole[pooled], theirs[pooled]) <= TOLERANCE
    else:
        assert difference(whole, theirs) <= TOLERANCE


@reading
def test_text_positions(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    inputs = {**texts(2), "position_ids": torch.arange(3, 12).expand(2, -1)}
    with torch.no_grad():
        assert difference(ours(**inputs), twin(**inputs)) <= TOLERANCE


@reading
def test_ids_of_any_leading_shape(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    ids = texts(4)["input_ids"].view(2, 2, -1)
    with torch.no_grad():
        whole = ours(ids)
    assert len(whole.last_hidden_state) == 4
    assert difference(whole, twin(input_ids=ids)) <= TOLERANCE


@reading
def test_texts_without_an_end_are_pooled_at_their_start(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    inputs = {"input_ids": texts(2)["input_ids"].clamp(max=START)}
    with torch.no_grad(), pytest.warns(UserWarning, match="no end-of-text token"):
        whole = ours(**inputs)
    assert difference(whole, twin(**inputs)) <= TOLERANCE


@attentions
@seeing
@pytest.mark.parametrize("size", [(64, 64), (112, 112), (48, 96), (75, 40), (16, 256)])
def test_vision_tower_of_any_size(cls: type[PreTrainedModel], attention: str, size: tuple[int, int]) -> None:
    ours, twin = built(cls, attention)
    inputs = {"pixel_values": pixels(2, *size), "interpolate_pos_encoding": True}
    with torch.no_grad():
        whole = ours(**inputs, output_hidden_states=True, output_attentions=True)
    assert difference(whole, twin(True, True, **inputs)) <= TOLERANCE


@seeing
def test_vision_tower_without_interpolation(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    with torch.no_grad():
        whole = ours(pixels(2), interpolate_pos_encoding=False)
    assert difference(whole, twin(pixel_values=pixels(2), interpolate_pos_encoding=False)) <= TOLERANCE
    other_size = {"pixel_values": pixels(2, 80), "interpolate_pos_encoding": False}
    for answering in (ours, twin):
        with pytest.raises(ValueError, match=r"Input image size \(80\*80\) doesn't match model \(64\*64\)\."):
            answering(**other_size)


@seeing
def test_interpolation_is_the_default_of_clipseg_and_not_of_clip(cls: type[PreTrainedModel]) -> None:
    ours, twin = built(cls)
    inputs = {"pixel_values": pixels(2, 80)}
    if cls is CLIPSegVisionModel:
        with torch.no_grad():
            assert difference(ours(**inputs), twin(**inputs)) <= TOLERANCE
        return
    for answering in (ours, twin):
        with pytest.raises(ValueError, match="doesn't match model"):
            answering(**inputs)
