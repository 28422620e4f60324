"""Pictures -> pixel values: resize, crop, rescale, normalise, as the documented image processors do it.

Legend: B pictures, C channels, H, W their size, h, w the size the model is given.
"""

import copy
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from PIL import Image

from clipseg.checkpoints.files import read_json, write_json
from clipseg.checkpoints.hub import find_first
from clipseg.errors import CheckpointError, ConfigurationError, PictureError, UsageError
from clipseg.processing.batch import BatchFeature
from clipseg.processing.files import FilePath, split_hub_options
from clipseg.processing.images import as_array, flatten, to_rgb
from clipseg.processing.pixels import (
    Pixels,
    center_crop,
    per_channel,
    pixels_of,
    resize,
    scaled,
    scaled_bytes,
    three_channels,
)
from clipseg.processing.statistics import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

if TYPE_CHECKING:
    import torch

CONFIG_FILE = "preprocessor_config.json"
WHOLE_CONFIG_FILE = "processor_config.json"  # newer releases keep the same options in here, under "image_processor"

CHANNELS = (1, 3, 4)
Self = TypeVar("Self", bound="ImageProcessor")


class ImageProcessor:
    """B pictures -> pixel values of one size, in float32.

    Every option is a keyword of the constructor and of each call; a subclass says what it is by default. `size` is
    {"height", "width"} (squashed to it), {"shortest_edge"} (the aspect kept) or an int; `crop_size` is
    {"height", "width"} or an int. `resample` is a PIL filter. Keywords unknown here are kept and saved again.
    Raises ConfigurationError for options that make no sense.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    defaults: ClassVar[Mapping[str, Any]] = {
        "do_resize": True,
        "size": {"height": 224, "width": 224},
        "resample": Image.Resampling.BILINEAR,
        "do_center_crop": None,
        "crop_size": None,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
        "do_convert_rgb": None,
    }
    int_size_is_square: ClassVar[bool] = True

    do_resize: bool
    size: dict[str, int]
    resample: int
    do_center_crop: bool | None
    crop_size: dict[str, int] | None
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: list[float] | float
    image_std: list[float] | float
    do_convert_rgb: bool | None

    def __init__(self, **options: Any) -> None:
        known = {**self.defaults, **{name: value for name, value in options.items() if value is not None}}
        self.extra = {name: value for name, value in options.items() if name not in self.defaults}
        self._set({name: known[name] for name in self.defaults})

    def _set(self, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            setattr(self, name, self._checked(name, value))

    def _checked(self, name: str, value: Any) -> Any:
        """An option as given -> in the form in which it is kept and saved."""
        if value is None:
            return None
        if name in ("size", "crop_size"):
            return _checked_size(name, value, square=name == "crop_size" or self.int_size_is_square)
        if name == "resample":
            if value not in list(Image.Resampling):
                raise ConfigurationError(f"resample is one of PIL's filters, 0 to 5, got {value!r}")
            return int(value)
        if name in ("image_mean", "image_std"):
            numbers = [float(number) for number in value] if isinstance(value, Sequence) else float(value)
            if name == "image_std" and not np.all(np.array(numbers) > 0):
                raise ConfigurationError(f"image_std must be above 0, got {value!r}")
            return numbers
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    # -- pictures to pixel values --------------------------------------------------------------------------------

    def __call__(self, images: Any, return_tensors: str | None = None, **options: Any) -> BatchFeature:
        """See `preprocess`."""
        return self.preprocess(images, return_tensors=return_tensors, **options)

    def preprocess(
        self,
        images: Any,
        *,
        return_tensors: str | None = None,
        data_format: str | None = "channels_first",
        input_data_format: str | None = None,
        **options: Any,
    ) -> BatchFeature:
        """A picture, a list of pictures or a (B, ...) array -> `pixel_values`.

        Pictures are PIL images, numpy arrays or torch tensors of 0...255 (0...1 with `do_rescale=False`), or paths.
        `pixel_values` is a list of B arrays, or with `return_tensors` "np" or "pt" one array or tensor
        (B, C, h, w). `data_format` "channels_last" gives (h, w, C), None the format of the input;
        `input_data_format` may also be "none", for (H, W). Other options override those of the constructor.
        Raises PictureError for what is no picture, and UsageError for an unknown option.
        """
        if unknown := [name for name in options if name not in self.defaults]:
            raise UsageError(
                f"{type(self).__name__} has no option {', '.join(unknown)}; it has {', '.join(self.defaults)}"
            )
        processor = self
        if options:
            processor = copy.copy(self)
            processor._set({name: value for name, value in options.items() if value is not None})
        _check_format("data_format", data_format, ("channels_first", "channels_last", None))
        _check_format("input_data_format", input_data_format, ("channels_first", "channels_last", "none", None))

        arrays = []
        for image in _flat(images):
            pixels, given = processor._canonical(image, input_data_format)
            values = processor._values(pixels)  # (C, h, w)
            last = (given if data_format is None else data_format) == "channels_last"
            arrays.append(np.moveaxis(values, 0, 2) if last else values)
        return BatchFeature(pixel_values=_stacked(arrays, return_tensors))

    def pixel_values(self, picture: Image.Image) -> "torch.Tensor":
        """One picture of mode RGB -> float32 (1, 3, h, w), bit for bit what `preprocess` gives."""
        import torch

        return torch.from_numpy(self._values(picture))[None]

    def _canonical(self, image: Any, input_data_format: str | None) -> tuple[Image.Image | Pixels, str]:
        """A picture in any documented form -> PIL of an 8-bit mode or (C, H, W), and the format it came in."""
        if isinstance(image, (str, os.PathLike)):
            image = to_rgb(image)
        if isinstance(image, Image.Image):
            if self.do_convert_rgb:
                image = flatten(image, "white")
            if 0 in image.size:
                raise PictureError(f"this picture is {image.height}x{image.width}, expected at least 1x1")
            if image.mode in ("RGB", "L", "RGBA"):
                return image, "channels_last"
            image = np.asarray(image)
            input_data_format = "channels_last" if image.ndim == 3 else "none"
        array = as_array(image)
        if array is None:
            raise PictureError(f"{type(image).__name__} is no picture; give a PIL image, an array, a tensor or a path")
        return self._channels_first(array, input_data_format)

    def _channels_first(self, array: Pixels, layout: str | None) -> tuple[Pixels, str]:
        """(H, W), (H, W, C) or (C, H, W) of numbers -> (C, H, W), and the layout it had."""
        if array.dtype.kind not in "buif" or array.ndim not in (2, 3) or 0 in array.shape:
            raise PictureError(f"a picture is (H, W), (H, W, C) or (C, H, W) numbers, got {array.shape} {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PictureError("this picture has values that are NaN or infinite")
        if array.ndim == 2:
            array, layout = array[None], "channels_first"
        elif layout in (None, "none"):
            if array.shape[0] not in CHANNELS and array.shape[2] not in CHANNELS:
                raise PictureError(f"an array of shape {array.shape} has no axis of 1, 3 or 4 channels, first or last")
            layout = "channels_first" if array.shape[0] in CHANNELS else "channels_last"
        if layout == "channels_last":
            array = np.moveaxis(array, 2, 0)
        return (three_channels(array) if self.do_convert_rgb else array), str(layout)

    def _values(self, image: Image.Image | Pixels) -> Pixels:
        """PIL of an 8-bit mode, or (C, H, W) -> resized, cropped, rescaled, normalised (C, h, w)."""
        if self.do_rescale and isinstance(image, np.ndarray) and _is_scaled(image):
            message = "this picture is from 0 to 1 already and is rescaled once more; pass do_rescale=False"
            warnings.warn(message, stacklevel=4)
        if self.do_resize:
            image = resize(image, self.size, self.resample)
        pixels = image if isinstance(image, np.ndarray) else pixels_of(image)  # (C, h, w)
        if self.do_center_crop and self.crop_size is not None:
            pixels = center_crop(pixels, self.crop_size["height"], self.crop_size["width"])
        scale = self.rescale_factor if self.do_rescale else None
        mean, std = (
            per_channel(v, len(pixels)) if self.do_normalize else None for v in (self.image_mean, self.image_std)
        )
        if pixels.dtype != np.uint8:
            return scaled(pixels, scale, mean, std)
        # A byte has 256 values, so each is computed once: the same operations, hence the same bits.
        table = scaled_bytes(len(pixels), scale, mean, std)  # (C, 256)
        values = np.empty(pixels.shape, table.dtype)
        for channel, plane in enumerate(pixels):
            np.take(table[channel], plane, out=values[channel], mode="clip")
        return values

    # -- files ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Every option that is set, and what an unknown file brought along."""
        options = {name: copy.copy(getattr(self, name)) for name in self.defaults}
        named = {name: value for name, value in options.items() if value is not None}
        return {**self.extra, **named, "image_processor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: FilePath) -> None:
        """`to_dict` -> a JSON file."""
        write_json(json_file_path, self.to_dict())

    @classmethod
    def from_dict(cls: type[Self], image_processor_dict: Mapping[str, Any], **overrides: Any) -> Self:
        """Options, as `to_dict` gives them, and those that override them -> an image processor."""
        return cls(**{**image_processor_dict, **overrides})

    def save_pretrained(self, save_directory: FilePath) -> list[str]:
        """A folder -> the path of the preprocessor_config.json written there."""
        path = Path(save_directory) / CONFIG_FILE
        self.to_json_file(path)
        return [str(path)]

    @classmethod
    def from_pretrained(cls: type[Self], name_or_path: FilePath, **options: Any) -> Self:
        """A hub name, "nano" or a folder -> its image processor.

        `subfolder`, `revision`, `cache_dir`, `token` and `local_files_only` say where to look; every other keyword
        overrides what the file says. Raises CheckpointNotFoundError if there is no file.
        """
        where, overrides = split_hub_options(options)
        path = Path(str(find_first(name_or_path, (CONFIG_FILE, WHOLE_CONFIG_FILE), **where)))
        config: Any = read_json(path)
        if path.name == WHOLE_CONFIG_FILE:
            config = config.get("image_processor")
            if not isinstance(config, dict):
                raise CheckpointError(f'{path} has no "image_processor", and there is no {CONFIG_FILE} beside it')
        return cls.from_dict(config, **overrides)


class ViTImageProcessor(ImageProcessor):
    """The image processor of CLIPSeg's checkpoints: squashed to 224 x 224 (they say 352), bilinear, normalised."""


class CLIPImageProcessor(ImageProcessor):
    """The image processor of CLIP's checkpoints: shortest edge 224, bicubic, centre crop, normalised as CLIP was."""

    defaults: ClassVar[Mapping[str, Any]] = {
        **ImageProcessor.defaults,
        "size": {"shortest_edge": 224},
        "resample": Image.Resampling.BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": OPENAI_CLIP_MEAN,
        "image_std": OPENAI_CLIP_STD,
        "do_convert_rgb": True,
    }
    int_size_is_square: ClassVar[bool] = False


def _is_scaled(pixels: Pixels) -> bool:
    return bool(pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1)


def _flat(images: Any) -> list[Any]:
    """A picture, a batch (B, ...) or nested lists of those -> one list of pictures."""
    if isinstance(images, (list, tuple)):
        return [image for part in images for image in _flat(part)]
    return list(images) if getattr(images, "ndim", None) == 4 else [images]


def _stacked(arrays: list[Pixels], kind: str | None) -> "list[Pixels] | Pixels | torch.Tensor":
    """B arrays -> the list itself, or one array ("np") or tensor ("pt") (B, C, h, w)."""
    if kind is None:
        return arrays
    _check_format("return_tensors", kind, ("np", "pt", None))
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        found = ", ".join(map(str, sorted(shapes))) or "no picture"
        raise PictureError(f"one tensor needs pictures that end up in one shape, got {found}; resize or crop them")
    batch = np.stack(arrays)
    if kind == "np":
        return batch
    import torch

    return torch.from_numpy(batch)


def _checked_size(name: str, size: Any, *, square: bool) -> dict[str, int]:
    if isinstance(size, int):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    forms = ({"height", "width"},) if name == "crop_size" else ({"height", "width"}, {"shortest_edge"})
    if not isinstance(size, Mapping) or set(size) not in forms or not all(_positive(edge) for edge in size.values()):
        expected = " or ".join("{" + ", ".join(sorted(form)) + "}" for form in forms)
        raise ConfigurationError(f"{name} is {expected} of whole numbers above 0, or one number, got {size!r}")
    return dict(size)


def _positive(edge: Any) -> bool:
    return isinstance(edge, int) and not isinstance(edge, bool) and edge > 0


def _check_format(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is one of {', '.join(map(str, allowed))}, got {value!r}")
