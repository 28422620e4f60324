"""What a segmenter asks of a model, whatever runs it: torch, with weights packed or as they are, or another engine.

Shapes: B pictures · P conditions · N tokens · E condition width · H, W pixels · h, w low-resolution logits.
"""

from __future__ import annotations

from typing import Protocol

import torch

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages


class Runner(Protocol):
    """The part of `CLIPSegForImageSegmentation` that segmenting needs; the model itself is the simplest of them."""

    config: CLIPSegConfig
    name_or_path: str

    @property
    def device(self) -> torch.device:
        """Where pixels and conditions are to be."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the conditions that `get_conditional_embeddings` makes; `decode` takes any."""

    def encode_images(self, pixel_values: torch.Tensor) -> EncodedImages:
        """Pixels (B, 3, H, W) -> what `decode` of the same runner needs of them."""

    def decode(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        """B pictures under conditions (P, E) or (B, P, E) -> logits (B, P, h, w), before the sigmoid."""

    def get_conditional_embeddings(
        self,
        batch_size: int | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        conditional_pixel_values: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Token ids (B, N) with their mask, or pixels (B, 3, H, W) -> conditions (B, E), not normalised."""


def torch_model(runner: Runner) -> CLIPSegForImageSegmentation | None:
    """A runner -> the torch model that it is or runs; None for an exported one."""
    inside = runner if isinstance(runner, CLIPSegForImageSegmentation) else getattr(runner, "model", None)
    return inside if isinstance(inside, CLIPSegForImageSegmentation) else None
