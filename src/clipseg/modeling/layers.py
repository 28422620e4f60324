"""The one attention, the one MLP and the one transformer layer, for text, vision and decoder alike.

Shapes: B batch · N tokens · D width · h heads · L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn
from torch.utils.checkpoint import checkpoint

from clipseg.configuration.clip import TextConfiguration, VisionConfiguration
from clipseg.errors import ConfigurationError

Activation = Callable[[torch.Tensor], torch.Tensor]


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """The sigmoid approximation of GELU that CLIP was trained with: x · sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


def gelu_new(x: torch.Tensor) -> torch.Tensor:
    """The tanh approximation of GELU."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": gelu_new,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "selu": F.selu,
}
ATTENTIONS = ("sdpa", "eager")


def activation(name_or_function: str | Activation) -> Activation:
    """A name of ACTIVATIONS or a callable -> the function. Raises ConfigurationError for an unknown name."""
    if callable(name_or_function):
        return name_or_function
    if name_or_function not in ACTIVATIONS:
        raise ConfigurationError(f"unknown activation {name_or_function!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name_or_function]


class Attention(nn.Module):
    """Multi-head self-attention with biases everywhere; scale head_dim^-0.5, softmax in float32."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ConfigurationError(f"width {width} is not divisible by {heads} attention heads; change either")
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.dropout = dropout
        self.implementation = "sdpa"
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False, with_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """States (B, N, D), additive mask (B or 1, 1, N, N) -> states (B, N, D) and, if wanted, weights (B, h, N, N).

        `causal` stands for a causal mask without padding, which needs no tensor; with `mask` it is not looked at.
        """
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, N, D / h)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        causal = causal and mask is None
        if self.implementation == "sdpa" and not with_weights:
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, scale=self.scale)
            weights = None
        else:
            scores = q @ k.transpose(-1, -2) * self.scale  # (B, h, N, N)
            if causal:
                mask = causal_mask(x.shape[1], scores.dtype, x.device)
            if mask is not None:
                scores = (
                    scores + mask
                    if mask.is_floating_point()
                    else scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
                )
            weights = F.dropout(scores.softmax(-1, dtype=torch.float32).to(q.dtype), dropout)
            out = weights @ v
        return self.out_proj(out.transpose(1, 2).flatten(2)), weights if with_weights else None


def causal_mask(tokens: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """-> the additive mask (1, 1, N, N) that hides later tokens with the lowest finite value."""
    lowest = torch.finfo(dtype).min
    return torch.full((tokens, tokens), lowest, dtype=dtype, device=device).triu(1)[None, None]


def padded_causal_mask(keep: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Keep flags (B, N), 1 = token, 0 = padding -> the additive mask (B, 1, N, N) that hides later tokens and padding.

    The two conditions are merged, not summed: a sum of two lowest values is -inf, and a row of -inf becomes NaN.
    """
    tokens = keep.shape[1]
    visible = keep.bool()[:, None, None, :] & torch.ones(tokens, tokens, dtype=torch.bool, device=keep.device).tril()
    return torch.zeros(visible.shape, dtype=dtype, device=keep.device).masked_fill(~visible, torch.finfo(dtype).min)


class MLP(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, width: int, hidden: int, act: str | Activation) -> None:
        super().__init__()
        self.act = activation(act)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, D) -> (…, D)."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A transformer layer: norms before each half (`norm_first`, the encoders) or after it (the decoder)."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        act: str | Activation,
        *,
        eps: float = 1e-5,
        dropout: float = 0.0,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attn = Attention(width, heads, dropout)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, hidden, act)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False, with_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """States (B, N, D) -> states (B, N, D) and, if wanted, attention weights (B, h, N, N)."""
        if self.norm_first:
            attended, weights = self.self_attn(self.layer_norm1(x), mask, causal, with_weights)
            x = x + attended
            return x + self.mlp(self.layer_norm2(x)), weights
        attended, weights = self.self_attn(x, mask, causal, with_weights)
        x = self.layer_norm1(x + attended)
        return self.layer_norm2(x + self.mlp(x)), weights


class Encoder(nn.Module):
    """A stack of pre-norm layers."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.gradient_checkpointing = False

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None = None,
        *,
        causal: bool = False,
        depth: int | None = None,
        keep: Container[int] = (),
        with_weights: bool = False,
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor], tuple[torch.Tensor, ...] | None]:
        """Embedded tokens (B, N, D) -> the last output, the states named in `keep`, attention weights if wanted.

        State 0 is the input, state i + 1 the output of layer i. `depth` stops after so many layers; None runs them all.
        """
        states: dict[int, torch.Tensor] = {0: x} if 0 in keep else {}
        weights: list[torch.Tensor | None] = []
        for number, layer in enumerate(self.layers[:depth], start=1):
            x, layer_weights = run(layer, x, mask, causal, with_weights, rerun=self.gradient_checkpointing)
            if number in keep:
                states[number] = x
            weights.append(layer_weights)
        return x, states, tuple(weights) if with_weights else None  # type: ignore[arg-type]


def tower_encoder(config: TextConfiguration | VisionConfiguration) -> Encoder:
    """A tower's configuration -> its layers."""
    return Encoder(
        [
            Layer(
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                config.hidden_act,
                eps=config.layer_norm_eps,
                dropout=config.attention_dropout,
            )
            for _ in range(config.num_hidden_layers)
        ]
    )


def run(
    layer: nn.Module,
    x: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    with_weights: bool,
    *,
    rerun: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Call a layer; with `rerun`, in training, its activations are computed again in the backward pass, not kept."""
    if rerun and layer.training and torch.is_grad_enabled():
        return checkpoint(layer, x, mask, causal, with_weights, use_reentrant=False)  # type: ignore[no-any-return]
    return layer(x, mask, causal, with_weights)  # type: ignore[no-any-return]
