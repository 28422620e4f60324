"""Attention as packed layers do it, with and without a processor that multiplies tiles."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import tiny
from clipseg.runtime import layers
from clipseg.runtime.layers import PackedLayer, attended_in_groups


@pytest.mark.parametrize("at_once", [1, 2 * 37**2, 4 * 2**20])
def test_groups_of_heads_are_attention(monkeypatch, at_once):
    monkeypatch.setattr(layers, "SCORES_AT_ONCE", at_once)
    numbers = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 4, 37, 8, generator=numbers) for _ in range(3))
    expected = functional.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attended_in_groups(q, k, v), expected)


@pytest.mark.parametrize("tiles", [False, True], ids=["without tiles", "with tiles"])
def test_a_layer_says_the_same_on_any_processor(monkeypatch, tiles):
    layer = next(iter(tiny.segmenter().decoder.layers)).eval()
    groups = []

    def counted(*states):
        groups.append(states)
        return attended_in_groups(*states)

    monkeypatch.setattr(layers, "matrix_tiles", lambda: tiles)
    monkeypatch.setattr(layers, "attended_in_groups", counted)
    x = torch.randn(2, 5, layer.layer_norm1.weight.shape[0], generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, _ = layer(x)
        found = PackedLayer(layer, "bfloat16", 5)(x.bfloat16())
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.06)
    assert bool(groups) is not tiles
