"""Packed linear layers against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.runtime import linear
from clipseg.runtime.linear import POSTS, OneDNNLinear, PlainLinear, in_place, packed
from clipseg.runtime.precision import beside, native_int8

CPU = torch.device("cpu")
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 4e-2}


def drawn(outputs: int, inputs: int, rows: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)
    return weight / inputs**0.5, bias, torch.randn(2, rows, inputs, generator=generator)


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("precision", TOLERANCE)
@torch.inference_mode()
def test_equal_to_the_plain_layer(precision, post):
    weight, bias, rows = drawn(48, 32, 11)
    expected = POSTS[post](F.linear(rows, weight, bias))
    given_rows = rows.to(getattr(torch, beside(precision, CPU)))
    layer = packed(weight, bias, precision, 11, post)
    assert (layer(given_rows).float() - expected).abs().max() < TOLERANCE[precision] * expected.abs().max()


@given(outputs=st.integers(1, 70), inputs=st.integers(1, 70), rows=st.integers(1, 40), packed_for=st.integers(1, 500))
@settings(max_examples=20, deadline=None)
@torch.inference_mode()
def test_of_any_shape_and_whatever_it_was_packed_for(outputs, inputs, rows, packed_for):
    weight, bias, x = drawn(outputs, inputs, rows)
    other = torch.randn(2, rows, outputs)
    kept = other.clone()
    layer = packed(weight, bias, "float32", packed_for)
    torch.testing.assert_close(layer(x), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.plus(x, other), F.linear(x, weight, bias) + other, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other, kept)  # what is added is not written to


@pytest.mark.skipif(not native_int8(CPU), reason="needs a processor with 8-bit products")
@torch.inference_mode()
def test_8_bits_reach_as_far_as_the_rows_do():
    weight, bias, rows = drawn(16, 24, 5)
    layer = packed(weight, bias, "int8", 5)
    for scale, shift in ((1e-3, 0.0), (50.0, 0.0), (1.0, 30.0), (0.0, 0.0)):
        x = (rows * scale + shift).bfloat16()
        expected = F.linear(x.float(), weight, bias)
        assert (layer(x).float() - expected).abs().max() < 0.03 * (x.float().abs().max() * 4 + bias.abs().max())
    other = torch.ones(2, 5, 16, dtype=torch.bfloat16)
    torch.testing.assert_close(layer.plus(x, other), layer(x) + other)


@torch.inference_mode()
def test_without_onednn_torch_does_it(monkeypatch):
    monkeypatch.setattr(linear, "has_onednn", lambda device, dtype: False)
    monkeypatch.setattr(linear, "native_int8", lambda device: False)
    weight, bias, rows = drawn(8, 6, 3)
    for precision in TOLERANCE:
        layer = packed(weight, bias, precision, 3, "relu")
        assert isinstance(layer, PlainLinear)
        x = rows.to(getattr(torch, beside(precision, CPU)))
        torch.testing.assert_close(layer(x).float(), F.relu(F.linear(rows, weight, bias)), atol=0.05, rtol=0.05)


@torch.inference_mode()
def test_in_place_means_no_copy():
    layer = torch.nn.Linear(6, 4)
    same, rows = in_place(layer), torch.randn(3, 6)
    with torch.no_grad():
        layer.weight.mul_(2)
    torch.testing.assert_close(same(rows), layer(rows))
    without = torch.nn.Linear(6, 4, bias=False)
    torch.testing.assert_close(in_place(without)(rows), without(rows))


def test_packed_weights_are_the_layers_own():
    weight, bias, rows = drawn(8, 6, 3)
    with torch.inference_mode():
        for kind in (OneDNNLinear, PlainLinear):
            layer = kind(weight.clone(), given_bias := bias.clone(), 3, "none")
            before = layer(rows)
            given_bias.zero_()
            torch.testing.assert_close(layer(rows), before)
