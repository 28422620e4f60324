"""Whether weights are still those that something was made of: asked before every answer, so it has to be quick."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import nn

WeightState: TypeAlias = "list[tuple[int, int, int]]"
"""Of each weight which one it is, where its numbers lie, and how often they were written to."""


def every_module(parts: Iterable[nn.Module]) -> list[nn.Module]:
    """Parts of a model -> they and all that is in them: as `Module.modules`, which takes three times as long."""
    found, rest = [], list(parts)
    while rest:
        module = rest.pop()
        found.append(module)
        rest.extend(below for below in module._modules.values() if below is not None)
    return found


def weight_state(modules: Iterable[nn.Module]) -> WeightState | None:
    """Modules, without what is in them -> what changes with their weights; None where changes are not counted.

    A tensor that was made in inference mode does not count how often it is written to.
    """
    weights: list[torch.Tensor] = [
        weight for module in modules for weight in module._parameters.values() if weight is not None
    ]
    if any(weight.is_inference() for weight in weights):
        return None
    return [(id(weight), weight.data_ptr(), weight._version) for weight in weights]
