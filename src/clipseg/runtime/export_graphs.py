"""A model cut into the graphs that are exported, and what goes into them: each is a module that knows its own weights.

    pixels ──> picture_encoder ──> reduced taps ─────────┐
                      └──> state ──> picture_embedder ─┐ ├──> decoder ──> logits
    ids, mask ──────> text_encoder ──────> conditions ─┴─┘

No two of them hold the same weights. What is written here anew, not called, is what fixes a shape while it is traced:
`len` of a tensor, and the shortcut for the position table's own grid.

Shapes: B pictures · P conditions · S tokens of a text · N = 1 + rows·columns tokens of a picture · D tower width ·
d decoder width · E condition width · H, W pixels · h, w low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clipseg.modeling.embeddings import LEGACY_EOS
from clipseg.modeling.layers import Encoder, padded_causal_mask
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation

PICTURE_ENCODER, TEXT_ENCODER = "picture_encoder", "text_encoder"
DECODER, PICTURE_EMBEDDER = "decoder", "picture_embedder"

Inputs = tuple[Any, ...]
"""Tensors and, of the decoder, two whole numbers, in the order of a graph's inputs."""


class PictureEncoder(nn.Module):
    """The vision tower as far as the deepest tap, and what reduces the taps."""

    def __init__(self, model: CLIPSegForImageSegmentation) -> None:
        super().__init__()
        tower = model.clip.vision_model
        self.numbers = [layer + 1 for layer in model.extract_layers]
        self.embeddings = tower.embeddings
        self.norm = tower.pre_layrnorm
        self.encoder = Encoder(list(tower.encoder.layers[: max(self.numbers)]))  # type: ignore[arg-type]
        self.reduces = model.decoder.reduces

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Pixels (B, 3, H, W) -> reduced taps (B, N, d), deepest first, and the state of the deepest tap (B, N, D)."""
        own = self.embeddings
        patches = own.patch_embedding(pixels)  # (B, D, rows, columns)
        token = own.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([token, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, N, D)
        x = x + own.resized(own.position_embedding.weight, (patches.shape[2], patches.shape[3]))
        x, states, _ = self.encoder(self.norm(x), keep=self.numbers)
        deepest_first = reversed([states[number] for number in self.numbers])
        return *(reduce(tap) for reduce, tap in zip(self.reduces, deepest_first, strict=True)), x


class PictureEmbedder(nn.Module):
    """What of the vision tower the picture encoder lacks, and the projection."""

    def __init__(self, model: CLIPSegForImageSegmentation) -> None:
        super().__init__()
        tower = model.clip.vision_model
        self.encoder = Encoder(list(tower.encoder.layers[max(model.extract_layers) + 1 :]))  # type: ignore[arg-type]
        self.norm = tower.post_layernorm
        self.projection = model.clip.visual_projection

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """The state of the deepest tap (B, N, D) -> embeddings (B, E), not normalised."""
        x, _, _ = self.encoder(state)
        return self.projection(self.norm(x[:, 0]))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """The text tower and its projection."""

    def __init__(self, model: CLIPSegForImageSegmentation) -> None:
        super().__init__()
        self.tower = model.clip.text_model
        self.projection = model.clip.text_projection

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Ids and keep flags (P, S) -> conditions (P, E), not normalised."""
        x = self.tower.embeddings(ids)  # (P, S, width)
        x, _, _ = self.tower.encoder(x, padded_causal_mask(mask, x.dtype))
        ends = self.tower.end_positions(ids)[:, None, None].expand(-1, 1, x.shape[2])
        return self.projection(self.tower.final_layer_norm(x.gather(1, ends)[:, 0]))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The decoder, of CLIPSeg or of the baseline."""

    def __init__(self, model: CLIPSegForImageSegmentation) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, conditions: torch.Tensor, rows: int, columns: int, *taps: torch.Tensor) -> torch.Tensor:
        """Conditions (B, P, E), the grid and reduced taps (B, N, d), deepest first -> logits (B, P, h, w)."""
        logits, _, _ = self.decoder(list(taps), conditions, (rows, columns))
        return logits  # type: ignore[no-any-return]


Axes = Mapping[int, str]
"""The axes of a tensor that are free, by name."""


@dataclass(frozen=True)
class Graph:
    """A module to export: its name, and of all its inputs and outputs, in order, which axes are free.

    An input without axes, None, is a whole number.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Axes | None]
    outputs: Mapping[str, Axes]


def tap_names(taps: int) -> tuple[str, ...]:
    """How many taps a model has -> what they are called in the graphs, deepest first."""
    return tuple(f"tap_{number}" for number in range(taps))


def graphs_of(model: CLIPSegForImageSegmentation, size_hw: tuple[int, int] | None) -> list[Graph]:
    """A model -> its four graphs; with `size_hw`, pictures of that one size."""
    state = {0: "pictures"} if size_hw else {0: "pictures", 1: "tokens"}
    pixels = {0: "pictures"} if size_hw else {0: "pictures", 2: "height", 3: "width"}
    taps = dict.fromkeys(tap_names(len(model.extract_layers)), state)
    text = {0: "prompts", 1: "length"}
    conditions, grid = {0: "pictures", 1: "prompts"}, {"rows": None, "columns": None}
    return [
        Graph(PICTURE_ENCODER, PictureEncoder(model), {"pixels": pixels}, {**taps, "state": state}),
        Graph(TEXT_ENCODER, TextEncoder(model), {"ids": text, "mask": text}, {"conditions": {0: "prompts"}}),
        Graph(
            DECODER,
            Decoder(model),
            {"conditions": conditions, **grid, **taps},
            {"logits": {**conditions, 2: "height", 3: "width"}},
        ),
        Graph(PICTURE_EMBEDDER, PictureEmbedder(model), {"state": state}, {"embeddings": {0: "pictures"}}),
    ]


def rehearsals(
    model: CLIPSegForImageSegmentation, size_hw: tuple[int, int] | None
) -> Iterator[dict[str, tuple[Inputs, tuple[torch.Tensor, ...]]]]:
    """A model -> twice, for two sets of shapes: graph -> random inputs, and what torch's own model makes of them.

    The first set is the one to trace with: none of its axes is 1, and no two that are free are equally long.
    """
    side, patch = model.config.vision_config.image_size, model.config.vision_config.patch_size
    wide = size_hw or (4 * patch, 5 * patch)
    square = size_hw or (side, side)
    longest = model.config.text_config.max_position_embeddings
    draw = torch.Generator().manual_seed(0)
    for pictures, prompts, length, (height, width) in ((2, 3, min(6, longest), wide), (1, 1, longest, square)):
        pixels = torch.randn(pictures, model.config.vision_config.num_channels, height, width, generator=draw)
        ids, mask = _texts(model, prompts, length, draw)
        encoded = model.encode_images(pixels)
        conditions = model.get_conditional_embeddings(prompts, ids, mask)
        each = conditions.expand(pictures, -1, -1).contiguous()
        (state,), _, _ = model.clip.vision_model.taps(pixels, [max(model.extract_layers)])
        yield {
            PICTURE_ENCODER: ((pixels,), (*encoded.reduced, state)),
            TEXT_ENCODER: ((ids, mask), (conditions,)),
            DECODER: ((each, *encoded.grid, *encoded.reduced), (model.decode(encoded, conditions),)),
            PICTURE_EMBEDDER: ((state,), (model.get_conditional_embeddings(conditional_pixel_values=pixels),)),
        }


def _texts(
    model: CLIPSegForImageSegmentation, count: int, length: int, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """-> ids and keep flags (count, length) of random texts, each one shorter than the one before it."""
    config = model.config.text_config
    end = config.vocab_size - 1 if config.eos_token_id in (None, LEGACY_EOS) else config.eos_token_id
    ids = torch.randint(0, config.vocab_size, (count, length), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(count):
        last = length - 1 - row % length
        ids[row, last:] = end
        mask[row, last + 1 :] = 0
    return ids, mask
