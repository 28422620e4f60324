"""The vision tower: pixels in, one state a patch and one a picture out. Rectangles work: the grid is carried.

Shapes: B pictures · H, W pixels · p patch side · (gh, gw) patch grid = (H // p, W // p) · N = 1 + gh·gw tokens ·
D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.configuration.clip import VisionConfiguration
from clipseg.configuration.clipseg import CLIPSegVisionConfig
from clipseg.errors import PictureError
from clipseg.modeling.initialisation import initialise_encoder
from clipseg.modeling.layers import Encoder, Layer
from clipseg.modeling.outputs import BaseModelOutputWithPooling
from clipseg.modeling.pretrained import PreTrainedModel, flag

Grid = tuple[int, int]

MOST_GRIDS = 32
"""How many resized position tables are kept; at 352 pixels one takes 1.5 MB."""


class VisionEmbeddings(nn.Module):
    """Patches by a strided convolution, the class token in front, and a position table resized to the grid."""

    def __init__(self, config: VisionConfiguration) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.patch_size = config.patch_size
        self.table_side = config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.randn(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        self.position_embedding = nn.Embedding(1 + self.table_side**2, config.hidden_size)
        self._resized: dict[Grid, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool) -> tuple[torch.Tensor, Grid]:
        """Pixels (B, 3, H, W) -> tokens (B, N, D) and the grid. Raises PictureError for a size that cannot be."""
        size_hw = tuple(pixel_values.shape[-2:])
        if not interpolate_pos_encoding and size_hw != (self.image_size, self.image_size):
            raise PictureError(
                f"Input image size ({size_hw[0]}*{size_hw[1]}) doesn't match model "
                f"({self.image_size}*{self.image_size}). Resize it, or pass interpolate_pos_encoding=True"
            )
        if min(size_hw) < self.patch_size:
            raise PictureError(
                f"a picture of {size_hw[0]}x{size_hw[1]} pixels is smaller than one patch of {self.patch_size}; "
                "enlarge it"
            )
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))  # (B, D, gh, gw)
        grid = (patches.shape[2], patches.shape[3])
        x = patches.flatten(2).transpose(1, 2)  # (B, N - 1, D)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)  # (B, N, D)
        return x + self.positions(grid), grid

    def positions(self, grid: Grid) -> torch.Tensor:
        """-> the position table for a grid, (1, N, D): its own where the grid is, resized bicubically otherwise.

        A resized table is kept until the weights change; where gradients are asked for, it is made anew.
        """
        table = self.position_embedding.weight
        if grid == (self.table_side, self.table_side):
            return table[None]
        if table.is_inference() or (table.requires_grad and torch.is_grad_enabled()):
            return self._resize(table, grid)
        # Each entry holds on to the weights it was made from: while it does, no others can lie in their place.
        source, version, resized = self._resized.get(grid, (table, -1, table))
        if source.data_ptr() != table.data_ptr() or version != table._version:
            if len(self._resized) >= MOST_GRIDS:
                self._resized.clear()
            with torch.inference_mode(False), torch.no_grad():
                resized = self._resize(table, grid)
                self._resized[grid] = table.detach(), table._version, resized
        return resized

    def _resize(self, table: torch.Tensor, grid: Grid) -> torch.Tensor:
        square = table[1:].unflatten(0, (self.table_side, self.table_side)).permute(2, 0, 1)[None]  # (1, D, n, n)
        resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([table[None, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class VisionTransformer(nn.Module):
    """Embeddings, `pre_layrnorm` (spelled as released), layers, and the normalised class token."""

    def __init__(self, config: VisionConfiguration) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Encoder(
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
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        pixel_values: torch.Tensor | None,
        *,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        interpolate_pos_encoding: bool = True,
    ) -> tuple[BaseModelOutputWithPooling, Grid]:
        """Pixels (B, 3, H, W) -> states (B, N, D), not normalised, pooled (B, D), normalised, and the grid."""
        if pixel_values is None:
            raise PictureError("You have to specify pixel_values")
        x, grid = self.embeddings(pixel_values, interpolate_pos_encoding)
        states = range(len(self.encoder.layers) + 1) if output_hidden_states else ()
        x, kept, attentions = self.encoder(self.pre_layrnorm(x), keep=states, with_weights=output_attentions)
        output = BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=self.post_layernorm(x[:, 0]),
            hidden_states=tuple(kept.values()) if output_hidden_states else None,
            attentions=attentions,
        )
        return output, grid

    def taps(
        self, pixel_values: torch.Tensor, layers: list[int], *, pooled: bool = False
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None, Grid]:
        """Pixels (B, 3, H, W) -> outputs of the named layers, each (B, N, D), pooled state (B, D) or None, the grid.

        Layers deeper than the deepest named one run only if the pooled state is wanted.
        """
        x, grid = self.embeddings(pixel_values, interpolate_pos_encoding=True)
        numbers = [layer + 1 for layer in layers]
        depth = None if pooled else max(numbers)
        x, kept, _ = self.encoder(self.pre_layrnorm(x), depth=depth, keep=numbers)
        return tuple(kept[number] for number in numbers), self.post_layernorm(x[:, 0]) if pooled else None, grid

    def initialise(self, config: VisionConfiguration) -> None:
        """Draw the documented initial weights."""
        factor = config.initializer_factor
        nn.init.normal_(self.embeddings.class_embedding, std=config.hidden_size**-0.5 * factor)
        nn.init.normal_(self.embeddings.patch_embedding.weight, std=config.initializer_range * factor)
        nn.init.normal_(self.embeddings.position_embedding.weight, std=config.initializer_range * factor)
        initialise_encoder(self.encoder, factor)


class CLIPSegVisionModel(PreTrainedModel):
    """The vision tower on its own."""

    config_class = CLIPSegVisionConfig
    main_input_name = "pixel_values"
    surplus_prefixes = ("text_model.", "visual_projection.", "text_projection.", "logit_scale", "decoder.")

    def __init__(self, config: CLIPSegVisionConfig) -> None:
        super().__init__(config)
        self.vision_model = VisionTransformer(config)
        self.initialise()

    def _initialise(self) -> None:
        self.vision_model.initialise(self.config)

    def get_input_embeddings(self) -> nn.Module:
        """-> the patch embedding."""
        return self.vision_model.embeddings.patch_embedding

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = True,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Pixels (B, 3, H, W) -> states (B, N, D), not normalised, and the normalised class token (B, D)."""
        output, _ = self.vision_model(
            pixel_values,
            output_attentions=flag(output_attentions, self.config.output_attentions),
            output_hidden_states=flag(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        return self.answer(output, return_dict)
