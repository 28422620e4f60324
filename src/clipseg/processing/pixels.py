"""The steps from a picture to pixel values, as functions of PIL images and arrays.

Bit for bit the steps of the documented image processors over PIL. Legend: C channels, H, W a picture's size, h, w the
size asked for.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipseg.errors import PictureError
from clipseg.processing.images import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = npt.NDArray[Any]
Grid = TypeVar("Grid", "npt.NDArray[Any]", "torch.Tensor")
"""An array or a tensor: what comes before the engines is the same for both."""

CHANNELS = (1, 3, 4)


def channels_first(pixels: Grid, layout: str | None, *, rgb: bool) -> tuple[Grid, str]:
    """(H, W), (H, W, C) or (C, H, W) of numbers -> (C, H, W), and the layout it had; `rgb` makes C = 3 of 1 and 4.

    Raises PictureError for other shapes, for complex numbers and for values that are not finite.
    """
    numbers = pixels.dtype.kind in "buif" if isinstance(pixels, np.ndarray) else not pixels.is_complex()
    if not numbers or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        shape = tuple(pixels.shape)
        raise PictureError(f"a picture is (H, W), (H, W, C) or (C, H, W) numbers, got {shape} {pixels.dtype}")
    if is_float(pixels) and not (pixels.min() > -np.inf and pixels.max() < np.inf):  # false of NaN
        raise PictureError("this picture has values that are NaN or infinite")
    if pixels.ndim == 2:
        pixels, layout = pixels[None], "channels_first"
    elif layout in (None, "none"):
        if pixels.shape[0] not in CHANNELS and pixels.shape[2] not in CHANNELS:
            shape = tuple(pixels.shape)
            raise PictureError(f"an array of shape {shape} has no axis of 1, 3 or 4 channels, first or last")
        layout = "channels_first" if pixels.shape[0] in CHANNELS else "channels_last"
    if layout == "channels_last":
        pixels = pixels.swapaxes(0, 2).swapaxes(1, 2)  # (H, W, C) -> (C, W, H) -> (C, H, W)
    return (three_channels(pixels) if rgb else pixels), str(layout)


def is_float(pixels: Grid) -> bool:
    """Whether these are fractions rather than whole numbers."""
    return bool(pixels.dtype.kind == "f" if isinstance(pixels, np.ndarray) else pixels.is_floating_point())


def is_scaled(pixels: Grid) -> bool:
    """Whether these are fractions from 0 to 1, as after rescaling."""
    return is_float(pixels) and bool(pixels.min() >= 0 and pixels.max() <= 1)


def three_channels(pixels: Grid) -> Grid:
    """(C, H, W) with C = 1, 3 or 4 -> RGB (3, H, W), alpha laid on white."""
    if len(pixels) == 1:
        return pixels[[0, 0, 0]]
    if len(pixels) != 4:
        return pixels
    white = 1.0 if is_float(pixels) or str(pixels.dtype) == "bool" else 255
    if is_float(pixels) and (pixels.min() < 0 or pixels.max() > 1):
        raise PictureError(f"RGBA floats are from 0 to 1, got {pixels.min()}...{pixels.max()}")
    alpha = pixels[3:] / white
    laid = alpha * pixels[:3] + (1 - alpha) * white
    if white == 255:
        laid = laid.round()
    return laid.astype(pixels.dtype) if isinstance(laid, np.ndarray) else laid.to(pixels.dtype)


def resized_hw(height: int, width: int, size: Mapping[str, int]) -> tuple[int, int]:
    """A picture's size and the `size` asked for -> the size to resize to.

    {"shortest_edge"} keeps the aspect, the long side truncated. Raises PictureError where that becomes too large.
    """
    if "height" in size:
        return size["height"], size["width"]
    short, long = sorted((height, width))
    edge = size["shortest_edge"]
    longer = int(edge * long / short)
    if edge * longer > DEFAULT_MAX_PIXELS:
        raise PictureError(f"this picture of {height}x{width} is too long and thin: it would become {edge}x{longer}")
    return (edge, longer) if height <= width else (longer, edge)


def resize(image: Image.Image | Pixels, size: Mapping[str, int], resample: int) -> Image.Image | Pixels:
    """PIL of an 8-bit mode, or (C, H, W) -> the same resized, antialiased; floats come back as floats in 0...1."""
    if isinstance(image, Image.Image):
        height, width = resized_hw(image.height, image.width, size)
        return image.resize((width, height), Image.Resampling(resample))
    # PIL resizes bytes. Floats in 0...1 become bytes for that and are divided again; whole numbers are taken as bytes.
    fractions = False
    if image.dtype != np.uint8:
        fractions = not np.allclose(image, image.astype(np.int64))
        top = 1 if fractions else 255
        if image.min() < 0 or image.max() > top:
            raise PictureError(f"this picture has values from {image.min()} to {image.max()}, expected 0...{top}")
        image = (_rescaled(image, 255) if fractions else image).astype(np.uint8)
    if len(image) not in (1, 2, 3, 4):
        raise PictureError(f"a picture to resize has 1 to 4 channels, got shape {image.shape}")
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(np.moveaxis(image, 0, 2)))
    pixels = pixels_of(resize(picture, size, resample))
    return _rescaled(pixels, 1 / 255) if fractions else pixels


def pixels_of(picture: Image.Image | Pixels) -> Pixels:
    """PIL of an 8-bit mode -> uint8 (C, H, W)."""
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def center_crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """(C, H, W) -> its middle (C, h, w); what a smaller picture lacks is 0, the larger half of it above and left."""
    lacking = [max(0, wanted - got) for wanted, got in zip((height, width), pixels.shape[1:], strict=True)]
    if any(lacking):
        # Halves rounded up before and down after.
        pixels = np.pad(pixels, [(0, 0), *((lack - lack // 2, lack // 2) for lack in lacking)])
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


def _rescaled(pixels: Pixels, scale: float) -> Pixels:
    return np.asarray((pixels.astype(np.float64) * scale).astype(np.float32))


def scaled(
    pixels: Pixels, scale: float | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Pixels:
    """(C, H, W) -> rescaled in float64 and kept in float32, then normalised in that (or in the floats it came in)."""
    if scale is not None:
        pixels = _rescaled(pixels, scale)
    if mean is None or std is None:
        return pixels
    if pixels.dtype.kind != "f":
        pixels = pixels.astype(np.float32)
    means, stds = (np.array(values, pixels.dtype)[:, None, None] for values in (mean, std))  # (C, 1, 1)
    return np.asarray((pixels - means) / stds)


@lru_cache(maxsize=32)
def scaled_bytes(
    channels: int, scale: float | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Pixels:
    """What `scaled` makes of each byte -> (C, 256), not to be written to."""
    every_byte = np.broadcast_to(np.arange(256, dtype=np.uint8), (channels, 1, 256))
    table = scaled(every_byte, scale, mean, std)[:, 0]
    table.setflags(write=False)
    return table


def per_channel(values: Sequence[float] | float, channels: int) -> tuple[float, ...]:
    """One number, or C of them -> C. Raises PictureError if there are not as many as channels."""
    if isinstance(values, float):
        return (values,) * channels
    if len(values) != channels:
        raise PictureError(
            f"this picture has {channels} channels but image_mean and image_std have {len(values)} values; "
            "pass do_convert_rgb=True"
        )
    return tuple(values)
