"""CLIP-Deconv, the baseline of the paper: one tapped layer, no attention above it.

    tap ──> reduce ──> modulated by the condition (FiLM) ──> two linear layers ──> transposed convolution ──> logits

It has 139,585 parameters at its defaults under ViT-B/16. The paper's text leaves out the two linear layers, which its
code has. Everything but the decoder is CLIPSeg's, so whatever takes a CLIPSeg model takes this one.

Shapes: B pictures · P conditions a picture · N = 1 + gh·gw tokens · d decoder width · E condition width.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from clipseg.checkpoints.files import read_json
from clipseg.checkpoints.hub import find_file
from clipseg.configuration.base import CONFIG_NAME
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.errors import ConfigurationError
from clipseg.modeling.decoder import modulation, upsampled, upsampling_head
from clipseg.modeling.initialisation import zero_biases
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.vision import Grid


class CLIPDeconvDecoder(nn.Module):
    """One reduced tap, modulated, mixed by a small MLP, and made pixels of."""

    def __init__(self, config: CLIPDeconvConfig) -> None:
        super().__init__()
        vision, width = config.vision_config, config.reduce_dim
        if len(config.extract_layers) != 1:
            raise ConfigurationError(f"extract_layers is {config.extract_layers}; this decoder takes exactly one layer")
        self.film_mul = nn.Linear(config.projection_dim, width)
        self.film_add = nn.Linear(config.projection_dim, width)
        self.reduces = nn.ModuleList([nn.Linear(vision.hidden_size, width)])
        hidden = config.decoder_intermediate_size
        self.mix = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.transposed_convolution = upsampling_head(
            width, vision.patch_size, config.use_complex_transposed_convolution
        )

    def reduce(self, taps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """The tap (B, N, D) -> the reduced one (B, N, d)."""
        return [reduce(tap) for reduce, tap in zip(self.reduces, taps, strict=True)]

    def forward(
        self,
        reduced: list[torch.Tensor],
        conditions: torch.Tensor,
        grid: Grid,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Reduced tap (B, N, d), conditions (B, P, E) -> logits (B, P, H, W), the mixed states if wanted, (B·P, N, d).

        It has no attentions to give.
        """
        mul, add = modulation(self.film_mul, self.film_add, conditions.to(self.film_mul.weight.dtype))
        y = self.mix(mul * reduced[0][:, None] + add)  # (B, P, N, d)
        states = (y.flatten(0, 1),) if output_hidden_states else ()
        return upsampled(self.transposed_convolution, y, grid), states, ()

    def initialise(self, config: CLIPDeconvConfig) -> None:
        """Draw PyTorch's defaults, with linear biases at zero, as in CLIPSeg's own decoder."""
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                part.reset_parameters()
        zero_biases(self)


class CLIPDeconvForImageSegmentation(CLIPSegForImageSegmentation):
    """CLIP's towers under the baseline's decoder; to be used as CLIPSeg is."""

    config_class = CLIPDeconvConfig
    decoder_class = CLIPDeconvDecoder


def load_segmentation_model(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    **kwargs: Any,
) -> CLIPSegForImageSegmentation:
    """A folder, "nano" or a hub id -> the model that its `model_type` says, CLIPSeg's unless it is the baseline's.

    Keywords and errors are those of `PreTrainedModel.from_pretrained`.
    """
    where: dict[str, Any] = {
        "revision": revision,
        "cache_dir": cache_dir,
        "token": token,
        "local_files_only": local_files_only,
    }
    path = find_file(name_or_path, CONFIG_NAME, **where)
    assert path is not None  # noqa: S101 - a required file is found or raises
    baseline = read_json(path).get("model_type") == CLIPDeconvConfig.model_type
    kind = CLIPDeconvForImageSegmentation if baseline else CLIPSegForImageSegmentation
    model: CLIPSegForImageSegmentation = kind.from_pretrained(name_or_path, **where, **kwargs)
    return model
