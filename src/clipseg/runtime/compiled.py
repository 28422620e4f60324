"""A torch model through `torch.compile`: what a GPU gains by is fewer, larger kernels, replayed as CUDA graphs.

Each shape is compiled once, which takes from seconds to a minute; so that there are few, prompts are filled up to a
power of two. On a CPU packed weights (`fused`) are as fast without the wait, so compiling is never chosen unasked.

Shapes: B pictures · P conditions · E condition width · H, W pixels · h, w low-resolution logits.
"""

from __future__ import annotations

import shutil
from typing import Any

import torch

from clipseg.errors import MissingPackageError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.runtime.fused import FusedModel

COMPILERS = ("g++", "clang++", "c++")


class CompiledModel(FusedModel):
    """A model whose two halves are compiled when they are first used; phrases, which differ in length, are not."""

    def __init__(self, model: CLIPSegForImageSegmentation, engine: str = "inductor") -> None:
        """`engine` is a back end of `torch.compile`. Raises MissingPackageError where inductor has no C++ compiler."""
        if engine == "inductor" and not any(map(shutil.which, COMPILERS)):
            raise MissingPackageError(
                "compile=True needs a C++ compiler and there is none; install g++, or leave compile out"
            )
        super().__init__(model)
        self.engine = engine
        replayed = engine == "inductor" and self.device.type == "cuda"
        graphs: dict[str, Any] = {"mode": "reduce-overhead"} if replayed else {}
        self._encode: Any = torch.compile(_tensors_of(model), backend=engine, dynamic=False, **graphs)
        self._decode: Any = torch.compile(model.decode, backend=engine, dynamic=False, **graphs)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledModel, (self.model, self.engine)

    def encode_images(self, pixel_values: torch.Tensor) -> EncodedImages:
        """Pixels (B, 3, H, W) -> what `decode` needs of them."""
        *reduced, rows, columns = self._encode(pixel_values)
        kept = tuple(tap.clone() for tap in reduced)  # for a replayed graph writes over its own
        return EncodedImages(kept, (rows, columns))

    def decode(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        """B pictures under conditions (P, E) or (B, P, E) -> logits (B, P, h, w), before the sigmoid."""
        prompts = conditions.shape[-2]
        filled = torch.nn.functional.pad(conditions, (0, 0, 0, (1 << (prompts - 1).bit_length()) - prompts))
        logits: torch.Tensor = self._decode(encoded, filled)[:, :prompts]
        return logits.clone()

    def pack(self) -> None:
        """Pack the text encoder, which is not compiled."""
        with torch.inference_mode():
            self._text(packed=True)


def _tensors_of(model: CLIPSegForImageSegmentation) -> Any:
    def encode(pixels: torch.Tensor) -> tuple[Any, ...]:
        encoded = model.encode_images(pixels)
        return (*encoded.reduced, *encoded.grid)

    return encode
