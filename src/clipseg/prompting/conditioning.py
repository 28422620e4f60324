"""Prompts in, condition vectors out: batched, each distinct phrase once, and phrases remembered.

Shapes: P prompts · E condition width · H, W example picture · h, w the model's input.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from clipseg.errors import PromptError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.images import to_mask, to_rgb
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, Prompt, TextPrompt
from clipseg.prompting.visual import engineer, style_named

REMEMBERED_TEXTS = 10_000  # phrases; 2 kB each at E = 512
TEXT_BATCH = 256
IMAGE_BATCH = 8


class Conditioner:
    """Turns prompts into vectors with one model and its processor; remembers phrases as long as the weights stay."""

    def __init__(self, model: CLIPSegForImageSegmentation, processor: CLIPSegProcessor | ImageProcessorOnly) -> None:
        self.model = model
        self.processor = processor
        self._texts: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._weights: tuple[tuple[int, int], ...] | None = None

    def embed(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """P prompts -> conditions (P, E), not normalised, on the model's device and of its type.

        Raises PromptError for an embedding of another width, a mask of another size than its picture, or a phrase
        where there is no tokenizer, and PictureError for a picture that cannot be read. A phrase too long for the
        model is cut off, with a warning that names it.
        """
        leaves = list(dict.fromkeys(leaf for prompt in prompts for leaf in _leaves(prompt)))
        vectors: dict[Prompt, torch.Tensor] = {}
        texts = [leaf for leaf in leaves if isinstance(leaf, TextPrompt)]
        images = [leaf for leaf in leaves if isinstance(leaf, ImagePrompt)]
        vectors.update(zip(texts, self._embed_texts([text.text for text in texts]), strict=True))
        vectors.update(zip(images, self._embed_images(images), strict=True))
        for leaf in leaves:
            if isinstance(leaf, EmbeddingPrompt):
                vectors[leaf] = self._checked(leaf)
        return torch.stack([self._combined(prompt, vectors) for prompt in prompts])

    def _combined(self, prompt: Prompt, vectors: dict[Prompt, torch.Tensor]) -> torch.Tensor:
        if not isinstance(prompt, MixedPrompt):
            return vectors[prompt]
        return torch.stack([weight * self._combined(part, vectors) for weight, part in prompt.parts]).sum(0)

    def _checked(self, prompt: EmbeddingPrompt) -> torch.Tensor:
        width = self.model.config.projection_dim
        if len(prompt.embedding) != width:
            raise PromptError(
                f"embedding prompt {prompt.label!r} has width {len(prompt.embedding)} but the model's conditions have "
                f"{width}; embed it with the same model"
            )
        return prompt.embedding.to(self.model.device, self.model.dtype)

    # -- text ----------------------------------------------------------------------------------------------------

    def _embed_texts(self, texts: Sequence[str]) -> list[torch.Tensor]:
        if not texts:
            return []
        self._forget_if_changed()
        missing = list(dict.fromkeys(text for text in texts if text not in self._texts))
        found = {text: self._texts[text] for text in texts if text in self._texts}
        for start in range(0, len(missing), TEXT_BATCH):
            batch = missing[start : start + TEXT_BATCH]
            found.update(zip(batch, self._encode_texts(batch), strict=True))
        for text, vector in found.items():
            self._texts[text] = vector
            self._texts.move_to_end(text)
        while len(self._texts) > REMEMBERED_TEXTS:
            self._texts.popitem(last=False)
        return [found[text] for text in texts]

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        tokenizer = self._tokenizer()
        longest = self.model.config.text_config.max_position_embeddings
        encoded = tokenizer(texts, padding=True)
        rows, keep = encoded["input_ids"], encoded["attention_mask"]
        if len(rows[0]) > longest:
            for text, kept in zip(texts, keep, strict=True):
                if sum(kept) > longest:
                    warnings.warn(
                        f"prompt {text[:60]!r}… has {sum(kept)} tokens and the model reads {longest}; the rest is cut off",
                        stacklevel=5,
                    )
            encoded = tokenizer(texts, padding=True, truncation=True, max_length=longest)
            rows, keep = encoded["input_ids"], encoded["attention_mask"]
        device = self.model.device
        return self.model.get_conditional_embeddings(
            len(texts), torch.tensor(rows, device=device), torch.tensor(keep, device=device)
        )

    def _tokenizer(self) -> CLIPTokenizer:
        tokenizer: CLIPTokenizer | None = getattr(self.processor, "tokenizer", None)
        if tokenizer is None:
            raise PromptError(
                "text prompts need a tokenizer and this segmenter has none; "
                "load it with Segmenter.from_pretrained(…), or pass a CLIPSegProcessor"
            )
        return tokenizer

    def _forget_if_changed(self) -> None:
        """Drop what is remembered when a weight of the text tower has been replaced or written to."""
        parts = (self.model.clip.text_model, self.model.clip.text_projection)
        parameters = [parameter for part in parts for parameter in part.parameters()]
        weights = tuple((id(p), 0 if p.is_inference() else p._version) for p in parameters)
        if weights != self._weights:
            self._texts.clear()
            self._weights = weights

    # -- pictures ------------------------------------------------------------------------------------------------

    def _embed_images(self, prompts: Sequence[ImagePrompt]) -> Iterator[torch.Tensor]:
        for start in range(0, len(prompts), IMAGE_BATCH):
            pixels = torch.stack([self.prompt_pixels(prompt) for prompt in prompts[start : start + IMAGE_BATCH]])
            yield from self.model.get_conditional_embeddings(
                len(pixels), conditional_pixel_values=pixels.to(self.model.device)
            )

    def prompt_pixels(self, prompt: ImagePrompt) -> torch.Tensor:
        """An example -> the pixels (3, h, w) that the vision tower gets: what the model sees of it."""
        picture = to_rgb(prompt.picture)
        pixels = self.processor.image_processor.pixel_values(picture)[0]
        if prompt.mask is None and prompt.box is None:
            return pixels
        size_hw = (picture.height, picture.width)
        mask = _box_mask(prompt.box, size_hw) if prompt.box is not None else to_mask(prompt.mask, size_hw)  # type: ignore[arg-type]
        if not mask.any():
            raise PromptError(f"the mask of image prompt {prompt.label!r} is empty; mark the thing that is meant")
        style, target = style_named(prompt.style), (pixels.shape[1], pixels.shape[2])
        return engineer(pixels, torch.from_numpy(_resized_mask(mask, target)), style, target)


class ImageProcessorOnly:
    """A processor without a tokenizer, for models that come without one: pictures and embeddings only."""

    tokenizer = None

    def __init__(self, image_processor: ImageProcessor) -> None:
        self.image_processor = image_processor


def _leaves(prompt: Prompt) -> Iterator[Prompt]:
    """A prompt -> the prompts that are not sums, in order."""
    if isinstance(prompt, MixedPrompt):
        for _, part in prompt.parts:
            yield from _leaves(part)
    else:
        yield prompt


def _box_mask(box_xyxy: Iterable[float], size_hw: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    x0, y0, x1, y1 = (round(value) for value in box_xyxy)
    if x0 < 0 or y0 < 0 or x1 > size_hw[1] or y1 > size_hw[0]:
        raise PromptError(
            f"box ({x0}, {y0}, {x1}, {y1}) reaches beyond its picture of {size_hw[1]}x{size_hw[0]} pixels (width x height)"
        )
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _resized_mask(
    mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]], size_hw: tuple[int, int]
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """A mask at the model's input size; a thing too small to hit a pixel's centre keeps at least one pixel."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    small = np.asarray(image.resize((size_hw[1], size_hw[0]), Image.Resampling.BOX))
    return np.asarray(small >= min(128, int(small.max())))
