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
        if self.processor.image_processor.do_center_crop:
            raise UsageError("the image processor crops pictures, so masks would not fit; set do_center_crop=False")
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
            return list(self._features(picture, PICTURE_BATCH))
        return next(self._features([picture], 1))

    def embed(self, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        """P prompts -> conditions (P, E) on the CPU, float32, not normalised; they can be prompts again."""
        conditions = self._conditioner.embed(as_prompts(prompts))
        return conditions.clone().float().cpu()  # cloned out here it is no inference tensor: it may be trained

    def segment(self, picture: PictureSource | ImageFeatures, prompts: PromptSource | Iterable[PromptSource]) -> Masks:
        """A picture, or its features, under P prompts -> P masks. One prompt still makes a `Masks` of one."""
        asked = as_prompts(prompts)
        features = next(self._features([picture], 1))
        return self._masks(features, self._conditioner.embed(asked), [prompt.label for prompt in asked])

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
        labels, conditions = [prompt.label for prompt in asked], self._conditioner.embed(asked)
        return [self._masks(features, conditions, labels) for features in self._features(pictures, batch_size)]

    def similarity(self, picture: PictureSource, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        """A picture and P prompts -> cosines (P,) between -1 and 1, as CLIP compares pictures and texts."""
        conditions = self._conditioner.embed(as_prompts(prompts))
        pixels = self.processor.image_processor.pixel_values(to_rgb(picture)).to(self.model.device)
        with torch.inference_mode():
            feature = self.model.clip.get_image_features(pixels)
        cosines = F.cosine_similarity(conditions.float(), feature.float())
        return cosines.clamp(-1, 1).cpu()  # rounding may lead just beyond

    # ------------------------------------------------------------------------------------------------------------

    def _features(self, pictures: Iterable[PictureSource | ImageFeatures], batch_size: int) -> Iterator[ImageFeatures]:
        """Features of pictures in order, as far as they are not features already.

        Neighbours whose input has one size go through the model together, `batch_size` at a time.
        """
        waiting: list[tuple[Image.Image, torch.Tensor]] = []
        for picture in pictures:
            if isinstance(picture, ImageFeatures):
                yield from self._encode_batch(waiting)
                waiting = []
                yield picture
                continue
            image = to_rgb(picture)
            pixels = self.processor.image_processor.pixel_values(image)  # (1, 3, h, w)
            if waiting and (len(waiting) == batch_size or waiting[0][1].shape != pixels.shape):
                yield from self._encode_batch(waiting)
                waiting = []
            waiting.append((image, pixels))
        yield from self._encode_batch(waiting)

    @torch.inference_mode()
    def _encode_batch(self, batch: Sequence[tuple[Image.Image, torch.Tensor]]) -> list[ImageFeatures]:
        if not batch:
            return []
        encoded = self.model.encode_images(torch.cat([pixels for _, pixels in batch]).to(self.model.device))
        return [
            ImageFeatures(
                EncodedImages(tuple(tap[place : place + 1] for tap in encoded.reduced), encoded.grid),
                (image.height, image.width),
                image,
            )
            for place, (image, _) in enumerate(batch)
        ]

    def _masks(self, features: ImageFeatures, conditions: torch.Tensor, labels: Sequence[str]) -> Masks:
        self._check_features(features)
        with torch.inference_mode():
            chunks = conditions.split(PROMPT_CHUNK)
            logits = [self.model.decode(features.encoded, chunk)[0].float().cpu() for chunk in chunks]
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
