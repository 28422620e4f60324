"""A torch model as a segmenter runs it: its weights packed once, for the processor and the precision at hand.

    model ── unchanged ──> documented classes, training, saving
      └───── packed on first use, anew when its weights have changed ──> encode_images, decode

What cannot be packed, such as layers of another make, with hooks, or on a GPU, where torch's own kernels are as fast,
runs as it is. Either way the answers are the same, within the rounding of the precision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import UsageError
from clipseg.modeling.decoder import CLIPSegDecoder
from clipseg.modeling.dropping import drop_text_encoder
from clipseg.modeling.layers import MLP, Attention, Encoder, Layer
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.modeling.text import TextEmbeddings, TextTransformer
from clipseg.modeling.vision import VisionEmbeddings, VisionTransformer
from clipseg.runtime.layers import ACTIVATIONS
from clipseg.runtime.precision import Precision, native_int8
from clipseg.runtime.runner import Runner
from clipseg.runtime.runner import torch_model as torch_model
from clipseg.runtime.towers import PackedDecoder, PackedEmbedder, PackedVision, TextTower
from clipseg.runtime.weights import every_module, weight_state

T = TypeVar("T")

KNOWN: set[type[nn.Module]] = {
    VisionTransformer, VisionEmbeddings, TextTransformer, TextEmbeddings, CLIPSegDecoder, Encoder, Layer, Attention,
    MLP, nn.Linear, nn.LayerNorm, nn.Embedding, nn.Conv2d, nn.ConvTranspose2d, nn.ReLU, nn.ModuleList, nn.Sequential,
}  # fmt: skip
"""What packed towers are written for; a subclass may do something else."""


MANY_PHRASES = 64
"""Phrases at once from which on packing the text encoder takes less than it saves: half of the time of each."""


class FusedModel:
    """A model and what its pictures and prompts are computed in. Threads may share it; a copy packs its own."""

    def __init__(self, model: CLIPSegForImageSegmentation, precision: Precision | None = None) -> None:
        """`precision` None: the type of the model's weights. Raises UsageError for one that is not there."""
        self.model = model
        self.config: CLIPSegConfig = model.config
        self.name_or_path = model.name_or_path
        own: Any = str(model.dtype).removeprefix("torch.")
        self.precision: Precision = own if precision is None else precision
        if self.precision == "int8" and not native_int8(model.device):
            raise UsageError(
                "int8 needs a processor that multiplies 8-bit numbers (VNNI), and this one does not; "
                'use dtype "auto", or an 8-bit export for another back end'
            )
        self._packed: dict[str, tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return FusedModel, (self.model, self.precision)

    @property
    def device(self) -> torch.device:
        """Where pixels and conditions are to be."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the conditions that `get_conditional_embeddings` makes."""
        return self.model.dtype

    def encode_images(self, pixel_values: torch.Tensor) -> EncodedImages:
        """Pixels (B, 3, H, W) -> what `decode` needs of them."""
        packed = self._vision() if self._fits(pixel_values) else None
        return self.model.encode_images(pixel_values) if packed is None else packed(pixel_values)

    def decode(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        """B pictures under conditions (P, E) or (B, P, E) -> logits (B, P, h, w), before the sigmoid."""
        packed = self._decoder(encoded.reduced[0].shape[1])
        of_each = conditions.expand(len(encoded), -1, -1) if conditions.dim() == 2 else conditions
        fits = of_each.shape[:1] + of_each.shape[2:] == (len(encoded), self.config.projection_dim)
        if packed is None or not fits or of_each.shape[1] == 0:
            return self.model.decode(encoded, conditions)  # which says what is wrong
        return packed(encoded, of_each)

    def get_conditional_embeddings(
        self,
        batch_size: int | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        conditional_pixel_values: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Token ids (B, N) with their mask, or pixels (B, 3, H, W) -> conditions (B, E), not normalised."""
        clip, method = self.model.clip, "get_conditional_embeddings"
        if input_ids is not None and attention_mask is not None and position_ids is None:
            reads = self._text(packed=input_ids.shape[:1].numel() >= MANY_PHRASES or "packed text" in self._packed)
            if reads is not None:
                return reads(input_ids, attention_mask)
        if input_ids is None and self._fits(conditional_pixel_values) and (below := self._vision()) is not None:
            parts = (clip.vision_model, clip.visual_projection)
            looks = self._current("pictures", method, parts, lambda: PackedEmbedder(self.model, below, self.precision))
            if looks is not None:
                return looks(conditional_pixel_values)  # type: ignore[arg-type]  # there, as it fits
        return self.model.get_conditional_embeddings(
            batch_size, input_ids, attention_mask, position_ids, conditional_pixel_values
        )

    def pack(self) -> None:
        """Pack now what would be packed when it is first used, and the text encoder as well: for who answers for long.

        Phrases are read with packed weights from then on, as they are of `MANY_PHRASES` at once.
        """
        with torch.inference_mode():
            self._vision()
            self._decoder(1 + self.model.clip.vision_model.embeddings.table_side**2)
            self._text(packed=True)

    def _text(self, *, packed: bool) -> TextTower | None:
        clip = self.model.clip
        parts, method = (clip.text_model, clip.text_projection), "get_conditional_embeddings"
        if packed:
            return self._current("packed text", method, parts, lambda: TextTower.packed(clip, self.precision))
        return self._current("text", method, parts, lambda: TextTower.in_place(clip))

    def _decoder(self, rows: int) -> PackedDecoder | None:
        decoder = self.model.decoder
        return self._current("decoder", "decode", (decoder,), lambda: PackedDecoder(decoder, self.precision, rows))

    def _vision(self) -> PackedVision | None:
        parts = (self.model.clip.vision_model, self.model.decoder.reduces)
        return self._current("vision", "encode_images", parts, lambda: PackedVision(self.model, self.precision))

    def _fits(self, pixels: torch.Tensor | None) -> bool:
        """Whether the vision tower takes these pixels; the model says what is wrong with others."""
        vision = self.config.vision_config
        if pixels is None or pixels.dim() != 4 or pixels.shape[1] != vision.num_channels:
            return False
        return min(pixels.shape[2:]) >= vision.patch_size

    def drop_text_encoder(self) -> None:
        """Let go of the text encoder's weights, as `modeling.dropping` says, and of what was packed of them."""
        with self._lock:
            drop_text_encoder(self.model)
            self._packed.pop("text", None)
            self._packed.pop("packed text", None)

    def _current(self, name: str, method: str, parts: tuple[nn.Module, ...], pack: Callable[[], T]) -> T | None:
        """A method of the model and the parts it runs -> these packed, anew if they changed; None: run the model."""
        own = getattr(getattr(self.model, method), "__func__", None)
        replaced = own is not vars(CLIPSegForImageSegmentation)[method]  # by a subclass, or in this very model
        if self.device.type != "cpu" or replaced or torch.is_grad_enabled():
            return None
        modules = every_module(parts)
        state = weight_state(modules) if all(map(_is_known, modules)) else None
        if state is None:
            return None
        found: tuple[Any, T] | None = self._packed.get(name)
        if found is not None and found[0] == state:
            return found[1]
        with self._lock:
            found = self._packed.get(name)
            if found is None or found[0] != state:
                found = self._packed[name] = state, pack()
        return found[1]


def lanes(runner: Runner) -> int:
    """A model -> how many threads, of one processor each, may best take pictures of their own through it at once.

    On a CPU that is as fast as all of them on one batch, and what else the processors have to do, such as decoding and
    finishing, then holds up one thread and not all of them, between any two steps. What is packed gives each picture
    the same numbers either way, but for int8, whose scale is of a batch. Elsewhere the device is there once: 1.
    """
    alike = type(runner) is FusedModel and runner.precision in ("float32", "bfloat16")
    return torch.get_num_threads() if alike and runner.device.type == "cpu" else 1


def _is_known(module: nn.Module) -> bool:
    """Whether a module is of the makes that are packed, without hooks, and not in training."""
    return (
        type(module) in KNOWN
        and not (module.training or module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
        and (not isinstance(module, MLP) or module.act in ACTIVATIONS)
    )
