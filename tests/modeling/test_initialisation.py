"""New weights are drawn with the documented standard deviations."""

import math

import pytest
import torch
from torch import nn

from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPTextModel, CLIPTextModelWithProjection
from clipseg.modeling.vision import CLIPVisionModel, CLIPVisionModelWithProjection
from tiny import config

# Widths, depths and ranges that differ wherever the formulas could be confused.
CONFIG = CLIPSegConfig(
    {"vocab_size": 500, "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 3, "num_attention_heads": 2,
     "initializer_factor": 0.5},
    {"hidden_size": 160, "intermediate_size": 300, "num_hidden_layers": 5, "num_attention_heads": 2, "patch_size": 16,
     "initializer_range": 0.05, "initializer_factor": 2.0},
    projection_dim=120, reduce_dim=64, decoder_intermediate_size=256, extract_layers=[1, 3],
    use_complex_transposed_convolution=True, initializer_factor=1.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> CLIPSegForImageSegmentation:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLIPSegForImageSegmentation(CONFIG)


def layer(path: str, width: int, depth: int, factor: float) -> dict[str, float]:
    shallow, deep = width**-0.5 * factor, width**-0.5 * (2 * depth) ** -0.5 * factor
    return {
        f"{path}.self_attn.q_proj.weight": deep,
        f"{path}.self_attn.k_proj.weight": deep,
        f"{path}.self_attn.v_proj.weight": deep,
        f"{path}.self_attn.out_proj.weight": shallow,
        f"{path}.mlp.fc1.weight": (2 * width) ** -0.5 * factor,
        f"{path}.mlp.fc2.weight": deep,
    }


def uniform(fan_in: int) -> float:
    """PyTorch's default for linear and convolution weights, kaiming_uniform(a=√5): U(±fan_in^-0.5)."""
    return fan_in**-0.5 / math.sqrt(3)


EXPECTED = {
    "clip.text_model.embeddings.token_embedding.weight": 0.02 * 0.5,
    "clip.text_model.embeddings.position_embedding.weight": 0.02 * 0.5,
    "clip.vision_model.embeddings.class_embedding": 160**-0.5 * 2,
    "clip.vision_model.embeddings.patch_embedding.weight": 0.05 * 2,
    "clip.vision_model.embeddings.position_embedding.weight": 0.05 * 2,
    "clip.text_projection.weight": 96**-0.5 * 1.5,
    "clip.visual_projection.weight": 160**-0.5 * 1.5,
    **layer("clip.text_model.encoder.layers.2", 96, 3, 0.5),
    **layer("clip.vision_model.encoder.layers.4", 160, 5, 2.0),
    **layer("decoder.layers.1", 64, 5, 2.0),
    "decoder.film_mul.weight": uniform(120),
    "decoder.film_add.weight": uniform(120),
    "decoder.reduces.0.weight": uniform(160),
    "decoder.reduces.1.weight": uniform(160),
    "decoder.transposed_convolution.0.weight": uniform(64 * 9),
    "decoder.transposed_convolution.2.weight": uniform(32 * 16),  # torch counts a transposed kernel's second axis
    "decoder.transposed_convolution.4.weight": uniform(1 * 16),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_standard_deviation(model: CLIPSegForImageSegmentation, name: str) -> None:
    weight = model.state_dict()[name]
    noise = 4 / math.sqrt(2 * weight.numel())  # four standard errors of a standard deviation
    assert float(weight.std()) == pytest.approx(EXPECTED[name], rel=noise)
    assert abs(float(weight.mean())) < 5 * EXPECTED[name] / math.sqrt(weight.numel())


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (CLIPModel, {"text_projection.weight": 96**-0.5, "visual_projection.weight": 160**-0.5}),
        (CLIPTextModelWithProjection, {"text_projection.weight": 96**-0.5 * 0.5}),
        (CLIPVisionModelWithProjection, {"visual_projection.weight": 160**-0.5 * 2}),
        (CLIPForImageClassification, {"classifier.weight": 160**-0.5}),
        (CLIPTextModel, {}),
        (CLIPVisionModel, {}),
    ],
)
def test_standard_deviations_of_clip(cls: type[PreTrainedModel], expected: dict[str, float]) -> None:
    whole = CLIPConfig(CONFIG.text_config.to_dict(), CONFIG.vision_config.to_dict(), projection_dim=300, num_labels=99)
    part = {CLIPTextConfig: whole.text_config, CLIPVisionConfig: whole.vision_config}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = cls(part.get(cls.config_class, whole))  # type: ignore[call-overload]
    towers = {key.removeprefix("clip."): value for key, value in EXPECTED.items() if "_model." in key}
    weights = model.state_dict()
    checked = {name: std for name, std in {**towers, **expected}.items() if name in weights}
    assert expected.keys() <= checked.keys()
    for name, std in checked.items():
        noise = 4 / math.sqrt(2 * weights[name].numel())
        assert float(weights[name].std()) == pytest.approx(std, rel=noise), name
    assert all(not bias.any() for name, bias in weights.items() if name.endswith(".bias"))


def test_every_other_weight_is_a_norm_a_bias_or_the_scale(model: CLIPSegForImageSegmentation) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
        elif isinstance(module, nn.Linear) and module.bias is not None:
            assert (module.bias == 0).all(), name
    assert float(model.clip.logit_scale) == pytest.approx(2.6592)


def test_a_decoder_can_be_drawn_again_over_anything() -> None:
    model = CLIPSegForImageSegmentation(config())
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.fill_(torch.nan)
        model.initialise_head("decoder.")
    assert all(weight.isfinite().all() for weight in model.decoder.parameters())
    assert (model.decoder.layers[0].layer_norm1.weight == 1).all()
