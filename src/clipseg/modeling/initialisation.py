"""How new weights start, as OpenAI's CLIP did it: normal, with widths and depths in the standard deviation.

Layer norms start at one and zero and biases at zero; both are so already when these functions are called, biases of
the decoder's own linear layers aside.
"""

from __future__ import annotations

import torch
from torch import nn

from clipseg.modeling.layers import Encoder, Layer


def initialise_encoder(encoder: Encoder, factor: float) -> None:
    """Draw the layers of a tower; `factor` is the configuration's `initializer_factor`."""
    for layer in encoder.layers:
        initialise_layer(layer, len(encoder.layers), factor)  # type: ignore[arg-type]


def initialise_layer(layer: Layer, depth: int, factor: float) -> None:
    """Draw one layer of a stack that counts as `depth` layers deep."""
    width = layer.layer_norm1.normalized_shape[0]
    for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
        nn.init.normal_(projection.weight, std=width**-0.5 * (2 * depth) ** -0.5 * factor)
    nn.init.normal_(layer.self_attn.out_proj.weight, std=width**-0.5 * factor)
    nn.init.normal_(layer.mlp.fc1.weight, std=(2 * width) ** -0.5 * factor)
    nn.init.normal_(layer.mlp.fc2.weight, std=width**-0.5 * (2 * depth) ** -0.5 * factor)
    zero_biases(layer)


def initialise_projection(projection: nn.Linear, factor: float) -> None:
    """Draw a projection, or a classifier, from a tower's width."""
    nn.init.normal_(projection.weight, std=projection.in_features**-0.5 * factor)
    zero_biases(projection)


@torch.no_grad()
def zero_biases(module: nn.Module) -> None:
    """Set the biases of all linear layers in a module to zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.zero_()
