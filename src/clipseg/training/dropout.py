"""Dropout in the decoder while it trains: hooked on, because the models themselves have none there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.modeling.layers import Layer


@contextmanager
def decoder_dropout(decoder: nn.Module, share: float) -> Iterator[None]:
    """Within the block, the layers of a decoder in training leave out a share of activations.

    At the four places of torch's own transformer layer, with which the paper's weights were trained: the attention
    weights, what attention adds, the hidden activations of the MLP, and what the MLP adds.
    """

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (F.dropout(inputs[0], share, module.training),)

    def after(module: nn.Module, _inputs: Any, output: Any) -> Any:
        return F.dropout(output, share, module.training)

    def after_attention(module: nn.Module, _inputs: Any, output: Any) -> Any:
        attended, weights = output
        return F.dropout(attended, share, module.training), weights

    with ExitStack() as stack:
        for layer in decoder.modules() if share else ():
            if isinstance(layer, Layer):
                stack.callback(setattr, layer.self_attn, "dropout", layer.self_attn.dropout)
                layer.self_attn.dropout = share
                for handle in (
                    layer.self_attn.register_forward_hook(after_attention),
                    layer.mlp.fc2.register_forward_pre_hook(before),
                    layer.mlp.register_forward_hook(after),
                ):
                    stack.callback(handle.remove)
        yield
