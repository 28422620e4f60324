"""A tokeniser and an image processor behind one call, as the models take their inputs."""

import difflib
import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from clipseg.checkpoints.files import write_json
from clipseg.errors import UsageError
from clipseg.processing.batch import BatchFeature
from clipseg.processing.files import FilePath
from clipseg.processing.image_processors import CONFIG_FILE, CLIPImageProcessor, ImageProcessor, ViTImageProcessor
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast

Self = TypeVar("Self", bound="Processor")


def _keywords(function: Any) -> frozenset[str]:
    """A function -> the names of what it takes by keyword only."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


TOKENIZER_OPTIONS = _keywords(CLIPTokenizer.__call__)
IMAGE_OPTIONS = _keywords(ImageProcessor.preprocess) | frozenset(ImageProcessor.defaults)
TOKENIZER_SETTINGS = _keywords(CLIPTokenizer.__init__) | {"unk_token", "bos_token", "eos_token", "pad_token"}
IMAGE_SETTINGS = frozenset(ImageProcessor.defaults)


class Processor:
    """Texts and pictures -> what a model takes. A subclass says which image processor its checkpoints mean.

    Raises UsageError (a ValueError) if a part is missing. `feature_extractor` is the deprecated name of
    `image_processor`.
    """

    image_processor_class: ClassVar[type[ImageProcessor]]

    def __init__(
        self, image_processor: ImageProcessor | None = None, tokenizer: CLIPTokenizer | None = None, **kwargs: Any
    ) -> None:
        if "feature_extractor" in kwargs:
            _warn_of_feature_extractor()
            former = kwargs.pop("feature_extractor")
            image_processor = former if image_processor is None else image_processor
        if kwargs:
            raise UsageError(f"{type(self).__name__} takes image_processor and tokenizer, not {', '.join(kwargs)}")
        if image_processor is None:
            raise UsageError("You need to specify an `image_processor`.")
        if tokenizer is None:
            raise UsageError("You need to specify a `tokenizer`.")
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    def _process(self, text: Any, pictures: Mapping[str, Any], options: Mapping[str, Any]) -> BatchFeature:
        """A text or None, and pictures or None by the key of their pixels -> one batch, in this order."""
        for_text, for_images = _split(options)
        batch = BatchFeature()
        if text is not None:
            batch |= self.tokenizer(text, **for_text)
        for key, images in pictures.items():
            if images is not None:
                batch[key] = self.image_processor.preprocess(images, **for_images)["pixel_values"]
        return batch

    @property
    def feature_extractor(self) -> ImageProcessor:
        """The deprecated name of `image_processor`."""
        _warn_of_feature_extractor()
        return self.image_processor

    @property
    def model_input_names(self) -> list[str]:
        """The keys that a text and a picture give."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """See `CLIPTokenizer.decode`."""
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """See `CLIPTokenizer.batch_decode`."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tokenizer!r}, {self.image_processor!r})"

    def save_pretrained(self, save_directory: FilePath) -> list[str]:
        """A folder -> the paths of the files of both parts written there."""
        path = Path(save_directory) / CONFIG_FILE
        write_json(path, {**self.image_processor.to_dict(), "processor_class": type(self).__name__})
        return [str(path), *self.tokenizer.save_pretrained(save_directory)]

    @classmethod
    def from_pretrained(cls: type[Self], name_or_path: FilePath, **options: Any) -> Self:
        """A hub name, "nano" or a folder -> its processor.

        Keywords reach the part that knows them, those that neither knows (`revision`, …) both; see
        `CLIPTokenizer.from_pretrained` and `ImageProcessor.from_pretrained`, also for what they raise.
        """
        shared = {name: options[name] for name in options.keys() - TOKENIZER_SETTINGS - IMAGE_SETTINGS}
        for_tokenizer = {name: options[name] for name in options.keys() & TOKENIZER_SETTINGS}
        for_images = {name: options[name] for name in options.keys() & IMAGE_SETTINGS}
        return cls(
            cls.image_processor_class.from_pretrained(name_or_path, **shared, **for_images),
            CLIPTokenizerFast.from_pretrained(name_or_path, **shared, **for_tokenizer),
        )


class CLIPSegProcessor(Processor):
    """Text, pictures and visual prompts -> the inputs of the CLIPSeg models."""

    image_processor_class = ViTImageProcessor

    def __call__(
        self,
        text: Any = None,
        images: Any = None,
        visual_prompt: Any = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Texts, pictures, pictures that are prompts -> a batch with `.to(device)`.

        `input_ids` and `attention_mask` for a text, `pixel_values` for images, `conditional_pixel_values` for a visual
        prompt. Other keywords are options of `CLIPTokenizer.__call__` or of `ImageProcessor.preprocess`, by their name.
        Raises UsageError if nothing is given, if both kinds of prompt are, or for an option that neither has.
        """
        if text is None and images is None and visual_prompt is None:
            raise UsageError("You have to specify either text, visual prompt or images.")
        if text is not None and visual_prompt is not None:
            raise UsageError("You have to specify exactly one type of prompt. Either text or visual prompt.")
        pictures = {"pixel_values": images, "conditional_pixel_values": visual_prompt}
        return self._process(text, pictures, {"return_tensors": return_tensors, **kwargs})


class CLIPProcessor(Processor):
    """Text and pictures -> the inputs of the CLIP models."""

    image_processor_class = CLIPImageProcessor

    def __call__(
        self, text: Any = None, images: Any = None, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Texts, pictures -> `input_ids` and `attention_mask`, `pixel_values`, in a batch with `.to(device)`.

        Other keywords and errors are those of `CLIPSegProcessor.__call__`.
        """
        if text is None and images is None:
            raise UsageError("You have to specify either text or images. Both cannot be none.")
        return self._process(text, {"pixel_values": images}, {"return_tensors": return_tensors, **kwargs})


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a call -> (the tokeniser's, the image processor's); one may be of both, but not of neither."""
    known = TOKENIZER_OPTIONS | IMAGE_OPTIONS
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"neither the tokenizer nor the image processor has an option {name!r}; {hint}")
    for_text = {name: value for name, value in options.items() if name in TOKENIZER_OPTIONS}
    return for_text, {name: value for name, value in options.items() if name in IMAGE_OPTIONS}


def _warn_of_feature_extractor() -> None:
    warnings.warn("feature_extractor is deprecated; use image_processor", FutureWarning, stacklevel=3)
