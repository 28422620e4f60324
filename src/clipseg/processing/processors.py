"""A tokeniser and an image processor behind one call, as the models take their inputs."""

import difflib
import inspect
import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from clipseg.checkpoints.files import write_json
from clipseg.checkpoints.sharing import Shareable
from clipseg.errors import UsageError
from clipseg.processing import post_processing
from clipseg.processing.batch import BatchFeature
from clipseg.processing.files import FilePath, split_hub_options
from clipseg.processing.image_options import CONFIG_FILE, read_options
from clipseg.processing.image_processors import CLIPImageProcessor, ImageProcessor, ViTImageProcessor
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast

if TYPE_CHECKING:
    import torch

Self = TypeVar("Self", bound="Processor")


def _keywords(function: Any) -> frozenset[str]:
    """A function -> the names of what it takes by keyword only."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


TOKENIZER_OPTIONS = _keywords(CLIPTokenizer.__call__)
TOKENIZER_SETTINGS = _keywords(CLIPTokenizer.__init__) | {"unk_token", "bos_token", "eos_token", "pad_token"}


class Processor(Shareable):
    """Texts and pictures -> what a model takes. A subclass says which image processor its checkpoints mean.

    Raises UsageError (a ValueError) if a part is missing, and TypeError if it is something else. `feature_extractor`
    is the deprecated name of `image_processor`.
    """

    usual_image_processor: ClassVar[type[ImageProcessor]]
    # Names of the parts and of their classes, as the documented processors have them.
    attributes: ClassVar[list[str]] = ["image_processor", "tokenizer"]
    image_processor_class: ClassVar[str | tuple[str, ...]]
    tokenizer_class: ClassVar[str | tuple[str, ...]] = ("CLIPTokenizer", "CLIPTokenizerFast")
    chat_template: ClassVar[None] = None
    """None: nobody chats with these models. Code that handles processors of every kind asks for it."""

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
        for name, part, kind in (
            ("image_processor", image_processor, ImageProcessor),
            ("tokenizer", tokenizer, CLIPTokenizer),
        ):
            if not isinstance(part, kind):
                raise TypeError(
                    f"{name} of a {type(self).__name__} is a {kind.__name__}, got a {type(part).__name__}; "
                    "by position the image processor comes first"
                )
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    def _process(self, text: Any, pictures: Mapping[str, Any], options: Mapping[str, Any]) -> BatchFeature:
        """A text or None, and pictures or None by the key of their pixels -> one batch, in this order."""
        for_text, for_images = self._split(options)
        # The tokenizer's own batch still knows which token came from where: it is completed, not copied.
        batch = BatchFeature() if text is None else self.tokenizer(text, **for_text)
        for key, images in pictures.items():
            if images is not None:
                batch[key] = self.image_processor.preprocess(images, **for_images)["pixel_values"]
        return batch

    def _split(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of a call -> (the tokeniser's, the image processor's); one may be of both, but not of neither.

        What the tokeniser was constructed with comes first, then `common_kwargs`, then the call's own keywords and
        those in `text_kwargs` and `images_kwargs`, which exclude each other.
        """
        options = {name: value for name, value in options.items() if (name, value) != ("return_tensors", None)}
        common, text, images = (
            dict(options.pop(f"{kind}_kwargs", None) or {}) for kind in ("common", "text", "images")
        )
        parts = ((TOKENIZER_OPTIONS, text), (self.image_processor.call_options, images))
        _check_known([*options, *common], TOKENIZER_OPTIONS | self.image_processor.call_options)
        split = []
        for known, own in parts:
            _check_known(own, known)
            flat = {name: value for name, value in options.items() if name in known}
            if twice := flat.keys() & own.keys():
                raise UsageError(
                    f"{', '.join(sorted(twice))} is given twice, alone and in text_kwargs or images_kwargs"
                )
            shared = {name: value for name, value in common.items() if name in known}
            split.append({**shared, **flat, **own})
        constructed = self.tokenizer.init_kwargs.items()
        usual = {name: value for name, value in constructed if name in TOKENIZER_OPTIONS and value is not None}
        return {**usual, **split[0]}, split[1]

    @property
    def feature_extractor(self) -> ImageProcessor:
        """The deprecated name of `image_processor`."""
        _warn_of_feature_extractor()
        return self.image_processor

    @property
    def model_input_names(self) -> list[str]:
        """The keys that a text and a picture give."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The names of the parts, in the order of the constructor."""
        return list(cls.attributes)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """See `CLIPTokenizer.decode`."""
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """See `CLIPTokenizer.batch_decode`."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    # -- files ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tokenizer!r}, {self.image_processor!r})"

    def to_dict(self) -> dict[str, Any]:
        """The image processor's options and the name of this class; the tokeniser has files of its own."""
        return {"image_processor": self.image_processor.to_dict(), "processor_class": type(self).__name__}

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: FilePath) -> None:
        """`to_dict` -> a JSON file."""
        write_json(json_file_path, self.to_dict())

    def save_pretrained(self, save_directory: FilePath) -> list[str]:
        """A folder -> the paths of the files of both parts written there."""
        path = Path(save_directory) / CONFIG_FILE
        write_json(path, {**self.image_processor.to_dict(), "processor_class": type(self).__name__})
        return [str(path), *self.tokenizer.save_pretrained(save_directory)]

    @classmethod
    def from_pretrained(
        cls: type[Self],
        name_or_path: FilePath,
        *,
        image_processor: ImageProcessor | None = None,
        tokenizer: CLIPTokenizer | None = None,
        use_fast: bool | None = None,
        **options: Any,
    ) -> Self:
        """A hub name, "nano" or a folder -> its processor.

        A part that is given is taken instead of the one in the files. Of two implementations of a part, `use_fast`
        chooses. Keywords reach the part that knows them, those that neither knows (`revision`, …) both; see
        `CLIPTokenizer.from_pretrained` and `ImageOptions.from_pretrained`, also for what they raise.
        """
        where, _ = split_hub_options(options)
        config = read_options(name_or_path, **where) if image_processor is None else {}
        kind = _kind(cls.usual_image_processor, config, use_fast) if image_processor is None else type(image_processor)
        of_images, of_text = frozenset(kind.defaults), TOKENIZER_OPTIONS | TOKENIZER_SETTINGS
        if image_processor is None:
            for_images = {name: value for name, value in options.items() if name not in of_text - of_images}
            image_processor = kind.from_dict(config, **split_hub_options(for_images)[1])
        if tokenizer is None:
            words = CLIPTokenizer if use_fast is False else CLIPTokenizerFast
            for_text = {name: value for name, value in options.items() if name not in of_images - of_text}
            tokenizer = words.from_pretrained(name_or_path, **for_text)
        return cls(image_processor, tokenizer)


class CLIPSegProcessor(Processor):
    """Text, pictures and visual prompts -> the inputs of the CLIPSeg models; logits -> maps at the pictures' size."""

    usual_image_processor = ViTImageProcessor
    image_processor_class = "ViTImageProcessor"

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
        prompt. Other keywords are options of `CLIPTokenizer.__call__` or of `ImageProcessor.preprocess`, by their name,
        or those of one in a dictionary: `text_kwargs`, `images_kwargs`, `common_kwargs`.
        Raises UsageError if nothing is given, if both kinds of prompt are, or for an option that neither has.
        """
        if text is None and images is None and visual_prompt is None:
            raise UsageError("You have to specify either text, visual prompt or images.")
        if text is not None and visual_prompt is not None:
            raise UsageError("You have to specify exactly one type of prompt. Either text or visual prompt.")
        pictures = {"pixel_values": images, "conditional_pixel_values": visual_prompt}
        return self._process(text, pictures, {"return_tensors": return_tensors, **kwargs})

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
        *,
        prompts_per_image: int | None = None,
        threshold: float | None = None,
    ) -> "list[torch.Tensor]":
        """See `post_processing.post_process_semantic_segmentation`: an output -> a label map for each picture."""
        return post_processing.post_process_semantic_segmentation(
            outputs, target_sizes, prompts_per_image=prompts_per_image, threshold=threshold
        )


class CLIPProcessor(Processor):
    """Text and pictures -> the inputs of the CLIP models."""

    usual_image_processor = CLIPImageProcessor
    image_processor_class = ("CLIPImageProcessor", "CLIPImageProcessorFast")

    def __call__(
        self, text: Any = None, images: Any = None, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Texts, pictures -> `input_ids` and `attention_mask`, `pixel_values`, in a batch with `.to(device)`.

        Other keywords and errors are those of `CLIPSegProcessor.__call__`.
        """
        if text is None and images is None:
            raise UsageError("You have to specify either text or images. Both cannot be none.")
        return self._process(text, {"pixel_values": images}, {"return_tensors": return_tensors, **kwargs})


def _kind(usual: type[ImageProcessor], config: Mapping[str, Any], use_fast: bool | None) -> type[ImageProcessor]:
    """The image processor of a model, what its file says and what is wished -> the one to load."""
    fast = config.get("image_processor_type") == "CLIPImageProcessorFast" if use_fast is None else use_fast
    if not fast or usual is not CLIPImageProcessor:
        return usual
    from clipseg.processing.fast_image_processors import CLIPImageProcessorFast  # works on tensors, so needs torch

    return CLIPImageProcessorFast


def _check_known(names: Collection[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"neither the tokenizer nor the image processor has an option {name!r}; {hint}")


def _warn_of_feature_extractor() -> None:
    warnings.warn("feature_extractor is deprecated; use image_processor", FutureWarning, stacklevel=3)
