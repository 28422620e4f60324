"""Pictures -> pixel values: resize, crop, rescale, normalise, as the documented image processors do it.

Legend: B pictures, C channels, H, W their size, h, w the size the model is given.
"""

import copy
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from clipseg.errors import PictureError
from clipseg.processing.batch import BatchFeature
from clipseg.processing.image_options import ANSWER_OPTIONS, ImageOptions, check_choice
from clipseg.processing.image_options import CONFIG_FILE as CONFIG_FILE
from clipseg.processing.image_options import WHOLE_CONFIG_FILE as WHOLE_CONFIG_FILE
from clipseg.processing.images import as_array, flatten, to_rgb
from clipseg.processing.pixels import (
    Pixels,
    center_crop,
    channels_first,
    is_scaled,
    per_channel,
    pixels_of,
    resize,
    scaled,
    scaled_bytes,
)
from clipseg.processing.statistics import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

if TYPE_CHECKING:
    import torch

# The documented order of a call's options; a class that never crops leaves those of the crop to keywords.
BEFORE_THE_CROP = ("do_resize", "size", "resample")
OF_THE_CROP = ("do_center_crop", "crop_size")
AFTER_THE_CROP = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")


class ImageProcessor(ImageOptions):
    """B pictures -> pixel values of one size, in float32.

    Every option is a keyword of the constructor and of each call; a subclass says what it is by default. `size` is
    {"height", "width"} (squashed to it), {"shortest_edge"} (the aspect kept), an int or (height, width); `crop_size`
    is {"height", "width"}, an int or (height, width). `resample` is a PIL filter. What is kept of unknown options,
    and what is raised, says `ImageOptions`.

    The pixels are worked on by PIL and numpy, which is the reference for every number; a subclass may have another
    engine, in `_engine`.
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
    data_formats: ClassVar[tuple[str | None, ...]] = ("channels_first", "channels_last", None)

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

    def __call__(self, images: Any, *arguments: Any, **options: Any) -> BatchFeature:
        """See `preprocess`."""
        return self.preprocess(images, *arguments, **options)

    def preprocess(self, images: Any, *arguments: Any, **options: Any) -> BatchFeature:
        """A picture, a list of pictures or a (B, ...) array -> `pixel_values`.

        Pictures are PIL images, numpy arrays or torch tensors of 0...255 (0...1 with `do_rescale=False`), or paths.
        `pixel_values` is a list of B arrays, or with `return_tensors` "np" or "pt" one array or tensor
        (B, C, h, w). `data_format` is "channels_first", "channels_last" for (h, w, C), or None for the format of the
        input; `input_data_format` may also be "none", for (H, W). Other options override those of the constructor,
        where None stands for the constructor's. By position they come in the order of `order`. Members of an
        enumeration count as their values. Warns, once, if a picture is 0...1 already and would be rescaled.
        Raises PictureError for what is no picture, and UsageError for an unknown option.
        """
        processor, answer = self._told(self._named(arguments, options))
        check_choice("return_tensors", answer["return_tensors"], ("np", "pt", None))
        check_choice("data_format", answer["data_format"], self.data_formats)
        check_choice(
            "input_data_format", answer["input_data_format"], ("channels_first", "channels_last", "none", None)
        )
        flat = _flat(images)
        distinct = {id(image): image for image in flat}  # one picture under many prompts is worked on once
        layouts: list[str] = []  # grows as the engine takes pictures, so it is read after the values
        pictures = processor._pictures(distinct.values(), answer["input_data_format"], layouts)
        values = [
            np.moveaxis(each, 0, 2) if (answer["data_format"] or layout) == "channels_last" else each
            for each, layout in zip(processor._engine(pictures), layouts, strict=False)
        ]
        row = dict(zip(distinct, values, strict=True))
        values = [row[id(image)] for image in flat]  # B of (C, h, w)
        if answer["return_tensors"] is None and len(distinct) < len(flat):
            values = list(map(copy.deepcopy, values))  # nobody wants to find that two of a list are one
        return BatchFeature(pixel_values=_stacked(values, answer["return_tensors"]))

    def pixel_values(self, picture: Image.Image) -> "torch.Tensor":
        """One picture of mode RGB -> float32 (1, 3, h, w), bit for bit what `preprocess` gives."""
        import torch

        (values,) = self._engine([self._canonical(picture, None)[0]])
        return torch.as_tensor(values)[None]

    def _pictures(self, images: Iterable[Any], layout: str | None, layouts: list[str]) -> Iterator[Any]:
        """Pictures in any documented form -> each as the engine takes it; their layouts are noted down meanwhile."""
        warned = not self.do_rescale
        for image in images:
            picture, given = self._canonical(image, layout)
            if not warned and not isinstance(picture, Image.Image) and is_scaled(picture):
                message = "this picture is from 0 to 1 already and is rescaled once more; pass do_rescale=False"
                warnings.warn(message, stacklevel=4)
                warned = True
            layouts.append(given)
            yield picture

    def _canonical(self, image: Any, layout: str | None) -> tuple[Any, str]:
        """A picture in any documented form -> PIL of an 8-bit mode or (C, H, W), and the layout it came in."""
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
            layout = "channels_last"
        pixels = self._as_pixels(image)
        if pixels is None:
            raise PictureError(f"{type(image).__name__} is no picture; give a PIL image, an array, a tensor or a path")
        return channels_first(pixels, layout, rgb=bool(self.do_convert_rgb))

    # -- the engine ----------------------------------------------------------------------------------------------

    def _as_pixels(self, image: Any) -> Any:
        """An array or a tensor -> as the engine takes it; None for anything else."""
        return as_array(image)

    def _engine(self, pictures: Iterable[Any]) -> Iterable[Any]:
        """B pictures, PIL of an 8-bit mode or (C, H, W), one at a time -> B of resized, …, normalised (C, h, w)."""
        return map(self._values, pictures)

    def _values(self, image: Image.Image | Pixels) -> Pixels:
        if self.do_resize:
            image = resize(image, self.size, self.resample)
        pixels = image if isinstance(image, np.ndarray) else pixels_of(image)  # (C, h, w)
        if self.do_center_crop and self.crop_size is not None:
            pixels = center_crop(pixels, self.crop_size["height"], self.crop_size["width"])
        scale, mean, std = self._scaling(len(pixels))
        if pixels.dtype != np.uint8:
            return scaled(pixels, scale, mean, std)
        # A byte has 256 values, so each is computed once: the same operations, hence the same bits.
        table = scaled_bytes(len(pixels), scale, mean, std)  # (C, 256)
        values = np.empty(pixels.shape, table.dtype)
        for channel, plane in enumerate(pixels):
            np.take(table[channel], plane, out=values[channel], mode="clip")
        return values

    def _scaling(self, channels: int) -> tuple[float | None, tuple[float, ...] | None, tuple[float, ...] | None]:
        """C -> the factor to rescale by, C means and C standard deviations; None for a step that is off."""
        scale = self.rescale_factor if self.do_rescale else None
        if not self.do_normalize:
            return scale, None, None
        return scale, per_channel(self.image_mean, channels), per_channel(self.image_std, channels)


class ViTImageProcessor(ImageProcessor):
    """The image processor of CLIPSeg's checkpoints: squashed to 224 x 224 (they say 352), bilinear, normalised."""

    order = (*BEFORE_THE_CROP, *AFTER_THE_CROP, *ANSWER_OPTIONS, "do_convert_rgb")


class CLIPImageProcessor(ImageProcessor):
    """The image processor of CLIP's checkpoints: shortest edge 224, bicubic, centre crop, normalised as CLIP was."""

    order = (*BEFORE_THE_CROP, *OF_THE_CROP, *AFTER_THE_CROP, "do_convert_rgb", *ANSWER_OPTIONS)
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


def _flat(images: Any) -> list[Any]:
    """A picture, a batch (B, ...) or nested lists of those -> one list of pictures."""
    if isinstance(images, (list, tuple)):
        return [image for part in images for image in _flat(part)]
    return list(images) if getattr(images, "ndim", None) == 4 else [images]


def _stacked(values: list[Any], kind: str | None) -> "list[Any] | Pixels | torch.Tensor":
    """B arrays or tensors -> the list itself, or one array ("np") or tensor ("pt") (B, C, h, w)."""
    if kind is None:
        return values
    shapes = {tuple(each.shape) for each in values}
    if len(shapes) != 1:
        found = ", ".join(map(str, sorted(shapes))) or "no picture"
        raise PictureError(f"one tensor needs pictures that end up in one shape, got {found}; resize or crop them")
    tensors = not isinstance(values[0], np.ndarray)
    if kind == "np":
        return np.stack([each.cpu().numpy() for each in values] if tensors else values)
    import torch

    return torch.stack(values) if tensors else torch.from_numpy(np.stack(values))
