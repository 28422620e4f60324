"""Operations counted by hand, and by torch while a model runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tiny
from clipseg.benchmark.flops import decoder_flops, encoder_flops, layer_flops, text_flops
from clipseg.benchmark.materials import released_configuration
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.modeling.deconv import CLIPDeconvForImageSegmentation
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation


def counted(call: Any) -> int:
    """What torch counts; its way of counting attention knows the plain kernel's matrix products."""
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_a_layer_by_hand() -> None:
    projections, scores, sums, linear = 4 * 2 * 3 * 5 * 5, 2 * 3 * 3 * 5, 2 * 3 * 3 * 5, 2 * 2 * 3 * 5 * 7
    assert layer_flops(3, 5, 7) == projections + scores + sums + linear


def test_the_released_size_by_hand() -> None:
    config = released_configuration()
    tokens = 22 * 22 + 1
    layer = 2 * tokens * 768 * (4 * 768 + 2 * 3072) + 4 * tokens**2 * 768
    patches = 2 * (tokens - 1) * 3 * 16 * 16 * 768
    assert encoder_flops(config, (352, 352)) == patches + 10 * layer + 3 * 2 * tokens * 768 * 64
    assert encoder_flops(config, (352, 352)) / 1e9 == pytest.approx(76.6, abs=0.01)


@pytest.mark.parametrize("size_hw", [(64, 64), (48, 80)])
@pytest.mark.parametrize(
    "changes",
    [
        {"use_complex_transposed_convolution": True},
        {"use_complex_transposed_convolution": False, "extract_layers": [0, 1]},
        {"conditional_layer": 1},
    ],
)
def test_as_torch_counts_them(changes: dict[str, Any], size_hw: tuple[int, int]) -> None:
    model = tiny.segmenter(**changes)
    _agree(model, size_hw)


def test_of_the_baseline() -> None:
    sizes = {"projection_dim": 12, "reduce_dim": 8, "decoder_intermediate_size": 16, "extract_layers": [2]}
    _agree(CLIPDeconvForImageSegmentation(CLIPDeconvConfig(tiny.TEXT, tiny.VISION, **sizes)).eval(), (64, 64))


def _agree(model: CLIPSegForImageSegmentation, size_hw: tuple[int, int]) -> None:
    pixels, prompts = tiny.pixels(1, *size_hw), 3
    with torch.inference_mode():
        encoded = model.encode_images(pixels)
    assert counted(lambda: model.encode_images(pixels)) == encoder_flops(model.config, size_hw)
    conditions = torch.randn(prompts, model.config.projection_dim)
    assert counted(lambda: model.decode(encoded, conditions)) == decoder_flops(model.config, size_hw, prompts)
    texts = tiny.texts(1, 9)
    assert counted(lambda: model.get_conditional_embeddings(1, **texts)) == text_flops(model.config, 9)
