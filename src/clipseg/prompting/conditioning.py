"""Prompts in, condition vectors out: batched, each distinct phrase once, and phrases remembered.

Shapes: P prompts · E condition width · H, W example picture · h, w the model's input.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import PromptError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.images import to_mask, to_rgb
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.prompting.prompts import BoxSource, EmbeddingPrompt, ImagePrompt, MixedPrompt, Prompt, TextPrompt
from clipseg.prompting.visual import engineer, style_named

REMEMBERED_TEXTS = 10_000  # phrases; 2 kB each at E = 512
TEXT_BATCH = 256
IMAGE_BATCH = 8


class Conditioner:
    """Turns prompts into vectors with one model and its processor; remembers phrases as long as the weights stay.

    Threads may share it. A copy, pickled or deep, starts with nothing remembered.
    """

    def __init__(self, model: CLIPSegForImageSegmentation, processor: CLIPSegProcessor | ImageProcessorOnly) -> None:
        self.model = model
        self.processor = processor
        self._texts: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._weights: list[tuple[Any, ...]] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Conditioner, (self.model, self.processor)

    @torch.inference_mode()
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
        with self._lock:  # also while encoding: threads that ask for one phrase encode it once
            self._forget_if_changed()
            found = {text: self._texts[text] for text in texts if text in self._texts}
            missing = list(dict.fromkeys(text for text in texts if text not in found))
            for start in range(0, len(missing), TEXT_BATCH):
                batch = missing[start : start + TEXT_BATCH]
                # Cloned, or each would keep the whole batch alive.
                found.update((text, row.clone()) for text, row in zip(batch, self._encode_texts(batch), strict=True))
            for text, vector in found.items():
                self._texts[text] = vector
                self._texts.move_to_end(text)
            while len(self._texts) > REMEMBERED_TEXTS:
                self._texts.popitem(last=False)
        return [found[text] for text in texts]

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        tokenizer = self._tokenizer()
        longest = self.model.config.text_config.max_position_embeddings
        encoded = tokenizer(texts, padding=True, verbose=False)  # too long ones are told below
        rows, keep = encoded["input_ids"], encoded["attention_mask"]
        if len(rows[0]) > longest:
            for text, kept in zip(texts, keep, strict=True):
                if sum(kept) > longest:
                    warnings.warn(
                        f"prompt {text[:60]!r}… has {sum(kept)} tokens and the model reads {longest}; "
                        "the rest is cut off",
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
        """Drop what is remembered when a weight of the text tower has been written to, moved or replaced."""
        parts = (self.model.clip.text_model, self.model.clip.text_projection)
        parameters = [parameter for part in parts for parameter in part.parameters()]
        untold = any(p.is_inference() for p in parameters)  # such a tensor does not count how often it is written to
        weights = None if untold else [(id(p), p.data_ptr(), p._version, p.dtype, p.device) for p in parameters]
        if weights is None or weights != self._weights:
            self._texts.clear()
            self._weights = weights

    # -- pictures ------------------------------------------------------------------------------------------------

    def _embed_images(self, prompts: Sequence[ImagePrompt]) -> Iterator[torch.Tensor]:
        for _, alike in groupby(map(self.prompt_pixels, prompts), key=lambda pixels: pixels.shape):
            while batch := list(islice(alike, IMAGE_BATCH)):
                pixels = torch.stack(batch).to(self.model.device)
                yield from self.model.get_conditional_embeddings(len(batch), conditional_pixel_values=pixels)

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


def _box_mask(box_xyxy: BoxSource, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A box -> its pixels, edges rounded to the nearest; however thin it is, at least one."""
    height, width = size_hw
    x0, y0, x1, y1 = (round(value) for value in box_xyxy)
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise PromptError(
            f"box {box_xyxy} reaches beyond its picture, which is {width} pixels wide and {height} high; "
            "give x0, y0, x1, y1 inside it"
        )
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True
    return mask


def _resized_mask(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask at the model's input size: what it covers half of, or most of where it covers half of no pixel."""
    image = Image.fromarray(mask.astype(np.float32))  # in bytes the share of one pixel among many would round to 0
    covered = np.asarray(image.resize((size_hw[1], size_hw[0]), Image.Resampling.BOX))
    return np.asarray(covered >= min(0.5, covered.max()))
