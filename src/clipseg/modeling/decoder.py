"""The decoder: tapped activations under any number of conditions in, logits out.

Shapes: B pictures · P conditions a picture · N = 1 + gh·gw tokens · D tower width · d decoder width ·
E condition width · p patch side · H = gh·p, W = gw·p.
"""

from __future__ import annotations

import torch
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import ConfigurationError
from clipseg.modeling.initialisation import initialise_layer, zero_biases
from clipseg.modeling.layers import Layer, run
from clipseg.modeling.vision import Grid


def refined_kernels(patch_size: int) -> tuple[int, int]:
    """Patch side -> the kernels of the two transposed convolutions, which multiply to it: (4, p / 4).

    16 gives (4, 4), as released. Raises ConfigurationError for a patch side that 4 does not divide.
    """
    if patch_size % 4:
        raise ConfigurationError(
            f"the refined head needs a patch size divisible by 4, got {patch_size}; "
            "set use_complex_transposed_convolution=False"
        )
    return 4, patch_size // 4


def upsampling_head(width: int, patch_size: int, refined: bool) -> nn.Module:
    """-> the module that takes (B, d, gh, gw) to (B, 1, gh·p, gw·p)."""
    if not refined:
        return nn.ConvTranspose2d(width, 1, patch_size, stride=patch_size)
    first, second = refined_kernels(patch_size)
    return nn.Sequential(
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2, first, stride=first),
        nn.ReLU(),
        nn.ConvTranspose2d(width // 2, 1, second, stride=second),
    )


def modulation(multiply: nn.Module, add: nn.Module, conditions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """FiLM's two maps and conditions (B, P, E) -> what states are multiplied by and what is added, each (B, P, 1, d).

    FiLM: Perez et al., AAAI 2018, equation 2.
    """
    return multiply(conditions)[:, :, None], add(conditions)[:, :, None]


def upsampled(head: nn.Module, states: torch.Tensor, grid: Grid) -> torch.Tensor:
    """An upsampling head and states (B, P, N, d) -> logits (B, P, H, W); the class token has no place in them."""
    pictures, prompts = states.shape[:2]
    cells = states[:, :, 1:].flatten(0, 1).transpose(1, 2).unflatten(2, grid)  # (B·P, d, gh, gw)
    logits: torch.Tensor = head(cells).unflatten(0, (pictures, prompts))[:, :, 0]
    return logits


class CLIPSegDecoder(nn.Module):
    """Walks the taps from the deepest up; one step is modulated by the condition (FiLM); a head makes pixels."""

    def __init__(self, config: CLIPSegConfig) -> None:
        super().__init__()
        vision, width, steps = config.vision_config, config.reduce_dim, len(config.extract_layers)
        if not 0 <= config.conditional_layer < steps:
            raise ConfigurationError(
                f"conditional_layer is {config.conditional_layer} but the decoder has steps 0 to {steps - 1}; "
                "outside them the prompt would be ignored"
            )
        self.conditional_layer = config.conditional_layer
        self.gradient_checkpointing = False
        self.film_mul = nn.Linear(config.projection_dim, width)
        self.film_add = nn.Linear(config.projection_dim, width)
        self.transposed_convolution = upsampling_head(
            width, vision.patch_size, config.use_complex_transposed_convolution
        )
        self.reduces = nn.ModuleList([nn.Linear(vision.hidden_size, width) for _ in range(steps)])
        self.layers = nn.ModuleList(
            [
                Layer(
                    width,
                    config.decoder_num_attention_heads,
                    config.decoder_intermediate_size,
                    "relu",  # whatever decoder_hidden_act says: released weights were trained with it
                    eps=vision.layer_norm_eps,
                    dropout=vision.attention_dropout,
                    norm_first=False,
                )
                for _ in range(steps)
            ]
        )

    def reduce(self, taps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Taps in the order of `extract_layers`, each (B, N, D) -> reduced ones (B, N, d), deepest first.

        This half depends on the picture alone, so many conditions can share it.
        """
        return [reduce(tap) for reduce, tap in zip(self.reduces, reversed(taps), strict=True)]

    def forward(
        self,
        reduced: list[torch.Tensor],
        conditions: torch.Tensor,
        grid: Grid,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Reduced taps (B, N, d), conditions (B, P, E) -> logits (B, P, H, W), states and attentions a step if wanted.

        States are (B·P, N, d) and attentions (B·P, h, N, N).
        """
        pictures, prompts = conditions.shape[:2]
        mul, add = modulation(self.film_mul, self.film_add, conditions.to(self.film_mul.weight.dtype))
        y = torch.zeros((), dtype=reduced[0].dtype, device=reduced[0].device)
        states, attentions = [], []
        for step, layer in enumerate(self.layers):
            y = reduced[step][:, None] + y if step else reduced[0][:, None]  # (B, 1 or P, N, d)
            if step == self.conditional_layer:
                y = mul * y + add  # (B, P, N, d)
            seen = y.shape[1]  # 1 until the condition enters: those steps are shared by all prompts
            flat, weights = run(
                layer, y.flatten(0, 1), None, False, output_attentions, rerun=self.gradient_checkpointing
            )
            y = flat.unflatten(0, (pictures, seen))
            if output_hidden_states:
                states.append(y.expand(-1, prompts, -1, -1).flatten(0, 1))
            if output_attentions and weights is not None:
                spread = weights.unflatten(0, (pictures, seen)).expand(-1, prompts, -1, -1, -1)
                attentions.append(spread.flatten(0, 1))
        return upsampled(self.transposed_convolution, y, grid), tuple(states), tuple(attentions)

    def initialise(self, config: CLIPSegConfig) -> None:
        """Draw the layers as CLIP's; FiLM, reductions and head keep PyTorch's defaults, with linear biases at zero."""
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm)):
                part.reset_parameters()
        for layer in self.layers:
            initialise_layer(layer, config.vision_config.num_hidden_layers, config.vision_config.initializer_factor)  # type: ignore[arg-type]
        zero_biases(self)
