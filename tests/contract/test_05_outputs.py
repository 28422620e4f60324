"""Section 5: outputs."""

from typing import Any

import pytest
import torch

import clipseg
from clipseg.modeling.outputs import ModelOutput
from rows import row
from tiny import clip_config, config, model, pixels, texts

B, S, N, E = 2, 9, 17, 12
TEXT_STATES = {"last_hidden_state": (B, S, 16), "hidden_states": [(B, S, 16)] * 3, "attentions": [(B, 2, S, S)] * 2}
VISION_STATES = {"last_hidden_state": (B, N, 24), "hidden_states": [(B, N, 24)] * 5, "attentions": [(B, 3, N, N)] * 4}


def pooled(states: dict[str, Any], width: int) -> dict[str, Any]:
    first, *rest = states.items()
    return dict([first, ("pooler_output", (B, width)), *rest])


COMPARED = {
    "loss": (),
    "logits_per_image": (B, B),
    "logits_per_text": (B, B),
    "text_embeds": (B, E),
    "image_embeds": (B, E),
    "text_model_output": pooled(TEXT_STATES, 16),
    "vision_model_output": pooled(VISION_STATES, 24),
}
DECODED = {"logits": (B, 64, 64), "hidden_states": [(B, N, 8)] * 3, "attentions": [(B, 4, N, N)] * 3}
FIELDS = {
    "CLIPSegModel": COMPARED,
    "CLIPModel": COMPARED,
    "CLIPSegTextModel": pooled(TEXT_STATES, 16),
    "CLIPVisionModel": pooled(VISION_STATES, 24),
    "CLIPSegForImageSegmentation": {
        "loss": (),
        "logits": (B, 64, 64),
        "conditional_embeddings": (B, E),
        "pooled_output": (B, E),
        "vision_model_output": pooled(VISION_STATES, 24),
        "decoder_output": DECODED,
    },
    "CLIPTextModelWithProjection": {"text_embeds": (B, 10), **TEXT_STATES},
    "CLIPVisionModelWithProjection": {"image_embeds": (B, 14), **VISION_STATES},
    "CLIPForImageClassification": {
        "loss": (), "logits": (B, 2), **{name: VISION_STATES[name] for name in ("hidden_states", "attentions")},
    },
}  # fmt: skip
ROWS = {
    "CLIPSegModel": ["CLIPSegOutput, CLIPOutput"],
    "CLIPModel": ["CLIPSegOutput, CLIPOutput"],
    "CLIPSegTextModel": ["BaseModelOutputWithPooling"],
    "CLIPVisionModel": ["BaseModelOutputWithPooling"],
    "CLIPSegForImageSegmentation": ["CLIPSegImageSegmentationOutput", "CLIPSegDecoderOutput"],
    "CLIPTextModelWithProjection": ["CLIPTextModelOutput"],
    "CLIPVisionModelWithProjection": ["CLIPVisionModelOutput"],
    "CLIPForImageClassification": ["ImageClassifierOutput"],
}


def run(name: str, attention: str = "sdpa", **options: Any) -> Any:
    whole = config() if name.startswith("CLIPSeg") else clip_config()
    ours = model(getattr(clipseg, name), whole)
    ours.set_attn_implementation(attention)
    inputs: dict[str, Any] = {}
    if "Vision" not in name and "Classification" not in name:
        inputs |= texts(B, S)
    if "Text" not in name:
        inputs["pixel_values"] = pixels(B)
    with torch.inference_mode():
        return ours(**inputs, **options)


def everything(name: str) -> dict[str, Any]:
    extra: dict[str, Any] = {"output_hidden_states": True, "output_attentions": True}
    if FIELDS[name] is COMPARED:
        extra["return_loss"] = True
    if name == "CLIPSegForImageSegmentation":
        extra["labels"] = torch.zeros(B, 64, 64)
    if name == "CLIPForImageClassification":
        extra["labels"] = torch.zeros(B).long()
    return extra


def shapes(value: Any) -> Any:
    if isinstance(value, ModelOutput):
        return {key: shapes(item) for key, item in value.items()}
    return [shapes(item) for item in value] if isinstance(value, tuple) else tuple(value.shape)


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("5", *ROWS[name])) for name in FIELDS])
def test_fields_in_order_with_their_shapes(name: str) -> None:
    output = run(name, **everything(name))
    assert shapes(output) == FIELDS[name]
    assert list(output) == list(FIELDS[name])
    if FIELDS[name] is COMPARED:
        torch.testing.assert_close(output.text_embeds.norm(dim=-1), torch.ones(B))
        torch.testing.assert_close(output.image_embeds.norm(dim=-1), torch.ones(B))


@row("5", "ordered, dict-like, by attribute, key, index and slice")
@pytest.mark.parametrize("name", FIELDS)
def test_ways_to_read_an_output(name: str) -> None:
    output = run(name)
    keys = list(output.keys())
    assert "loss" not in output
    assert output.get("loss") is None
    for place, key in enumerate(keys):
        assert output[key] is getattr(output, key) is output[place]
    assert len(output[:2]) == min(2, len(keys))
    assert len(output.to_tuple()) == len(keys)
    assert dict(**output).keys() == set(keys)


@row("5", "return_dict=False, by argument or configuration")
@pytest.mark.parametrize("name", FIELDS)
def test_tuples(name: str) -> None:
    whole = run(name, **everything(name))
    plain = run(name, **everything(name), return_dict=False)
    assert type(plain) is tuple
    torch.testing.assert_close(plain, whole.to_tuple())
    assert not any(isinstance(item, ModelOutput) for item in plain)


@row("5", "return_dict=False, by argument or configuration")
def test_tuples_by_configuration() -> None:
    ours = model(clipseg.CLIPSegForImageSegmentation, config(return_dict=False))
    with torch.inference_mode():
        answer = ours(**texts(B), pixel_values=pixels(B))
        again = ours(**texts(B), pixel_values=pixels(B), return_dict=True)
    assert type(answer) is tuple
    torch.testing.assert_close(answer, again.to_tuple())


@row("5", "hidden_states and attentions only on request, under any attention")
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", FIELDS)
def test_states_on_request(name: str, attention: str) -> None:
    def listed(output: Any) -> str:
        return repr(shapes(output))

    assert "hidden_states" not in listed(run(name, attention))
    assert "attentions" not in listed(run(name, attention))
    assert "attentions" in listed(run(name, attention, output_attentions=True))
    assert "hidden_states" in listed(run(name, attention, output_hidden_states=True))
