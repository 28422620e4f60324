"""The paper's baseline: its size, its arithmetic, and that it is used as CLIPSeg is."""

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import ready
import tiny
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.errors import ConfigurationError
from clipseg.modeling.deconv import CLIPDeconvForImageSegmentation, load_segmentation_model
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.segmenter import Segmenter


def config(**changes: Any) -> CLIPDeconvConfig:
    options = {"projection_dim": 12, "reduce_dim": 8, "decoder_intermediate_size": 6, "extract_layers": [2]}
    return CLIPDeconvConfig(tiny.TEXT, tiny.VISION, **{**options, **changes})


def baseline(**changes: Any) -> CLIPDeconvForImageSegmentation:
    return tiny.model(CLIPDeconvForImageSegmentation, config(**changes))


def test_count() -> None:
    """139,585, as the original has at d = 64 with 64 inner units."""
    with torch.device("meta"):
        model = CLIPDeconvForImageSegmentation(CLIPDeconvConfig(vision_config={"patch_size": 16}))
    assert model.config.extract_layers == [9]
    assert sum(p.numel() for p in model.decoder.parameters()) == 139_585 == model.num_parameters(only_trainable=True)


def test_by_hand() -> None:
    model, pixels = baseline(), tiny.pixels(2, 48, 80)
    conditions = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1))
    logits = model.decode(model.encode_images(pixels), conditions)
    assert logits.shape == (2, 3, 48, 80)
    (tap,), _, _ = model.clip.vision_model.taps(pixels, [2])
    w = dict(model.decoder.named_parameters())
    for picture in range(2):
        for prompt in range(3):
            reduced = F.linear(tap[picture, 1:], w["reduces.0.weight"], w["reduces.0.bias"])
            c = conditions[picture, prompt]
            mul, add = (w[f"film_{name}.weight"] @ c + w[f"film_{name}.bias"] for name in ("mul", "add"))
            y = F.linear(reduced * mul + add, w["mix.0.weight"], w["mix.0.bias"]).relu()
            y = F.linear(y, w["mix.2.weight"], w["mix.2.bias"])  # (15, 8)
            kernel, bias = w["transposed_convolution.weight"], w["transposed_convolution.bias"]
            cells = torch.einsum("nd,dij->nij", y, kernel[:, 0]) + bias  # (15, 16, 16)
            expected = cells.unflatten(0, (3, 5)).transpose(1, 2).reshape(48, 80)
            torch.testing.assert_close(logits[picture, prompt], expected, rtol=1e-4, atol=1e-4)


def test_the_documented_call() -> None:
    model = baseline()
    given = {**tiny.texts(2), "pixel_values": tiny.pixels(2)}
    output = model(**given, labels=torch.zeros(2, 64, 64), output_hidden_states=True, output_attentions=True)
    conditions = model.get_conditional_embeddings(**tiny.texts(2))
    expected = model.decode(model.encode_images(given["pixel_values"]), conditions[:, None])[:, 0]
    torch.testing.assert_close(output.logits, expected)
    assert output.loss.isfinite()
    assert output.decoder_output.hidden_states[0].shape == (2, 17, 8)
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())
    assert all(parameter.grad is None for parameter in model.clip.parameters())


def test_half_of_it_trains_with_checkpointing() -> None:
    model = baseline().train()
    model.gradient_checkpointing_enable()
    model(**tiny.texts(2), pixel_values=tiny.pixels(2)).logits.mean().backward()
    assert model.decoder.film_mul.weight.grad is not None


def test_a_new_one_is_drawn_and_its_head_may_be_missing() -> None:
    torch.manual_seed(0)
    model = CLIPDeconvForImageSegmentation(config())
    assert all(p.any() for name, p in model.decoder.named_parameters() if name.endswith("weight"))
    assert not model.decoder.mix[0].bias.any()
    towers = {name: value for name, value in model.state_dict().items() if name.startswith("clip.")}
    with pytest.warns(UserWarning, match="holds no decoder"):
        other = CLIPDeconvForImageSegmentation.from_pretrained(None, config=config(), state_dict=towers)
    assert other.decoder.mix[0].weight.any()


def test_its_folder_is_used_as_any_other(tmp_path: Any) -> None:
    words = ready.tokenizer()
    text = {**tiny.TEXT, "vocab_size": len(words), "max_position_embeddings": ready.LONGEST}
    text |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    whole = CLIPDeconvConfig(
        text, tiny.VISION, projection_dim=12, reduce_dim=8, decoder_intermediate_size=6, extract_layers=[1]
    )
    model = tiny.model(CLIPDeconvForImageSegmentation, whole)
    model.save_pretrained(tmp_path)
    ready.processor().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "clip_deconv"
    assert CLIPDeconvConfig.from_pretrained(tmp_path) == model.config
    segmenter = Segmenter.from_pretrained(tmp_path, device="cpu")
    assert isinstance(segmenter.model, CLIPDeconvForImageSegmentation)
    masks = segmenter.segment(ready.picture(), ["a cat", "wood"])
    expected = Segmenter(model, ready.processor()).segment(ready.picture(), ["a cat", "wood"])
    torch.testing.assert_close(masks.logits, expected.logits)
    assert (masks.logits[0] - masks.logits[1]).abs().max() > 0.1


def test_a_clipseg_folder_is_clipsegs(tmp_path: Any) -> None:
    assert type(load_segmentation_model(ready.folder(tmp_path))) is CLIPSegForImageSegmentation


def test_it_takes_one_layer() -> None:
    with pytest.raises(ConfigurationError, match="exactly one layer"):
        CLIPDeconvForImageSegmentation(config(extract_layers=[1, 2]))
