"""The vision tower: pixels in, one state a patch and one a picture out. Rectangles work: the grid is carried.

Shapes: B pictures · H, W pixels · p patch side · (gh, gw) patch grid = (H // p, W // p) · N = 1 + gh·gw tokens ·
D width · E projected width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.configuration.base import Configuration
from clipseg.configuration.clip import CLIPConfig, CLIPVisionConfig, VisionConfiguration
from clipseg.configuration.clipseg import CLIPSegVisionConfig
from clipseg.errors import PictureError
from clipseg.modeling.calls import answer, flag
from clipseg.modeling.initialisation import initialise_encoder, initialise_projection
from clipseg.modeling.layers import tower_encoder
from clipseg.modeling.outputs import BaseModelOutputWithPooling, CLIPVisionModelOutput
from clipseg.modeling.pretrained import PreTrainedModel

Grid = tuple[int, int]

PIXELS_IN = "vision_model.embeddings.patch_embedding"
"""Where a model with a vision tower takes its pixels in."""

MOST_GRIDS = 32
"""How many resized position tables are kept; at 352 pixels one takes 1.5 MB."""


class VisionEmbeddings(nn.Module):
    """Patches by a strided convolution, the class token in front, and a position table resized to the grid."""

    def __init__(self, config: VisionConfiguration) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.patch_size = config.patch_size
        self.table_side = config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        self.position_embedding = nn.Embedding(1 + self.table_side**2, config.hidden_size)
        self._resized: dict[Grid, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool) -> tuple[torch.Tensor, Grid]:
        """Pixels (B, 3, H, W) -> tokens (B, N, D) and the grid. Raises PictureError for a shape that cannot be."""
        check_pixels("pixel_values", pixel_values, self.patch_embedding.in_channels)
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
            return self.resized(table, grid)
        # Each entry holds on to the weights it was made from: while it does, no others can lie in their place.
        source, version, resized = self._resized.get(grid, (table, -1, table))
        if source.data_ptr() != table.data_ptr() or version != table._version:
            if len(self._resized) >= MOST_GRIDS:
                self._resized.clear()
            with torch.inference_mode(False), torch.no_grad():
                resized = self.resized(table, grid)
                self._resized[grid] = table.detach(), table._version, resized
        return resized

    def resized(self, table: torch.Tensor, grid: Grid) -> torch.Tensor:
        """A position table (1 + n·n, D) -> the same for another grid, bicubically, (1, N, D); the class row stays."""
        square = table[1:].unflatten(0, (self.table_side, self.table_side)).permute(2, 0, 1)[None]  # (1, D, n, n)
        resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([table[None, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def check_pixels(name: str, pixels: torch.Tensor, channels: int) -> None:
    """Raise PictureError unless `pixels` are a tensor of the shape (B, channels, H, W)."""
    if not isinstance(pixels, torch.Tensor):
        raise PictureError(f'{name} is a {type(pixels).__name__}; expected a tensor, as by return_tensors="pt"')
    if pixels.dim() != 4 or pixels.shape[1] != channels:
        raise PictureError(f"{name} has shape {tuple(pixels.shape)}; expected (batch, {channels}, height, width)")


class VisionTransformer(nn.Module):
    """Embeddings, `pre_layrnorm` (spelled as released), layers, and the normalised class token.

    `interpolate_pos_encoding` says whether pictures of any size are taken where the call does not.
    """

    def __init__(self, config: VisionConfiguration, *, interpolate_pos_encoding: bool = True) -> None:
        super().__init__()
        self.config = config
        self.interpolate_pos_encoding = interpolate_pos_encoding
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = tower_encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Pixels (B, 3, H, W) -> states (B, N, D), not normalised, and the normalised class token (B, D).

        Options left out are the configuration's, `interpolate_pos_encoding` the tower's own.
        """
        output, _, _ = self.look(
            pixel_values,
            with_attentions=flag(output_attentions, self.config.output_attentions),
            with_states=flag(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding=flag(interpolate_pos_encoding, self.interpolate_pos_encoding),
        )
        return answer(output, self.config, return_dict)

    def look(
        self,
        pixel_values: torch.Tensor | None,
        *,
        taps: Sequence[int] = (),
        with_attentions: bool = False,
        with_states: bool = False,
        interpolate_pos_encoding: bool = True,
    ) -> tuple[BaseModelOutputWithPooling, tuple[torch.Tensor, ...], Grid]:
        """Pixels (B, 3, H, W) -> the tower's answer, outputs of the layers named in `taps`, each (B, N, D), the grid.

        Raises PictureError for pixels that are missing or cannot be.
        """
        if pixel_values is None:
            raise PictureError("You have to specify pixel_values")
        x, grid = self.embeddings(pixel_values, interpolate_pos_encoding)
        numbers = [layer + 1 for layer in taps]
        keep = range(len(self.encoder.layers) + 1) if with_states else numbers
        x, states, attentions = self.encoder(self.pre_layrnorm(x), keep=keep, with_weights=with_attentions)
        output = BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=self.post_layernorm(x[:, 0]),
            hidden_states=tuple(states.values()) if with_states else None,
            attentions=attentions,
        )
        return output, tuple(states[number] for number in numbers), grid

    def taps(
        self, pixel_values: torch.Tensor, layers: Sequence[int], *, pooled: bool = False
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None, Grid]:
        """Pixels (B, 3, H, W) -> outputs of the named layers, each (B, N, D), pooled state (B, D) or None, the grid.

        Layers deeper than the deepest named one run only if the pooled state is wanted.
        """
        if pooled:
            output, taps, grid = self.look(pixel_values, taps=layers)
            return taps, output.pooler_output, grid
        x, grid = self.embeddings(pixel_values, interpolate_pos_encoding=True)
        numbers = [layer + 1 for layer in layers]
        _, states, _ = self.encoder(self.pre_layrnorm(x), depth=max(numbers), keep=numbers)
        return tuple(states[number] for number in numbers), None, grid

    def initialise(self, config: VisionConfiguration) -> None:
        """Draw the documented initial weights."""
        factor = config.initializer_factor
        nn.init.normal_(self.embeddings.class_embedding, std=config.hidden_size**-0.5 * factor)
        nn.init.normal_(self.embeddings.patch_embedding.weight, std=config.initializer_range * factor)
        nn.init.normal_(self.embeddings.position_embedding.weight, std=config.initializer_range * factor)
        initialise_encoder(self.encoder, factor)


class CLIPSegVisionModel(PreTrainedModel):
    """CLIPSeg's vision tower on its own; it takes pictures of any size by default."""

    config_class = CLIPSegVisionConfig
    input_embeddings = PIXELS_IN

    def __init__(self, config: CLIPSegVisionConfig) -> None:
        super().__init__(config)
        self.vision_model = VisionTransformer(config)
        self.initialise()

    def _initialise(self) -> None:
        self.vision_model.initialise(self.config)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = True,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Pixels (B, 3, H, W) -> states (B, N, D), not normalised, and the normalised class token (B, D)."""
        return self.vision_model(  # type: ignore[no-any-return]
            pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding, return_dict
        )


class CLIPVisionBase(PreTrainedModel):
    """What CLIP's models of pictures alone share: the tower, which takes one size of picture unless told otherwise."""

    config_class: ClassVar[type[Configuration]] = CLIPVisionConfig
    input_embeddings = PIXELS_IN

    def __init__(self, config: CLIPVisionConfig | CLIPConfig) -> None:
        super().__init__(config)
        tower = config.vision_config if isinstance(config, CLIPConfig) else config
        self.vision_model = VisionTransformer(tower, interpolate_pos_encoding=False)

    def _initialise(self) -> None:
        self.vision_model.initialise(self.vision_model.config)


class CLIPVisionModel(CLIPVisionBase):
    """CLIP's vision tower on its own."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.initialise()

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Pixels (B, 3, H, W) -> states (B, N, D), not normalised, and the normalised class token (B, D)."""
        return self.vision_model(  # type: ignore[no-any-return]
            pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding, return_dict
        )


class CLIPVisionModelWithProjection(CLIPVisionBase):
    """CLIP's vision tower under its projection into the space it shares with texts."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.initialise()

    def _initialise(self) -> None:
        super()._initialise()
        initialise_projection(self.visual_projection, self.config.initializer_factor)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPVisionModelOutput | tuple[Any, ...]:
        """Pixels (B, 3, H, W) -> embeddings (B, E), not normalised, and the states (B, N, D) they come from."""
        vision = self.vision_model(
            pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding, return_dict=True
        )
        output = CLIPVisionModelOutput(
            image_embeds=self.visual_projection(vision.pooler_output),
            last_hidden_state=vision.last_hidden_state,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )
        return answer(output, self.config, return_dict)
