"""CLIPSegModel and the two towers against the reference implementation, with the same random weights."""

from typing import Any

import pytest
import torch

from clipseg.modeling.clip import CLIPSegModel
from clipseg.modeling.text import CLIPSegTextModel
from clipseg.modeling.vision import CLIPSegVisionModel
from tiny import START, config, pixels, randomise, texts
from twins import Twin, difference

TOLERANCE = 1e-5

attentions = pytest.mark.parametrize("attention", ["eager", "sdpa"])


@attentions
@pytest.mark.parametrize("side", [64, 112, 75])
def test_model(attention: str, side: int) -> None:
    model = randomise(CLIPSegModel(config())).eval()
    model.set_attn_implementation(attention)
    weights = attention == "eager"
    inputs = {"pixel_values": pixels(3, side), **texts(3), "return_loss": True}
    with torch.no_grad():
        ours = model(**inputs, output_hidden_states=True, output_attentions=weights)
        plain = model(**inputs, output_hidden_states=True, output_attentions=weights, return_dict=False)
    theirs = Twin(model, attention).compare(True, weights, **inputs)
    assert difference(ours, theirs) <= TOLERANCE
    assert difference(plain, theirs.to_tuple()) <= TOLERANCE
    assert theirs.logits_per_text.std() > 0.5


def test_more_texts_than_pictures() -> None:
    model = randomise(CLIPSegModel(config())).eval()
    inputs = {"pixel_values": pixels(2), **texts(5)}
    with torch.no_grad():
        ours = model(**inputs)
    assert ours.logits_per_image.shape == (2, 5)
    assert "loss" not in ours
    assert difference(ours, Twin(model, "sdpa").compare(**inputs)) <= TOLERANCE


def test_features_are_projected_and_not_normalised() -> None:
    model = randomise(CLIPSegModel(config())).eval()
    with torch.no_grad():
        text = model.get_text_features(**texts(3))
        picture = model.get_image_features(pixels(3))
        twin = Twin(model, "sdpa").model  # which answers with an output object since release 5.0
        assert difference(text, twin.get_text_features(**texts(3)).pooler_output) <= TOLERANCE
        assert difference(picture, twin.get_image_features(pixel_values=pixels(3)).pooler_output) <= TOLERANCE
    assert not torch.allclose(text.norm(dim=1), torch.ones(3), atol=0.1)


@attentions
@pytest.mark.parametrize("padded", ["right", "left", "not"])
@pytest.mark.parametrize("eos", [2, 59])
def test_text_tower(attention: str, padded: str, eos: int) -> None:
    model = randomise(CLIPSegTextModel(config(text={"eos_token_id": eos}).text_config)).eval()
    model.set_attn_implementation(attention)
    inputs: dict[str, Any] = {"input_ids": texts(4)["input_ids"]}
    if padded == "right":
        inputs = texts(4)
    if padded == "left":
        inputs["attention_mask"] = torch.ones(4, 9).long()
        for row in range(4):
            inputs["input_ids"][row, : row + 1] = START
            inputs["attention_mask"][row, :row] = 0
    weights = attention == "eager"
    with torch.no_grad():
        ours = model(**inputs, output_hidden_states=True, output_attentions=weights)
    theirs = Twin(model, attention, config(text={"eos_token_id": eos})).tower(True, weights, **inputs)
    if padded == "left":  # rows that see nothing may hold anything finite, and nothing else looks at them
        seen = inputs["attention_mask"].bool()
        assert difference(ours.last_hidden_state[seen], theirs.last_hidden_state[seen]) <= TOLERANCE
        assert difference(ours.pooler_output, theirs.pooler_output) <= TOLERANCE
    else:
        assert difference(ours, theirs) <= TOLERANCE


def test_text_positions() -> None:
    model = randomise(CLIPSegTextModel(config().text_config)).eval()
    inputs = {**texts(2), "position_ids": torch.arange(3, 12).expand(2, -1)}
    with torch.no_grad():
        ours = model(**inputs)
    assert difference(ours, Twin(model, "sdpa", config()).tower(**inputs)) <= TOLERANCE


@attentions
@pytest.mark.parametrize("size", [(64, 64), (112, 112), (48, 96), (75, 40)])
def test_vision_tower_of_any_size(attention: str, size: tuple[int, int]) -> None:
    model = randomise(CLIPSegVisionModel(config().vision_config)).eval()
    model.set_attn_implementation(attention)
    weights = attention == "eager"
    inputs = {"pixel_values": pixels(2, *size)}
    with torch.no_grad():
        ours = model(**inputs, output_hidden_states=True, output_attentions=weights)
    assert difference(ours, Twin(model, attention, config()).tower(True, weights, **inputs)) <= TOLERANCE


def test_vision_tower_without_interpolation() -> None:
    model = randomise(CLIPSegVisionModel(config().vision_config)).eval()
    inputs = {"pixel_values": pixels(2), "interpolate_pos_encoding": False}
    with torch.no_grad():
        ours = model(**inputs)
    assert difference(ours, Twin(model, "sdpa", config()).tower(**inputs)) <= TOLERANCE
