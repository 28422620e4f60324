"""The two halves of CLIPSeg with packed weights: pictures to reduced taps, and those under conditions to logits.

Shapes: B pictures · P conditions · H, W pixels · p patch side · (gh, gw) patch grid · N = 1 + gh·gw tokens · D tower
width · d decoder width · E condition width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.modeling.clip import CLIPSegModel
from clipseg.modeling.decoder import CLIPSegDecoder, modulation
from clipseg.modeling.layers import Encoder, Layer, padded_causal_mask
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.modeling.text import check_ids
from clipseg.modeling.vision import Grid
from clipseg.runtime.layers import LayerInPlace, PackedLayer
from clipseg.runtime.linear import packed
from clipseg.runtime.memory import let_go
from clipseg.runtime.precision import Precision, beside

_MaskedLayer: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_TOKENS = 8  # of a phrase, as most are: what its packed weights are laid out for


class PackedVision:
    """The vision tower to its deepest tap, and the reductions of the taps."""

    def __init__(self, model: CLIPSegForImageSegmentation, precision: Precision) -> None:
        tower = model.clip.vision_model
        self._embeddings, self._norm, self._taps = tower.embeddings, tower.pre_layrnorm, list(model.extract_layers)
        finer = beside(precision, model.device)
        self._dtype = getattr(torch, finer)
        convolution = tower.embeddings.patch_embedding
        self._patch = tower.embeddings.patch_size
        rows = 1 + tower.embeddings.table_side**2
        # Pixels and reductions take a thirtieth of the time: they stay in the finer precision.
        self._patches = packed(convolution.weight.flatten(1), None, finer, rows)
        self._layers = []
        for layer in _layers(tower.encoder)[: max(self._taps) + 1]:
            self._layers.append(PackedLayer(layer, precision, rows))
            let_go(layer.parameters())
        self._reduces = [packed(each.weight, each.bias, finer, rows) for each in model.decoder.reduces]

    def __call__(self, pixels: torch.Tensor) -> EncodedImages:
        """Pixels (B, 3, H, W), each side at least p -> what the decoder needs of them."""
        x, grid = self._embedded(pixels)
        taps = {}
        for number, layer in enumerate(self._layers):
            x = layer(x)
            if number in self._taps:
                taps[number] = x
        deepest_first = [taps[tap] for tap in reversed(self._taps)]
        reduced = (reduce(tap) for reduce, tap in zip(self._reduces, deepest_first, strict=True))
        return EncodedImages(tuple(reduced), grid)

    def deepest(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) -> the state (B, N, D) at the deepest tap."""
        x, _ = self._embedded(pixels)
        for layer in self._layers:
            x = layer(x)
        return x

    def _embedded(self, pixels: torch.Tensor) -> tuple[torch.Tensor, Grid]:
        side = self._patch
        grid = (pixels.shape[2] // side, pixels.shape[3] // side)
        cells = pixels[:, :, : grid[0] * side, : grid[1] * side].to(self._dtype)
        cells = cells.unflatten(2, (-1, side)).unflatten(4, (-1, side))  # (B, 3, gh, p, gw, p)
        patches = self._patches(cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))  # (B, N - 1, D)
        first = self._embeddings.class_embedding.detach().expand(len(pixels), 1, -1)
        x = torch.cat([first, patches.to(first.dtype)], dim=1) + self._embeddings.positions(grid)
        return self._norm(x).to(self._dtype), grid


class PackedEmbedder:
    """What of CLIP's vision tower lies above the deepest tap: pictures to embeddings, as conditions or to compare."""

    def __init__(self, model: CLIPSegForImageSegmentation, below: PackedVision, precision: Precision) -> None:
        tower, rows = model.clip.vision_model, 1 + model.clip.vision_model.embeddings.table_side**2
        self._below, self._norm, self._projection = below, tower.post_layernorm, model.clip.visual_projection
        above = _layers(tower.encoder)[max(model.extract_layers) + 1 :]
        self._layers = [PackedLayer(layer, precision, rows) for layer in above]
        let_go(parameter for layer in above for parameter in layer.parameters())

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W), each side at least p -> embeddings (B, E), not normalised, of the weights' type."""
        x = self._below.deepest(pixels)
        for layer in self._layers:
            x = layer(x)
        embeddings: torch.Tensor = self._projection(self._norm(x[:, 0].to(self._norm.weight.dtype)))
        return embeddings


class PackedDecoder:
    """Reduced taps under conditions -> logits. Transposed convolutions whose stride is their kernel are products."""

    def __init__(self, decoder: CLIPSegDecoder, precision: Precision, rows: int) -> None:
        # Eight bits would not gain: the inner products are 64 long, and half of the time goes into attention.
        precision = beside(precision, decoder.film_mul.weight.device)
        self._decoder, self._dtype = decoder, getattr(torch, precision)
        self._layers = [PackedLayer(layer, precision, rows) for layer in _layers(decoder)]
        head: Any = decoder.transposed_convolution
        self._refinement: _Refinement | None = None
        if isinstance(head, nn.Sequential):
            parts: list[Any] = list(head)
            convolution, _, inner, _, head = parts
            self._refinement = _Refinement(convolution, inner, precision, rows)
        self._last = _Enlarging(head, precision, rows, "none")

    def __call__(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        """B pictures and conditions (B, P, E) -> logits (B, P, H, W) float32."""
        decoder = self._decoder
        batch, prompts = conditions.shape[:2]
        dtype = decoder.film_mul.weight.dtype
        mul, add = (
            each.to(self._dtype) for each in modulation(decoder.film_mul, decoder.film_add, conditions.to(dtype))
        )
        y = torch.zeros((), dtype=self._dtype, device=conditions.device)
        for step, layer in enumerate(self._layers):
            y = encoded.reduced[step].to(self._dtype)[:, None] + y  # (B, 1 or P, N, d)
            if step == decoder.conditional_layer:
                y = mul * y + add  # (B, P, N, d)
            y = layer(y.flatten(0, 1)).unflatten(0, y.shape[:2])
        cells = y.flatten(0, 1)[:, 1:].unflatten(1, encoded.grid)  # (B·P, gh, gw, d)
        if self._refinement is not None:
            cells = self._refinement(cells)
        logits: torch.Tensor = self._last(cells)[..., 0].float().unflatten(0, (batch, prompts))
        return logits


class _Refinement:
    """What a refined head does first: a convolution over neighbouring cells, and each of them enlarged."""

    def __init__(self, convolution: nn.Conv2d, inner: nn.ConvTranspose2d, precision: Precision, rows: int) -> None:
        dtype = getattr(torch, precision)
        self._kernel = convolution.weight.detach().to(dtype, copy=True, memory_format=torch.channels_last)
        self._bias = torch.zeros(len(self._kernel)) if convolution.bias is None else convolution.bias.detach()
        self._bias = self._bias.to(dtype, copy=True)
        self._enlarging = _Enlarging(inner, precision, rows, "relu")

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """(B, gh, gw, d) -> (B, k·gh, k·gw, d / 2)."""
        channels_first = cells.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        refined = F.relu_(F.conv2d(channels_first, self._kernel, self._bias, padding=1))
        return self._enlarging(refined.permute(0, 2, 3, 1))


class _Enlarging:
    """A transposed convolution whose stride is its kernel k: each cell becomes k x k cells of its own."""

    def __init__(self, convolution: nn.ConvTranspose2d, precision: Precision, rows: int, post: str) -> None:
        self._side = convolution.kernel_size[0]
        weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (k·k·O, I)
        bias = torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias.detach()
        self._product = packed(weight, bias.repeat(self._side**2), precision, rows, post)

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """(B, gh, gw, I) -> (B, k·gh, k·gw, O)."""
        side = self._side
        fine: torch.Tensor = self._product(cells).unflatten(3, (side, side, -1))  # (B, gh, gw, k, k, O)
        return fine.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class TextTower:
    """The text tower: with its weights where they are, or packed, which takes as long as reading some 60 phrases."""

    def __init__(self, clip: CLIPSegModel, layers: Sequence[_MaskedLayer], dtype: torch.dtype) -> None:
        self._clip, self._layers, self._dtype = clip, layers, dtype
        self._finest = clip.text_projection.weight.dtype

    @classmethod
    def in_place(cls, clip: CLIPSegModel) -> TextTower:
        """For few phrases."""
        layers = [LayerInPlace(layer) for layer in _layers(clip.text_model.encoder)]
        return cls(clip, layers, clip.text_projection.weight.dtype)

    @classmethod
    def packed(cls, clip: CLIPSegModel, precision: Precision) -> TextTower:
        """For many phrases, or one after another for long: of each it takes half of the time."""
        finer = beside(precision, clip.text_projection.weight.device)  # for 8-bit numbers there are too few rows
        layers = []
        for layer in _layers(clip.text_model.encoder):
            layers.append(PackedLayer(layer, finer, _TOKENS))
            let_go(layer.parameters())
        return cls(clip, layers, getattr(torch, finer))

    def __call__(self, ids: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Ids and keep flags (P, N) -> conditions (P, E), not normalised."""
        tower = self._clip.text_model
        check_ids("input_ids", ids, tower.embeddings.token_embedding.num_embeddings)
        x = tower.embeddings(ids).to(self._dtype)
        mask = padded_causal_mask(keep, x.dtype)
        for layer in self._layers:
            x = layer(x, mask)
        ends = x[torch.arange(len(x)), tower.end_positions(ids)]
        conditions: torch.Tensor = self._clip.text_projection(tower.final_layer_norm(ends.to(self._finest)))
        return conditions


def _layers(stack: Encoder | CLIPSegDecoder) -> list[Layer]:
    return list(stack.layers)  # type: ignore[arg-type]  # a list of modules forgets what they are
