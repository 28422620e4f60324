"""Small trained parts inside a frozen tower, that dissolve into its own weights when they are done.

    LoRA      a projection's weight W becomes W + U V, with U of `rank` columns        Hu et al. 2021, arXiv 2106.09685
    adapter   an MLP gets `width` more hidden units, beside those that are frozen      He et al. 2022, arXiv 2110.04366

U, and what leaves the new hidden units, begin at zero: an adapted tower begins as the tower it was. `merge` writes
W + U V in the place of W, and puts new units and old ones into one wider MLP. The model is then an ordinary one, whose
`intermediate_size` is larger by `width` where it has adapters: its folder loads wherever CLIPSeg folders load. This is
why the bottleneck stands beside the MLP: behind it, as first published (Houlsby et al. 2019), it cannot be merged.

Shapes: D width · h hidden units of the MLP · r rank · w new hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.nn.utils import parametrize

from clipseg.errors import UsageError
from clipseg.modeling.layers import MLP, Encoder, Layer
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation

Tower: TypeAlias = Literal["vision", "text"]
TOWERS: tuple[Tower, ...] = ("vision", "text")

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
QUERY_AND_VALUE = ("q_proj", "v_proj")
"""Where LoRA is the best for its size (Hu et al., table 5)."""


class LowRank(nn.Module):
    """A frozen weight (out, in) -> the same plus a product of two thin matrices, which is zero at first."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.down = nn.Parameter(nn.init.kaiming_uniform_(weight.new_empty(rank, weight.shape[1]), a=math.sqrt(5)))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(out, in) -> (out, in)."""
        return weight + self.up @ self.down


class WiderMLP(MLP):
    """An MLP with `width` hidden units of its own beside those of the MLP whose layers it takes over."""

    def __init__(self, mlp: MLP, width: int) -> None:
        nn.Module.__init__(self)  # the layers are there already
        self.act, self.fc1, self.fc2 = mlp.act, mlp.fc1, mlp.fc2
        weight = mlp.fc1.weight
        self.down = nn.Linear(weight.shape[1], width, device=weight.device, dtype=weight.dtype)
        self.up = nn.Linear(width, weight.shape[1], bias=False, device=weight.device, dtype=weight.dtype)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, D) -> (…, D)."""
        return super().forward(x) + self.up(self.act(self.down(x)))  # type: ignore[no-any-return]

    def merged(self) -> MLP:
        """-> one MLP of h + w hidden units."""
        hidden = self.fc1.out_features + self.down.out_features
        with torch.device("meta"):
            mlp = MLP(self.fc1.in_features, hidden, self.act)
        state = {
            "fc1.weight": torch.cat([self.fc1.weight, self.down.weight]),  # (h + w, D)
            "fc1.bias": torch.cat([self.fc1.bias, self.down.bias]),
            "fc2.weight": torch.cat([self.fc2.weight, self.up.weight], dim=1),  # (D, h + w)
            "fc2.bias": self.fc2.bias,
        }
        mlp.load_state_dict({name: tensor.detach() for name, tensor in state.items()}, assign=True)
        return mlp.train(self.training)


def add_low_rank(
    model: CLIPSegForImageSegmentation,
    rank: int,
    towers: Iterable[Tower] = TOWERS,
    projections: Sequence[str] = QUERY_AND_VALUE,
) -> None:
    """Put LoRA of a rank on the named projections of every layer of the named towers.

    Raises UsageError for a tower or projection that there is none of, and for a rank that is not below the width.
    """
    if not projections or not set(projections) <= set(PROJECTIONS):
        raise UsageError(f"projections are {tuple(projections)}; expected some of {', '.join(PROJECTIONS)}")
    for _, layer in _layers(model, towers):
        for name in projections:
            projection = layer.self_attn.get_submodule(name)
            weight = projection.get_parameter("weight")
            if not 1 <= rank < weight.shape[1]:
                raise UsageError(f"rank is {rank}; expected 1 to {weight.shape[1] - 1}, less than the tower's width")
            parametrize.register_parametrization(projection, "weight", LowRank(weight, rank), unsafe=True)


def add_adapters(model: CLIPSegForImageSegmentation, width: int, towers: Iterable[Tower] = TOWERS) -> None:
    """Put an adapter of a width beside the MLP of every layer of the named towers. Raises UsageError for others."""
    if width < 1:
        raise UsageError(f"width is {width}; expected at least 1 hidden unit")
    for _, layer in _layers(model, towers):
        layer.mlp = WiderMLP(layer.mlp, width)


def added_parameters(model: CLIPSegForImageSegmentation) -> list[nn.Parameter]:
    """-> the parameters of LoRA and adapters, none where there are none."""
    found: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, LowRank):
            found += module.parameters()
        elif isinstance(module, WiderMLP):
            found += [*module.down.parameters(), *module.up.parameters()]
    return found


@torch.no_grad()
def merge(model: CLIPSegForImageSegmentation) -> None:
    """Dissolve LoRA and adapters, where a model has them, into its own weights, and have its configuration say so.

    The weights under LoRA are then those that it computed with; a wider MLP answers the same but for rounding. What was
    merged is frozen, as the towers are.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations.weight[0], LowRank):  # type: ignore[union-attr, index]
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    for tower, layer in _layers(model, TOWERS):
        if isinstance(layer.mlp, WiderMLP):
            layer.mlp = layer.mlp.merged().requires_grad_(False)
            part = model.config.vision_config if tower == "vision" else model.config.text_config
            part.intermediate_size = layer.mlp.fc1.out_features


def _layers(model: CLIPSegForImageSegmentation, towers: Iterable[Tower]) -> list[tuple[Tower, Layer]]:
    """-> the layers of the named towers, in order, each with its tower."""
    encoders: dict[Tower, Encoder] = {
        "vision": model.clip.vision_model.encoder,
        "text": model.clip.text_model.encoder,
    }
    chosen = list(towers)
    if not chosen or not set(chosen) <= encoders.keys():
        raise UsageError(f"towers are {tuple(chosen)}; expected some of {', '.join(encoders)}")
    return [(tower, layer) for tower in encoders if tower in chosen for layer in encoders[tower].layers]  # type: ignore[misc]
