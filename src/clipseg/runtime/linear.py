"""Linear layers with their weights packed for the processor, and what follows them done in the same pass.

    rows (…, I) ──> product with packed weights, + bias ──> post-operation, or + other ──> (…, O)

Torch's own linear layer of float32 leaves the product to MKL, which runs at about half speed on AMD's processors, and
that of bfloat16 reorders its weights in every call. oneDNN's packed product does neither; torch reaches it by the
operators that its compiler uses (`mkldnn._linear_pointwise`, and `onednn.qlinear_pointwise` of 8-bit weights). Where a
build of torch has none of them, the plain layer does the same.

Shapes: I inputs · O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.runtime.precision import Precision, beside, native_int8

POSTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "swish": F.silu,
    "gelu": F.gelu,
}
"""What may follow a product, by oneDNN's names."""


class PackedLinear(Protocol):
    """A linear layer and what follows it."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, I) -> (…, O)."""

    def plus(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(…, I) and what is added to the product (…, O) -> (…, O); without the post-operation."""


def packed(
    weight: torch.Tensor, bias: torch.Tensor | None, precision: Precision, rows: int, post: str = "none"
) -> PackedLinear:
    """A weight (O, I) and bias (O,) of any type -> the layer; `rows` is about how many will come at once.

    `precision` is what is multiplied; "int8" quantises the weights by output, symmetrically, and rows as they come.
    """
    weight = weight.detach()
    bias = torch.zeros(len(weight)) if bias is None else bias.detach()
    if precision == "int8" and native_int8(weight.device):
        return Int8Linear(weight.float(), bias.float(), rows, post)
    dtype = getattr(torch, beside(precision, weight.device))
    kind = OneDNNLinear if has_onednn(weight.device, dtype) else PlainLinear
    return kind(weight.to(dtype), bias.to(dtype), rows, post)


def in_place(layer: nn.Linear) -> PackedLinear:
    """A linear layer -> the same, with the weights where they are: for layers that are not worth their memory twice."""
    weight = layer.weight.detach()
    bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device) if layer.bias is None else layer.bias
    kind = OneDNNLinear if has_onednn(weight.device, weight.dtype) else PlainLinear
    return kind(weight, bias.detach(), None, "none")


def has_onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed product of a type is there."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available() or not hasattr(_mkldnn(), "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _mkldnn() -> Any:
    return torch.ops.mkldnn


class PlainLinear:
    """Torch's own."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rows: int | None, post: str) -> None:
        self._weight, self._bias, self._post = weight, bias, POSTS[post]
        if rows is not None:
            self._weight, self._bias = weight.clone(), bias.clone()

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, I) -> (…, O)."""
        return self._post(F.linear(rows, self._weight, self._bias))

    def plus(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(…, I) and (…, O) -> their sum (…, O)."""
        return F.linear(rows, self._weight, self._bias) + other


class OneDNNLinear:
    """Of float32 or bfloat16. With `rows` None the weights stay where they are, and are reordered in every call."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rows: int | None, post: str) -> None:
        self._weight, self._bias, self._post = weight, bias, post
        if rows is not None:
            self._weight, self._bias = _mkldnn()._reorder_linear_weight(weight.contiguous(), rows), bias.clone()

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, I) -> (…, O)."""
        out: torch.Tensor = _mkldnn()._linear_pointwise(rows, self._weight, self._bias, self._post, [], "none")
        return out

    def plus(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(…, I) and (…, O) -> their sum (…, O)."""
        out: torch.Tensor = _mkldnn()._linear_pointwise.binary(rows, other, self._weight, self._bias, "add")
        return out


class Int8Linear:
    """Of 8-bit numbers: weights in -127 to 127 with a scale for each output, rows in 0 to 255 with one for all."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rows: int, post: str) -> None:
        self._scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        quantised = (weight / self._scales[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(quantised, [rows, weight.shape[1]])
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias, self._post = bias.clone(), post

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, I) float32 or bfloat16 -> (…, O) of the same."""
        return self._product(rows, self._post)

    def plus(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(…, I) and (…, O), both float32 or bfloat16 -> their sum (…, O)."""
        return self._product(rows, "none").add_(other)

    def _product(self, rows: torch.Tensor, post: str) -> torch.Tensor:
        low, high = (float(end) for end in torch.aminmax(rows))
        low, high = min(low, 0.0), max(high, 0.0)  # zero is to be a number of the scale
        scale = max(high - low, 1e-12) / 255
        zero = round(-low / scale)
        quantised = rows.mul(1 / scale).add_(zero).round_().clamp_(0, 255).to(torch.uint8)
        out: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            quantised, scale, zero, self._weight, self._scales, self._zeros, self._bias,
            1.0, 0, rows.dtype, post, [], "none",
        )  # fmt: skip
        return out
