"""Transformer layers with packed weights: the same function as `modeling.layers.Layer`, without what need not be done.

    norm, scale of attention ── folded into the weights that follow
    queries, keys, values    ── one product
    x · sigmoid(1.702 x)     ── swish of a product that was scaled by 1.702, which is taken back in the next weights
    + x, relu, swish         ── done by the product in front

Shapes: B batch · N tokens · D width · h heads · d = D / h.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.modeling.layers import Attention, Layer, quick_gelu
from clipseg.runtime.linear import in_place, packed
from clipseg.runtime.precision import Precision, beside, matrix_tiles

SCORES_AT_ONCE = 4 * 2**20
"""Attention scores of bfloat16 that are held at once: 8 MB stay in a processor's cache."""

ACTIVATIONS: dict[Callable[[torch.Tensor], torch.Tensor], tuple[str, float]] = {
    F.relu: ("relu", 1.0),
    F.gelu: ("gelu", 1.0),
    quick_gelu: ("swish", 1.702),
}
"""Activation -> the post-operation s and factor c with which it is s(c x) / c."""


class PackedLayer:
    """A layer of a tower or of the decoder; `rows` are about as many tokens as come at once."""

    def __init__(self, layer: Layer, precision: Precision, rows: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._norm_first, self._heads = layer.norm_first, attention.heads
        weight, bias = _projections(attention)
        first, first_bias = mlp.fc1.weight.detach().float(), _bias(mlp.fc1)
        if layer.norm_first:
            weight, bias = _after(layer.layer_norm1, weight, bias)
            first, first_bias = _after(layer.layer_norm2, first, first_bias)
        post, factor = ACTIVATIONS[mlp.act]
        second = mlp.fc2.weight.detach().float() / factor
        self._project = packed(weight, bias, precision, rows)
        self._out = packed(attention.out_proj.weight, attention.out_proj.bias, precision, rows)
        self._first = packed(first * factor, first_bias * factor, precision, rows, post)
        self._second = packed(second, mlp.fc2.bias, precision, rows)
        dtype = getattr(torch, beside(precision, attention.out_proj.weight.device))
        self._norms = [_own_norm(norm, dtype, layer.norm_first) for norm in (layer.layer_norm1, layer.layer_norm2)]

    def __call__(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, N, D), and an additive mask (B, 1, N, N) of its type -> (B, N, D)."""
        norm1, norm2 = self._norms
        if self._norm_first:
            x = self._out.plus(self._attended(norm1(x), mask), x)
            return self._second.plus(self._first(norm2(x)), x)
        x = norm1(self._out.plus(self._attended(x, mask), x))
        return norm2(self._second.plus(self._first(x), x))

    def _attended(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        queries, keys, values = self._project(x).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is None and x.dtype == torch.bfloat16 and x.device.type == "cpu" and not matrix_tiles():
            return attended_in_groups(queries, keys, values)
        out: torch.Tensor = F.scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)
        return out.transpose(1, 2).flatten(2)


def attended_in_groups(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Scaled queries, keys and values (B, h, N, d) -> (B, N, D), as many heads at once as leave scores in the cache.

    On a CPU without AMX, in bfloat16, this takes half the time of torch's fused attention, which uses a slower product
    there. With AMX torch's takes three quarters of the time of this, and keeps its scores in float32.
    """
    batch, heads, tokens, width = queries.shape
    queries, keys, values = (each.reshape(batch * heads, tokens, width) for each in (queries, keys, values))
    out = torch.empty_like(queries)
    group = min(batch * heads, max(1, SCORES_AT_ONCE // tokens**2))
    space = queries.new_empty(group, tokens, tokens)
    for start in range(0, batch * heads, group):
        part = slice(start, start + group)
        scores = torch.bmm(queries[part], keys[part].transpose(1, 2), out=space[: batch * heads - start])
        torch.softmax(scores, -1, out=scores)
        torch.bmm(scores, values[part], out=out[part])
    joined: torch.Tensor = out.unflatten(0, (batch, heads)).transpose(1, 2).flatten(2)
    return joined


class LayerInPlace:
    """A layer of the text tower, its weights where they are: for a few phrases, which are read only once."""

    def __init__(self, layer: Layer) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._heads, self._scale, self._act = attention.heads, attention.scale, mlp.act
        self._projections = [in_place(each) for each in (attention.q_proj, attention.k_proj, attention.v_proj)]
        self._out, self._first, self._second = map(in_place, (attention.out_proj, mlp.fc1, mlp.fc2))
        self._norm1, self._norm2 = layer.layer_norm1, layer.layer_norm2

    def __call__(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, N, D) and an additive mask (B, 1, N, N) -> (B, N, D)."""
        normed = self._norm1(x)
        q, k, v = (each(normed).unflatten(-1, (self._heads, -1)).transpose(1, 2) for each in self._projections)
        attended = F.scaled_dot_product_attention(q, k, v, mask, scale=self._scale).transpose(1, 2).flatten(2)
        x = self._out.plus(attended, x)
        return self._second.plus(self._act(self._first(self._norm2(x))), x)


def _projections(attention: Attention) -> tuple[torch.Tensor, torch.Tensor]:
    """-> weight (3 D, D) and bias (3 D,) of queries, which are scaled, keys and values."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    weights, biases = [part.weight.detach().float() for part in parts], [_bias(part) for part in parts]
    weights[0], biases[0] = weights[0] * attention.scale, biases[0] * attention.scale
    return torch.cat(weights), torch.cat(biases)


def _after(norm: nn.LayerNorm, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight (O, I) behind a norm with gain and shift -> weight and bias (O,) behind one without."""
    return weight * norm.weight.detach().float(), bias + weight @ norm.bias.detach().float()


def _own_norm(norm: nn.LayerNorm, dtype: torch.dtype, folded: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    weight, bias = (
        (None, None) if folded else (norm.weight.detach().to(dtype, copy=True), norm.bias.detach().to(dtype, copy=True))
    )
    shape, eps = norm.normalized_shape, norm.eps
    return lambda x: F.layer_norm(x, shape, weight, bias, eps)


def _bias(layer: nn.Linear) -> torch.Tensor:
    return layer.bias.detach().float()
