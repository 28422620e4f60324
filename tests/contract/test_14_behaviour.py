"""Section 14: behaviour that needs no released weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import clipseg
from clipseg import (
    CLIPForImageClassification,
    CLIPSegForImageSegmentation,
    CLIPSegModel,
    CLIPSegTextModel,
    CLIPTextModel,
)
from rows import row
from tiny import clip_config, config, model, pixels, randomise, segmenter, texts

NAMES = [
    "CLIPSegModel", "CLIPSegTextModel", "CLIPSegVisionModel", "CLIPSegForImageSegmentation", "CLIPModel",
    "CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModel", "CLIPVisionModelWithProjection",
    "CLIPForImageClassification",
]  # fmt: skip
every = pytest.mark.parametrize("name", NAMES)


def built(name: str, **changes: Any) -> Any:
    return model(getattr(clipseg, name), config(**changes) if name.startswith("CLIPSeg") else clip_config(**changes))


def inputs(name: str, batch: int = 3) -> dict[str, torch.Tensor]:
    text = {} if "Vision" in name or "Classification" in name else texts(batch)
    return text if "Text" in name else {**text, "pixel_values": pixels(batch)}


def row_of(given: dict[str, torch.Tensor], place: int) -> dict[str, torch.Tensor]:
    return {name: value[place : place + 1] for name, value in given.items()}


@row("14", "save and load are equal, no missing or unexpected keys")
@every
def test_save_and_load(name: str, tmp_path: Path) -> None:
    ours = built(name)
    ours.save_pretrained(tmp_path)
    again, info = type(ours).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.inference_mode():
        torch.testing.assert_close(again(**inputs(name)).to_tuple(), ours(**inputs(name)).to_tuple(), rtol=0, atol=0)


@row("14", "a batch's row equals the single forward")
@every
@torch.inference_mode()
def test_rows(name: str) -> None:
    ours, given = built(name), inputs(name)
    key = "logits" if "logits" in (batch := ours(**given)) else next(k for k in batch if not k.startswith("logits"))
    for place in range(3):
        single = ours(**row_of(given, place))[key]
        assert single.shape[0] == 1
        torch.testing.assert_close(single[0], batch[key][place], rtol=1e-5, atol=1e-5)


@row("14", "dict and tuple outputs are equal")
@every
@torch.inference_mode()
def test_tuples(name: str) -> None:
    ours = built(name)
    options = {"output_hidden_states": True, "output_attentions": True}
    whole, plain = ours(**inputs(name), **options), ours(**inputs(name), **options, return_dict=False)
    torch.testing.assert_close(plain, whole.to_tuple(), rtol=0, atol=0)


@row("14", "shapes and counts of hidden_states and attentions")
@torch.inference_mode()
def test_states() -> None:
    output = segmenter()(**inputs("CLIPSegForImageSegmentation", 2), output_hidden_states=True, output_attentions=True)
    vision, decoder = output.vision_model_output, output.decoder_output
    assert [tuple(x.shape) for x in vision.hidden_states] == [(2, 17, 24)] * 5
    assert [tuple(x.shape) for x in vision.attentions] == [(2, 3, 17, 17)] * 4
    assert [tuple(x.shape) for x in decoder.hidden_states] == [(2, 17, 8)] * 3
    assert [tuple(x.shape) for x in decoder.attentions] == [(2, 4, 17, 17)] * 3
    assert torch.equal(vision.hidden_states[-1], vision.last_hidden_state)


@row("14", "right padding never changes pooled text")
@pytest.mark.parametrize("eos", [2, 59])
@torch.inference_mode()
def test_right_padding(eos: int) -> None:
    ours = model(CLIPTextModel, clip_config(text={"eos_token_id": eos}))
    short = torch.tensor([[58, 7, 9, 59]])
    alone = ours(short).pooler_output
    for filler in (0, 59):
        padded = torch.cat([short, torch.full((1, 6), filler)], dim=1)
        mask = torch.tensor([[1] * 4 + [0] * 6])
        torch.testing.assert_close(ours(padded, mask).pooler_output, alone, rtol=0, atol=1e-6)
        torch.testing.assert_close(ours(padded).pooler_output, alone, rtol=0, atol=1e-6)


@row("14", "eager and sdpa agree, padded rows too")
@pytest.mark.parametrize("side", ["right", "left"])
@torch.inference_mode()
def test_attentions_agree(side: str) -> None:
    ours = model(CLIPTextModel, clip_config())
    given = texts(4)
    if side == "left":
        given = {name: value.flip(1) for name, value in given.items()}
    given["attention_mask"][3] = 0  # a row that is all padding
    outputs = []
    for attention in ("eager", "sdpa"):
        ours.set_attn_implementation(attention)
        outputs.append(ours(**given))
        assert torch.isfinite(outputs[-1].last_hidden_state).all()
    seen = given["attention_mask"].bool()
    eager, sdpa = (output.last_hidden_state[seen] for output in outputs)
    torch.testing.assert_close(eager, sdpa, rtol=1e-5, atol=1e-5)


@row("14", "half-precision loading by either keyword")
@every
def test_half_precision(name: str, tmp_path: Path) -> None:
    ours = built(name)
    ours.save_pretrained(tmp_path)
    given = inputs(name, 2)
    for keyword in ({"dtype": torch.float16}, {"torch_dtype": torch.float16}, {"dtype": "float16"}):
        half = type(ours).from_pretrained(tmp_path, **keyword)
        assert {p.dtype for p in half.parameters()} == {torch.float16}
        with torch.inference_mode():
            assert next(iter(half(**given).values())).dtype is torch.float16  # pixels are cast to the weights' type


@row("14", "the text tower works without an end-of-text id")
def test_no_end() -> None:
    ours = model(CLIPSegTextModel, config())
    ids = torch.tensor([[58, 4, 5], [58, 6, 7]])
    with pytest.warns(UserWarning, match="end-of-text"):
        output = ours(ids)
    assert torch.equal(output.pooler_output, output.last_hidden_state[:, 0])


@row("14", "zero labels give a finite loss and decoder gradients")
def test_zero_labels() -> None:
    ours = CLIPSegForImageSegmentation(config()).train()
    loss = ours(**inputs("CLIPSegForImageSegmentation", 2), labels=torch.zeros(2, 64, 64)).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in ours.decoder.parameters())


@row("14", "logit_scale starts at 2.6592")
@pytest.mark.parametrize("name", ["CLIPModel", "CLIPSegModel"])
def test_logit_scale(name: str) -> None:
    assert getattr(clipseg, name)(built(name).config).logit_scale.item() == pytest.approx(2.6592, abs=1e-3)


@row("14", "a small model of image 30, patch 2")
@torch.inference_mode()
def test_small_model() -> None:
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 30, "patch_size": 2}
    ours = randomise(
        CLIPSegForImageSegmentation(config(vision=vision, extract_layers=(1,), reduce_dim=32, projection_dim=64))
    ).eval()
    assert ours(**texts(12), pixel_values=pixels(12, 30)).logits.shape == (12, 30, 30)


@row("14", "num_labels=0 is the identity")
@torch.inference_mode()
def test_no_labels() -> None:
    ours = model(CLIPForImageClassification, clip_config(num_labels=0))
    assert isinstance(ours.classifier, nn.Identity)
    states = ours.vision_model(pixels(2)).last_hidden_state
    torch.testing.assert_close(ours(pixels(2)).logits, states[:, 1:].mean(1))


def test_every_class_is_looked_at() -> None:
    assert {name for name in clipseg.__all__ if hasattr(getattr(clipseg, name), "forward")} == set(NAMES)
    assert CLIPSegModel.__name__ in NAMES
