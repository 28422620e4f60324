"""Names, shapes and counts of the released layout. Models are on the meta device and take no memory."""

from typing import Any

import pytest
import torch
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.clip import CLIPSegModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation


def empty(patch_size: int = 16, **options: Any) -> CLIPSegForImageSegmentation:
    with torch.device("meta"):
        return CLIPSegForImageSegmentation(CLIPSegConfig(vision_config={"patch_size": patch_size}, **options))


def count(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize(
    ("options", "decoder", "total", "tensors"),
    [
        ({"use_complex_transposed_convolution": True}, 1_127_009, 150_747_746, 462),
        ({}, 1_073_153, 150_693_890, 458),
        ({"reduce_dim": 16}, 263_681, 149_884_418, 458),
        ({"reduce_dim": 128}, 2_238_465, 151_859_202, 458),
        ({"patch_size": 32}, 1_122_305, 152_399_618, 458),
    ],
)
def test_counts(options: dict[str, Any], decoder: int, total: int, tensors: int) -> None:
    model = empty(**options)
    assert count(model.decoder) == decoder == model.num_parameters(only_trainable=True)
    assert model.num_parameters() == total
    assert len(model.state_dict()) == tensors


def test_counts_of_the_parts() -> None:
    plain, refined = empty().decoder, empty(use_complex_transposed_convolution=True).decoder
    assert count(plain.film_mul, plain.film_add) == 65_664
    assert count(plain.reduces) == 147_648
    assert count(plain.layers) == 843_456
    assert count(plain.transposed_convolution) == 16_385
    assert count(refined.transposed_convolution) == 70_241


@pytest.mark.parametrize(("patch", "total"), [(16, 149_620_737), (32, 151_277_313)])
def test_counts_of_clip(patch: int, total: int) -> None:
    with torch.device("meta"):
        model = CLIPSegModel(CLIPSegConfig(vision_config={"patch_size": patch}))
    assert model.num_parameters() == total
    assert len(model.state_dict()) == 398
    if patch == 16:
        assert count(model.text_model) == 63_165_952
        assert count(model.vision_model) == 85_799_424


def layers(path: str, number: int, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(number):
        at = f"{path}.layers.{layer}"
        for projection in ("q", "k", "v", "out"):
            shapes[f"{at}.self_attn.{projection}_proj.weight"] = (width, width)
            shapes[f"{at}.self_attn.{projection}_proj.bias"] = (width,)
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{at}.{norm}.weight": (width,), f"{at}.{norm}.bias": (width,)}
        shapes |= {f"{at}.mlp.fc1.weight": (inner, width), f"{at}.mlp.fc1.bias": (inner,)}
        shapes |= {f"{at}.mlp.fc2.weight": (width, inner), f"{at}.mlp.fc2.bias": (width,)}
    return shapes


CLIP = {
    "text_model.embeddings.token_embedding.weight": (49408, 512),
    "text_model.embeddings.position_embedding.weight": (77, 512),
    "text_model.final_layer_norm.weight": (512,),
    "text_model.final_layer_norm.bias": (512,),
    "vision_model.embeddings.class_embedding": (768,),
    "vision_model.embeddings.patch_embedding.weight": (768, 3, 16, 16),
    "vision_model.embeddings.position_embedding.weight": (197, 768),
    "vision_model.pre_layrnorm.weight": (768,),
    "vision_model.pre_layrnorm.bias": (768,),
    "vision_model.post_layernorm.weight": (768,),
    "vision_model.post_layernorm.bias": (768,),
    "visual_projection.weight": (512, 768),
    "text_projection.weight": (512, 512),
    "logit_scale": (),
    **layers("text_model.encoder", 12, 512, 2048),
    **layers("vision_model.encoder", 12, 768, 3072),
}
DECODER = {
    "film_mul.weight": (64, 512),
    "film_mul.bias": (64,),
    "film_add.weight": (64, 512),
    "film_add.bias": (64,),
    **{f"reduces.{step}.weight": (64, 768) for step in range(3)},
    **{f"reduces.{step}.bias": (64,) for step in range(3)},
    **layers("", 3, 64, 2048),
}
PLAIN = {"transposed_convolution.weight": (64, 1, 16, 16), "transposed_convolution.bias": (1,)}
REFINED = {
    "transposed_convolution.0.weight": (64, 64, 3, 3),
    "transposed_convolution.0.bias": (64,),
    "transposed_convolution.2.weight": (64, 32, 4, 4),
    "transposed_convolution.2.bias": (32,),
    "transposed_convolution.4.weight": (32, 1, 4, 4),
    "transposed_convolution.4.bias": (1,),
}


@pytest.mark.parametrize("refined", [True, False])
def test_names_and_shapes(refined: bool) -> None:
    state = empty(use_complex_transposed_convolution=refined).state_dict()
    decoder = {**DECODER, **(REFINED if refined else PLAIN)}
    expected = {f"clip.{name}": shape for name, shape in CLIP.items()}
    expected |= {f"decoder.{name.removeprefix('.')}": shape for name, shape in decoder.items()}
    assert {name: tuple(weight.shape) for name, weight in state.items()} == expected
