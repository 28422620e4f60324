"""Prompts in, condition vectors out: batched, each distinct phrase once, and phrases remembered.

Shapes: P prompts · E condition width · H, W example picture · h, w the model's input.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import CheckpointNotFoundError, PromptError, UsageError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ImageProcessor, ViTImageProcessor
from clipseg.processing.images import to_mask, to_rgb
from clipseg.processing.pixels import per_channel
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.prompting.attention import masked_image_features
from clipseg.prompting.expressions import Expression, Term
from clipseg.prompting.prompt_cache import PromptCache, cache_file, fingerprint, weight_files
from clipseg.prompting.prompts import BoxSource, EmbeddingPrompt, ImagePrompt, MixedPrompt, TextPrompt
from clipseg.prompting.styles import style_named
from clipseg.prompting.visual import engineered
from clipseg.runtime.fused import FusedModel, torch_model
from clipseg.runtime.runner import Runner
from clipseg.runtime.weights import WeightState, every_module, weight_state

RELEASED_SIDE = 352  # pixels
REMEMBERED_TEXTS = 10_000  # phrases; 2 kB each at E = 512
TEXT_BATCH = 256
IMAGE_BATCH = 8


class Conditioner:
    """Turns prompts into vectors with one model and its processor; remembers phrases as long as the weights stay.

    Threads may share it. A copy, pickled or deep, starts with nothing remembered, unless the text encoder was dropped:
    `remembered` are the embeddings of phrases that there are then.
    """

    def __init__(
        self,
        model: Runner,
        processor: CLIPSegProcessor | ImageProcessorOnly,
        remembered: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self._texts = OrderedDict(remembered or {})
        self._dropped = remembered is not None
        self._weights: WeightState | None = None
        self._files: list[os.stat_result] = []  # of the weights, as long as phrases are kept between runs
        self._kept: PromptCache | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Conditioner, (self.model, self.processor, dict(self._texts) if self._dropped else None)

    def keep_between_runs(self, name_or_path: str | os.PathLike[str], where: Mapping[str, Any]) -> None:
        """Keep phrases on the disk as well, of a model just loaded from there, until its weights are changed.

        An exported model, and one made in inference mode, whose changes are not counted, keeps none. `where` are
        keywords of `checkpoints.hub.find_file`.
        """
        with self._lock:
            self._weights = self._weights_now()
            if torch_model(self.model) is not None and self._weights is not None:
                self._files = weight_files(name_or_path, where)

    def drop_text_encoder(self) -> None:
        """Let go of the text encoder's weights. Phrases that are remembered, or kept on the disk, are still known.

        Raises UsageError for an exported model.
        """
        with self._lock:
            if not isinstance(self.model, FusedModel):
                raise UsageError('the text encoder of an exported model cannot be dropped; use backend="torch"')
            self._forget_if_changed()
            self._open_kept()
            self.model.drop_text_encoder()
            self._dropped = True

    @torch.inference_mode()
    def embed(self, prompts: Sequence[Term]) -> torch.Tensor:
        """P prompts -> conditions (P, E), not normalised, on the model's device and of its type.

        Raises PromptError for an expression, an embedding of another width, a mask of another size than its picture, or
        a phrase where there is no tokenizer, and PictureError for a picture that cannot be read. A phrase too long for
        the model is cut off, with a warning that names it; so is there one for an embedding of another model.
        """
        for prompt in prompts:
            if isinstance(prompt, Expression):
                raise PromptError(
                    f"{prompt.label!r} is an expression, which has no embedding of its own; embed the prompts in it, "
                    "or put it in quotes if it is a phrase"
                )
        leaves = list(dict.fromkeys(leaf for prompt in prompts for leaf in _leaves(prompt)))
        vectors: dict[Term, torch.Tensor] = {}
        texts = [leaf for leaf in leaves if isinstance(leaf, TextPrompt)]
        images = [leaf for leaf in leaves if isinstance(leaf, ImagePrompt)]
        in_templates = iter(self._embed_texts([phrase for text in texts for phrase in text.texts]))
        for text in texts:
            vectors[text] = torch.stack(list(islice(in_templates, len(text.texts)))).mean(0)
        vectors.update(zip(images, self._embed_images(images), strict=True))
        for leaf in leaves:
            if isinstance(leaf, EmbeddingPrompt):
                vectors[leaf] = self._checked(leaf)
        return torch.stack([self._combined(prompt, vectors) for prompt in prompts])

    @property
    def model_name(self) -> str:
        """What the model goes by in the origin of embeddings: its name, of a folder the last part, or its class."""
        name = self.model.name_or_path
        return (Path(name).name if Path(name).is_dir() else name) or type(self.model).__name__

    def _combined(self, prompt: Term, vectors: dict[Term, torch.Tensor]) -> torch.Tensor:
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
        if prompt.origin is not None and prompt.origin.model not in ("", self.model_name):
            warnings.warn(
                f"embedding prompt {prompt.label!r} was made with {prompt.origin.model} and is used with "
                f"{self.model_name}; it means the same only where both have the same CLIP",
                stacklevel=4,
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
            tokens = self._tokens_kept(missing)
            if self._kept is not None and tokens:
                rows = self._kept.read(list(tokens.values()), self.model.config.projection_dim)
                to = self.model.device, self.model.dtype
                found |= {text: torch.tensor(rows[row]).to(*to) for text, row in tokens.items() if row in rows}
                missing = [text for text in missing if text not in found]
            if len(missing) > TEXT_BATCH:
                missing.sort(key=len)  # those of one batch are filled up to its longest
            for start in range(0, len(missing), TEXT_BATCH):
                batch = missing[start : start + TEXT_BATCH]
                # Cloned, or each would keep the whole batch alive.
                found.update((text, row.clone()) for text, row in zip(batch, self._encode_texts(batch), strict=True))
            if self._kept is not None:
                new = [text for text in missing if text in tokens]
                self._kept.write({tokens[text]: found[text].float().cpu().numpy() for text in new})
            for text, vector in found.items():
                self._texts[text] = vector
                self._texts.move_to_end(text)
            while len(self._texts) > REMEMBERED_TEXTS:
                self._texts.popitem(last=False)
        return [found[text] for text in texts]

    def _tokens_kept(self, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Phrases -> the tokens of those that may be kept on the disk: not if they are too long, which is told anew."""
        self._open_kept()
        if self._kept is None or not texts:
            return {}
        rows = self._tokenizer()(list(texts), verbose=False)["input_ids"]
        longest = self.model.config.text_config.max_position_embeddings
        return {text: tuple(row) for text, row in zip(texts, rows, strict=True) if len(row) <= longest}

    def _open_kept(self) -> None:
        """Find out what the model is called on the disk, which needs its weights, once phrases are to be kept there."""
        path, model = cache_file(), torch_model(self.model)
        tokenizer = getattr(self.processor, "tokenizer", None)
        if self._kept is None and self._files and path is not None and model is not None and tokenizer is not None:
            ways = type(self.model).__name__, getattr(self.model, "precision", None), self.model.device.type
            if tokenizer.padding_side == "right":  # otherwise what a phrase becomes depends on those beside it
                self._kept = PromptCache(path, fingerprint(model, str(ways), self._files))

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        if self._dropped:
            raise PromptError(
                f"{texts[0]!r} is not among the phrases that were embedded before the text encoder was dropped; "
                "embed all phrases first, or load the model anew"
            )
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
        if self._dropped:
            return
        weights = self._weights_now()
        if weights is None or weights != self._weights:
            self._texts.clear()
            self._weights = weights
            self._files, self._kept = [], None

    def _weights_now(self) -> WeightState | None:
        """-> what changes with the weights of the text tower; None where their changes are not counted."""
        model = torch_model(self.model)
        parts = () if model is None else (model.clip.text_model, model.clip.text_projection)
        return weight_state(every_module(parts))

    # -- pictures ------------------------------------------------------------------------------------------------

    def _embed_images(self, prompts: Sequence[ImagePrompt]) -> Iterator[torch.Tensor]:
        prepared = map(self._prepared, prompts)
        for (_, attention), alike in groupby(prepared, key=lambda each: (each.pixels.shape, each.attention)):
            while batch := list(islice(alike, IMAGE_BATCH)):
                pixels = torch.stack([each.pixels for each in batch]).to(self.model.device)
                if attention == "free":
                    yield from self.model.get_conditional_embeddings(len(batch), conditional_pixel_values=pixels)
                else:
                    masks = torch.stack([each.mask for each in batch]).to(self.model.device)
                    yield from masked_image_features(self._modules(attention).clip, pixels, masks, attention)

    def _modules(self, attention: str) -> CLIPSegForImageSegmentation:
        model = torch_model(self.model)
        if model is None:
            raise PromptError(
                f"image prompt styles that mask attention ({attention!r}) need the torch modules, which an exported "
                'model has not; choose another style, such as "crop", or backend="torch"'
            )
        return model

    def prompt_pixels(self, prompt: ImagePrompt) -> torch.Tensor:
        """An example -> the pixels (3, h, w) that the vision tower gets: what the model sees of it."""
        return self._prepared(prompt).pixels

    def _prepared(self, prompt: ImagePrompt) -> _Example:
        picture, processor = to_rgb(prompt.picture), self.processor.image_processor
        pixels = processor.pixel_values(picture)[0]
        if prompt.mask is None and prompt.box is None:
            return _Example(pixels, torch.ones(pixels.shape[1:], dtype=torch.bool), "free")
        size_hw = (picture.height, picture.width)
        mask = _box_mask(prompt.box, size_hw) if prompt.box is not None else to_mask(prompt.mask, size_hw)  # type: ignore[arg-type]
        if not mask.any():
            raise PromptError(f"the mask of image prompt {prompt.label!r} is empty; mark the thing that is meant")
        style, target = style_named(prompt.style), (pixels.shape[1], pixels.shape[2])
        small = torch.from_numpy(_resized_mask(mask, target))
        return _Example(*engineered(pixels, small, style, target, *_statistics(processor)), style.attention)


class _Example(NamedTuple):
    """A picture prompt as the vision tower takes it: pixels (3, h, w), mask (h, w), and who looks at what."""

    pixels: torch.Tensor
    mask: torch.Tensor
    attention: str


class ImageProcessorOnly:
    """A processor without a tokenizer, for models that come without one: pictures and embeddings only."""

    tokenizer = None

    def __init__(self, image_processor: ImageProcessor) -> None:
        self.image_processor = image_processor


def processor_for(
    model: CLIPSegForImageSegmentation | Runner, given: CLIPSegProcessor | ViTImageProcessor | None
) -> CLIPSegProcessor | ImageProcessorOnly:
    """A model and what was given for it -> its processor: the one beside its files, or the released preprocessing."""
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


def _statistics(processor: ImageProcessor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """-> mean and standard deviation of each channel, as pixels are normalised with; none at all is 0 and 1."""
    if not processor.do_normalize:
        return (0.0,) * 3, (1.0,) * 3
    return per_channel(processor.image_mean, 3), per_channel(processor.image_std, 3)


def _leaves(prompt: Term) -> Iterator[Term]:
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
