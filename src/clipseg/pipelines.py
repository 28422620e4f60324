"""`pipeline(task, model)`: a model and its preprocessing behind one call, from pictures as they come to plain results.

    classify = pipeline("zero-shot-image-classification")
    classify("cats.jpg", candidate_labels=["cat", "dog"])      # [{"score": 0.99, "label": "cat"}, …], best first

    segment = pipeline("image-segmentation")
    segment("cats.jpg", candidate_labels=["cat", "remote"])    # [{"score", "label", "mask"}, …], as the labels go

The labels of a call are encoded once for all its pictures, and each picture once for all labels.

Shapes: B pictures of a batch · P labels · E projected width · H, W picture · h, w low-resolution logits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from PIL import Image

from clipseg.auto import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
)
from clipseg.configuration.base import Configuration
from clipseg.errors import UsageError
from clipseg.image_utils import load_image
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.devices import available_device
from clipseg.modeling.options import refuse_unknown
from clipseg.modeling.pretrained import PreTrainedModel, parse_dtype
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.files import HUB_OPTIONS
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.post_processing import label_map, post_process_masks
from clipseg.processing.processors import Processor
from clipseg.processing.tokenization import CLIPTokenizer

LABEL_CHUNK = 8  # labels decoded at once: their activations stay in a processor's cache
SCORE_FRACTION = 0.01  # of a map's pixels, the brightest: their mean is its score
MOOT = frozenset({"framework", "trust_remote_code", "num_workers", "binary_output"})
"""Options of the documented function with nothing to choose here: torch, no foreign code, one process, no files."""

Name: TypeAlias = str | os.PathLike[str]
Result: TypeAlias = list[dict[str, Any]]
_PICTURES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class _Question:
    """What one call asks of all its pictures: P labels, what the model makes of them (P, E), and the options."""

    labels: list[str]
    conditions: torch.Tensor
    settings: Mapping[str, Any]


class Pipeline:
    """Base: pictures in, results out. A subclass says what it takes from the labels and what it answers to a batch.

    `model`, `tokenizer`, `image_processor` are what it runs, `processor` is the latter two; `task` what it is made for.
    """

    task: str
    default_model: ClassVar[str]
    loader: ClassVar[type[Any]]  # of the model, where a name is given
    model_classes: ClassVar[tuple[type[PreTrainedModel], ...]]
    defaults: ClassVar[Mapping[str, Any]] = {
        "candidate_labels": None,
        "hypothesis_template": "{}",
        "tokenizer_kwargs": None,
        "timeout": None,
        "batch_size": 1,
    }
    """The options of a call; a pipeline may be made with other defaults."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: CLIPTokenizer | None = None,
        image_processor: ImageProcessor | None = None,
        processor: Processor | None = None,
        *,
        feature_extractor: ImageProcessor | None = None,
        task: str | None = None,
        device: Any = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> None:
        """A model, and its tokenizer and image processor, or a processor of both -> the pipeline.

        The model is put into evaluation mode, and onto a device and into a type where given. Raises UsageError for a
        model of another kind, a missing part or an unknown option.
        """
        self.task = task or self.task
        if not isinstance(model, self.model_classes):
            expected = " or ".join(kind.__name__ for kind in self.model_classes)
            raise UsageError(f"the {self.task} pipeline runs a {expected}, got a {type(model).__name__}")
        if processor is not None:
            tokenizer, image_processor = tokenizer or processor.tokenizer, image_processor or processor.image_processor
        image_processor = image_processor or feature_extractor
        if tokenizer is None or image_processor is None:
            raise UsageError(
                f"the {self.task} pipeline needs a tokenizer and an image_processor, or a processor of both"
            )
        wanted = dtype or torch_dtype
        self.model = model.eval().to(
            device=None if device is None else available_device(device),
            dtype=None if wanted is None else parse_dtype(wanted, model.state_dict()),
        )
        self.tokenizer, self.image_processor = tokenizer, image_processor
        kind = AutoProcessor.by_model_type[model.config.model_type]
        self.processor: Processor = processor or kind(image_processor, tokenizer)
        self.options = self._settings(self.defaults, options)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the model's weights."""
        return self.model.dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, task={self.task!r}, device={str(self.device)!r})"

    def __call__(self, image: Any = None, candidate_labels: str | Iterable[str] | None = None, **options: Any) -> Any:
        """A picture and labels -> its result; a list of pictures -> a list of results; see the class for what that is.

        A picture is a URL, a path, base64 text, a PIL image or anything else `load_image` takes; `images` is its older
        name. Any other iterable, such as a generator or a data set, gives an iterator that takes a batch of pictures
        when its results are asked for. `candidate_labels` are a list, or one text with commas. Options:

        hypothesis_template  what becomes the text of a label, put in for `{}`
        tokenizer_kwargs     for the tokenizer, such as {"truncation": True}; `padding=True` unless it says otherwise
        timeout              seconds for a URL, see `load_image`
        batch_size           pictures run at once; results keep their order whatever it is

        Raises UsageError (a ValueError) without pictures or labels or for a wrong option, PictureError for a picture
        that cannot be read.
        """
        for name in ("images", "inputs"):  # older names of the first argument
            image = options.pop(name, image)
        if image is None:
            raise UsageError(f"Cannot call the {self.task} pipeline without an images argument!")
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        settings = self._settings(self.options, options)
        labels = _labels(settings["candidate_labels"], self.task)
        asked = _Question(labels, self._conditions(labels, settings), settings)
        if _is_one(image):
            return next(self._results([image], asked))
        results = self._results(image, asked)
        return list(results) if isinstance(image, (list, tuple)) else results

    def _settings(self, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Options by default and as given -> those that hold. Raises UsageError."""
        given = {name: value for name, value in given.items() if name not in MOOT}
        refuse_unknown(f"the {self.task} pipeline", given.keys() - defaults.keys(), defaults)
        settings = {**defaults, **given}
        if settings["batch_size"] < 1:
            raise UsageError(f"batch_size is {settings['batch_size']}; expected at least 1")
        return settings

    @torch.inference_mode()
    def _conditions(self, labels: list[str], settings: Mapping[str, Any]) -> torch.Tensor:
        """P labels -> what the model makes of their texts (P, E)."""
        texts = _texts(labels, settings["hypothesis_template"])
        options = {"padding": True, **(settings["tokenizer_kwargs"] or {}), "return_tensors": "pt"}
        tokens = self.tokenizer(texts, **options).to(self.device)
        return self._text_features(tokens["input_ids"], tokens.get("attention_mask"))

    def _results(self, pictures: Iterable[Any], asked: _Question) -> Iterator[Result]:
        """Results in order. Neighbours whose input has one size go through the model together."""
        loaded = (self._loaded(picture, asked.settings["timeout"]) for picture in pictures)
        for _, alike in groupby(loaded, key=lambda pair: pair[1].shape):
            while batch := list(islice(alike, asked.settings["batch_size"])):
                pixels = torch.cat([pixels for _, pixels in batch]).to(self.device)
                yield from self._answers(pixels, [size_hw for size_hw, _ in batch], asked)

    def _loaded(self, picture: Any, timeout: float | None) -> tuple[tuple[int, int], torch.Tensor]:
        """A picture in any form -> its size (H, W), and its pixels (1, 3, h, w)."""
        image = load_image(picture, timeout)
        return (image.height, image.width), self.image_processor([image], return_tensors="pt")["pixel_values"]

    def _text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        raise TypeError(f"{type(self).__name__} does not say what it takes from texts")

    def _answers(self, pixels: torch.Tensor, sizes_hw: list[tuple[int, int]], asked: _Question) -> list[Result]:
        raise TypeError(f"{type(self).__name__} does not say what it answers")


class ZeroShotImageClassificationPipeline(Pipeline):
    """Which of the labels fits a picture best: {"score", "label"} for each, best first; the scores add up to 1.

    The score is the softmax over the labels of CLIP's similarity (`logits_per_image`).
    """

    task = "zero-shot-image-classification"
    default_model = "openai/clip-vit-base-patch32"
    loader = AutoModelForZeroShotImageClassification
    model_classes = (CLIPModel, CLIPSegModel)
    defaults: ClassVar[Mapping[str, Any]] = {**Pipeline.defaults, "hypothesis_template": "This is a photo of {}."}

    model: CLIPModel | CLIPSegModel

    def _text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return F.normalize(self.model.get_text_features(input_ids, attention_mask), dim=-1)

    @torch.inference_mode()
    def _answers(self, pixels: torch.Tensor, sizes_hw: list[tuple[int, int]], asked: _Question) -> list[Result]:
        pictures = F.normalize(self.model.get_image_features(pixels), dim=-1)
        logits = pictures @ asked.conditions.t() * self.model.logit_scale.exp()  # (B, P)
        results = []
        for scores in logits.float().softmax(dim=-1).tolist():
            entries = [{"score": score, "label": label} for score, label in zip(scores, asked.labels, strict=True)]
            results.append(sorted(entries, key=lambda entry: -entry["score"]))
        return results


class ImageSegmentationPipeline(Pipeline):
    """Where the labels are: {"score", "label", "mask"} for each, in the order of the labels.

    `mask` is a PIL image of mode L in the picture's own size: 255 where the probability is above `threshold`, 0
    elsewhere; with `threshold=None` round(255 * probability). `score` is in 0 to 1 and says how sure the model is that
    the thing is there at all, whatever the threshold: the mean probability of the brightest hundredth of the map.
    With `subtask="semantic"` a pixel belongs to the most probable of the labels alone, or to none of them.
    """

    task = "image-segmentation"
    default_model = "CIDAS/clipseg-rd64-refined"
    loader = CLIPSegForImageSegmentation
    model_classes = (CLIPSegForImageSegmentation,)
    defaults: ClassVar[Mapping[str, Any]] = {**Pipeline.defaults, "threshold": 0.4, "subtask": None}

    model: CLIPSegForImageSegmentation

    def _settings(self, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        settings = super()._settings(defaults, given)
        threshold, subtask = settings["threshold"], settings["subtask"]
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"threshold is {threshold}; expected 0 to 1, or None for soft masks")
        if subtask not in (None, "semantic"):
            raise UsageError(f"Subtask {subtask} is not supported for model {type(self.model)}; semantic is, and None")
        if self.image_processor.do_center_crop:
            raise UsageError("the image processor crops pictures, so masks would not fit; set do_center_crop=False")
        return settings

    def _text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return self.model.get_conditional_embeddings(len(input_ids), input_ids, attention_mask)

    @torch.inference_mode()
    def _answers(self, pixels: torch.Tensor, sizes_hw: list[tuple[int, int]], asked: _Question) -> list[Result]:
        encoded = self.model.encode_images(pixels)
        chunks = [self.model.decode(encoded, chunk) for chunk in asked.conditions.split(LABEL_CHUNK)]
        logits = torch.cat(chunks, dim=1).float().cpu()  # (B, P, h, w)
        results = []
        for maps, size_hw in zip(logits, sizes_hw, strict=True):
            entries = zip(_scores(maps), asked.labels, _masks(maps, size_hw, asked.settings), strict=True)
            results.append([{"score": score, "label": label, "mask": mask} for score, label, mask in entries])
        return results


TASKS: dict[str, type[Pipeline]] = {
    "image-segmentation": ImageSegmentationPipeline,
    "zero-shot-image-classification": ZeroShotImageClassificationPipeline,
    "zero-shot-image-segmentation": ImageSegmentationPipeline,
}
"""Task -> its pipeline."""


def pipeline(
    task: str | None = None,
    model: PreTrainedModel | Name | None = None,
    config: Configuration | Name | None = None,
    tokenizer: CLIPTokenizer | Name | None = None,
    feature_extractor: ImageProcessor | Name | None = None,
    image_processor: ImageProcessor | Name | None = None,
    processor: Processor | Name | None = None,
    *,
    device: torch.device | str | int | None = None,
    device_map: torch.device | str | int | dict[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    use_fast: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pipeline:
    """A task of TASKS and a model -> the pipeline; see its class for what it takes and answers.

    The model is a hub id, a folder, "nano", or a model; its tokenizer and image processor are looked for beside it
    unless they, or a processor of both, are given. Without a model, the task's `default_model`; without a task, what
    the model is for. A model that is loaded goes to a GPU where there is one, otherwise `device` says where: a name,
    the number of a GPU, -1 for the CPU. `dtype` is as of `PreTrainedModel.from_pretrained`, which gets `model_kwargs`
    as well; `revision`, `cache_dir`, `token`, `local_files_only` and `subfolder` say where to look. Every other
    keyword is a default for the calls, such as `candidate_labels`.

    Raises UsageError for an unknown task or option and for a device that is not there, and what loading raises.
    """
    where = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
    if task is None:
        task = _task_of(model, config, where)
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}; tasks are {', '.join(TASKS)}")
    kind, dtype = TASKS[task], dtype or torch_dtype
    place = device_map if device is None else device
    if isinstance(model, PreTrainedModel):
        name, loaded = model.name_or_path, model
    else:
        name, target = os.fspath(model or kind.default_model), available_device("auto" if place is None else place)
        loading = {"config": config, "device_map": target, "dtype": dtype, **where, **(model_kwargs or {})}
        loaded = kind.loader.from_pretrained(name, **loading)

    def part(given: Any, auto: type[Any]) -> Any:
        """A part as it is given, or loaded: by its name if that is given, or from beside the model."""
        source = name if given is None else given
        named = isinstance(source, (str, os.PathLike)) and source != ""
        return auto.from_pretrained(source, use_fast=use_fast, **where) if named else given

    if processor is not None:
        parts = {"processor": part(processor, AutoProcessor)}
    else:
        extractor = feature_extractor if image_processor is None else image_processor
        parts = {"tokenizer": part(tokenizer, AutoTokenizer), "image_processor": part(extractor, AutoImageProcessor)}
    return kind(loaded, **parts, task=task, device=place, dtype=dtype, **options)


def _task_of(model: PreTrainedModel | Name | None, config: Configuration | Name | None, where: dict[str, Any]) -> str:
    """What a model, or the model of a name, is for. Raises UsageError if there is neither."""
    if model is None:
        raise UsageError(f"pipeline needs a task or a model; tasks are {', '.join(TASKS)}")
    if isinstance(model, PreTrainedModel):
        made = type(model).__name__
    else:
        found = config if isinstance(config, Configuration) else AutoConfig.from_pretrained(config or model, **where)
        made = (found.architectures or [""])[0]
    segments = made == CLIPSegForImageSegmentation.__name__
    return (ImageSegmentationPipeline if segments else ZeroShotImageClassificationPipeline).task


def _is_one(image: Any) -> bool:
    """Whether it is a picture, or something else that `load_image` had better name, and no collection of pictures."""
    if isinstance(image, _PICTURES) or hasattr(image, "read"):
        return True
    return not hasattr(image, "__iter__") and not (hasattr(image, "__getitem__") and hasattr(image, "__len__"))


def _labels(given: str | Iterable[str] | None, task: str) -> list[str]:
    """`candidate_labels` in any form -> a list. Raises UsageError."""
    labels = [part.strip() for part in given.split(",")] if isinstance(given, str) else list(given or ())
    if not labels or not all(isinstance(label, str) and label for label in labels):
        raise UsageError(
            f'the {task} pipeline needs candidate_labels, such as ["a cat", "a dog"] or "a cat, a dog"; got {given!r}'
        )
    return labels


def _texts(labels: list[str], template: str) -> list[str]:
    """Labels -> texts, each put into the template in place of {}. Raises UsageError."""
    try:
        texts = [template.format(label) for label in labels]
    except (AttributeError, IndexError, KeyError, ValueError):
        texts = [""] * len(labels)
    if not all(label in text for label, text in zip(labels, texts, strict=True)):
        raise UsageError(f'hypothesis_template {template!r} has no place for a label; write it as {{}}, as in "a {{}}"')
    return texts


def _scores(maps: torch.Tensor) -> list[float]:
    """Logits (P, h, w) -> the mean probability of the brightest hundredth of each, of one pixel at least."""
    flat = maps.flatten(1)
    brightest = flat.topk(max(1, round(SCORE_FRACTION * flat.shape[1])), dim=1).values
    return brightest.sigmoid().mean(dim=1).tolist()


def _masks(maps: torch.Tensor, size_hw: tuple[int, int], settings: Mapping[str, Any]) -> Iterator[Image.Image]:
    """Logits (P, h, w) of a picture -> P masks of its own size, one at a time."""
    threshold = settings["threshold"]
    owner = label_map(maps, size_hw, threshold) if settings["subtask"] == "semantic" else None
    for place in range(len(maps)):
        values = post_process_masks(maps[place : place + 1], size_hw)[0]  # (H, W)
        if threshold is not None:
            values = (values > threshold).float()
        if owner is not None:
            values = values * (owner == place)
        yield Image.fromarray((255 * values).round().to(torch.uint8).numpy())
