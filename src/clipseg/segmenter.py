"""The segmenter: pictures and prompts in, masks out. Encode a picture once, ask as many things of it as you like.

    segmenter = Segmenter.from_pretrained("nano")
    features = segmenter.encode("kitchen.jpg")
    masks = segmenter.segment(features, ["a glass", "wood"])
    masks["wood"].binary(0.4)

Shapes: P prompts · E condition width · H, W picture · h, w low-resolution logits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from PIL import Image

from clipseg.errors import CheckpointNotFoundError, PictureError, UsageError
from clipseg.masks.masks import Masks
from clipseg.modeling.pretrained import parse_dtype
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.images import PictureSource, to_rgb
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.prompting.conditioning import Conditioner, ImageProcessorOnly
from clipseg.prompting.prompts import PromptSource, as_prompts

DEFAULT_MODEL = "CIDAS/clipseg-rd64-refined"
RELEASED_SIDE = 352  # pixels
PROMPT_CHUNK = 8  # conditions decoded at once: their activations stay in a processor's cache
PICTURE_BATCH = 8


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What a segmenter keeps of one picture: a value to hand around, good for any number of prompts.

    Fields
        encoded  reduced activations and patch grid; about a twelfth of the raw ones in size
        size_hw  of the picture, in pixels
        picture  the picture itself in RGB, for overlays
    """

    encoded: EncodedImages
    size_hw: tuple[int, int]
    picture: Image.Image


class Segmenter:
    """A model with its preprocessing, ready to be asked. No method changes it."""

    def __init__(
        self,
        model: CLIPSegForImageSegmentation,
        processor: CLIPSegProcessor | ViTImageProcessor | None = None,
    ) -> None:
        """Without a processor: the one beside the model's own files, or else the released preprocessing (352 x 352).

        The latter has no tokenizer: pictures, boxes and embeddings are prompts then, phrases are not.
        """
        self.model = model.eval()
        self.processor = _processor_for(model, processor)
        self._conditioner = Conditioner(model, self.processor)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Segmenter:
        """A folder, the bundled name `nano` or a hub id -> a segmenter.

        `device` "auto" takes a GPU where there is one; `dtype` "auto" is float32. Raises CheckpointNotFoundError
        where the model is neither here nor reachable, and CheckpointMismatchError for one that does not fit.
        """
        where: dict[str, Any] = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "local_files_only": local_files_only,
        }
        wanted = torch.float32 if dtype == "auto" else parse_dtype(dtype, {})
        chosen = _device(device)
        model = CLIPSegForImageSegmentation.from_pretrained(name_or_path, dtype=wanted, device=chosen, **where)
        return cls(model, CLIPSegProcessor.from_pretrained(name_or_path, **where))

    @overload
    def encode(self, picture: PictureSource) -> ImageFeatures: ...
    @overload
    def encode(self, picture: list[PictureSource] | tuple[PictureSource, ...]) -> list[ImageFeatures]: ...
    def encode(
        self, picture: PictureSource | list[PictureSource] | tuple[PictureSource, ...]
    ) -> ImageFeatures | list[ImageFeatures]:
        """A picture -> its features; a list or tuple of pictures -> a list of features."""
        if isinstance(picture, (list, tuple)):
            return list(self._encode_all(picture, PICTURE_BATCH))
        return next(self._encode_all([picture], 1))

    def embed(self, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        """P prompts -> conditions (P, E) on the CPU, float32, not normalised; they can be prompts again."""
        return self._embed(prompts).float().cpu()

    def segment(
        self, picture: PictureSource | ImageFeatures, prompts: PromptSource | Iterable[PromptSource]
    ) -> Masks:
        """A picture, or its features, under P prompts -> P masks. One prompt still makes a `Masks` of one."""
        asked = as_prompts(prompts)
        features = picture if isinstance(picture, ImageFeatures) else self.encode(picture)
        return self._masks(features, self._embed(asked), [prompt.label for prompt in asked])

    def segment_many(
        self,
        pictures: Iterable[PictureSource | ImageFeatures],
        prompts: PromptSource | Iterable[PromptSource],
        *,
        batch_size: int = PICTURE_BATCH,
    ) -> list[Masks]:
        """Pictures under the same P prompts -> a `Masks` each, in order. The prompts are embedded once."""
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; expected at least 1")
        asked = as_prompts(prompts)
        labels, conditions = [prompt.label for prompt in asked], self._embed(asked)
        found: list[Masks] = []
        waiting: list[PictureSource] = []
        for picture in pictures:
            if isinstance(picture, ImageFeatures):
                found += (self._masks(item, conditions, labels) for item in self._encode_all(waiting, batch_size))
                found.append(self._masks(picture, conditions, labels))
                waiting = []
                continue
            waiting.append(picture)
            if len(waiting) == batch_size:
                found += (self._masks(item, conditions, labels) for item in self._encode_all(waiting, batch_size))
                waiting = []
        found += (self._masks(item, conditions, labels) for item in self._encode_all(waiting, batch_size))
        return found

    @torch.inference_mode()
    def similarity(self, picture: PictureSource, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        """A picture and P prompts -> cosines (P,) between -1 and 1, as CLIP compares pictures and texts."""
        conditions = self._embed(prompts)
        pixels = self.processor.image_processor.pixel_values(to_rgb(picture)).to(self.model.device)
        feature = self.model.clip.get_image_features(pixels)
        return F.cosine_similarity(conditions.float(), feature.float()).cpu()

    # ------------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _embed(self, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        return self._conditioner.embed(as_prompts(prompts))

    @torch.inference_mode()
    def _encode_all(self, pictures: Sequence[PictureSource], batch_size: int) -> Iterator[ImageFeatures]:
        """Features of pictures; neighbours whose input has one size go through the model together."""
        images = [to_rgb(picture) for picture in pictures]
        pixels = [self.processor.image_processor.pixel_values(image) for image in images]
        start = 0
        while start < len(images):
            stop = start + 1
            while stop < min(len(images), start + batch_size) and pixels[stop].shape == pixels[start].shape:
                stop += 1
            encoded = self.model.encode_images(torch.cat(pixels[start:stop]).to(self.model.device))
            for place, image in enumerate(images[start:stop]):
                own = tuple(tap[place : place + 1] for tap in encoded.reduced)
                yield ImageFeatures(EncodedImages(own, encoded.grid), (image.height, image.width), image)
            start = stop

    @torch.inference_mode()
    def _masks(self, features: ImageFeatures, conditions: torch.Tensor, labels: Sequence[str]) -> Masks:
        self._check_features(features)
        logits = [self.model.decode(features.encoded, chunk)[0].float().cpu() for chunk in conditions.split(PROMPT_CHUNK)]
        return Masks(torch.cat(logits), tuple(labels), features.size_hw, features.picture)

    def _check_features(self, features: ImageFeatures) -> None:
        taps, width = features.encoded.reduced, self.model.config.reduce_dim
        if len(taps) != len(self.model.extract_layers) or taps[0].shape[2] != width:
            raise PictureError("these image features come from another model; encode the picture with this segmenter")


def _device(name: str | torch.device) -> torch.device:
    """A device, its name, or "auto": a GPU where there is one -> the device. Raises UsageError for one not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {str(name)!r} is not available here ({reason}); use auto or cpu") from None
    return device


def _processor_for(
    model: CLIPSegForImageSegmentation, given: CLIPSegProcessor | ViTImageProcessor | None
) -> CLIPSegProcessor | ImageProcessorOnly:
    if isinstance(given, CLIPSegProcessor):
        return given
    if given is not None:
        return ImageProcessorOnly(given)
    if model.name_or_path:
        try:
            return CLIPSegProcessor.from_pretrained(model.name_or_path, local_files_only=True)
        except CheckpointNotFoundError:
            pass  # a folder of weights alone
    size = {"height": RELEASED_SIDE, "width": RELEASED_SIDE}
    return ImageProcessorOnly(ViTImageProcessor(size=size, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD))
