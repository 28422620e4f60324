"""Visual-prompt engineering: how a picture and a mask of the thing meant become one picture prompt.

    normalised picture, mask ──> blur the background ──> tint, or scale the background towards the mean ──> outline
                             ──> crop around the mask ──> square

Arithmetic is on normalised pixels, as in the paper's code: a zero there is the mean colour that the model was trained
with, not black, so a background scaled by 0.1 becomes flat grey and the padding of a crop is grey as well. Colours
alone (tint, outline) are put on pixels from 0 to 1, and those normalised again.

Shapes: H, W picture · h, w prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from scipy import ndimage

from clipseg.errors import PromptError
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.prompting.styles import VisualStyle

BLUR_KERNEL = 15  # pixels; the paper's code uses 15 x 15 whatever the sigma
OUTLINE_RGB = (1.0, 0.0, 0.0)
Box = tuple[int, int, int, int]


def engineer(
    pixels: torch.Tensor,
    mask: torch.Tensor,
    style: VisualStyle,
    size_hw: tuple[int, int],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> torch.Tensor:
    """Normalised pixels (3, H, W), mask (H, W), true inside -> the prompt's pixels (3, h, w), (h, w) = `size_hw`.

    `mean` and `std` are what the pixels were normalised with. An empty mask counts the whole picture as background and
    as box. Without a crop the picture is squashed. Raises PromptError for a mask of another size than the pixels.
    """
    return engineered(pixels, mask, style, size_hw, mean, std)[0]


def engineered(
    pixels: torch.Tensor,
    mask: torch.Tensor,
    style: VisualStyle,
    size_hw: tuple[int, int],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `engineer` -> the prompt's pixels (3, h, w), and where the mask is in them (h, w) bool."""
    if mask.shape != pixels.shape[1:]:
        raise PromptError(f"mask has shape {tuple(mask.shape)} but its pixels {tuple(pixels.shape)}; resize the mask")
    inside = mask.bool()
    scale, shift = _per_channel(std, pixels), _per_channel(mean, pixels)
    out = pixels
    if style.blur > 0:
        out = torch.where(inside, pixels, gaussian_blur(pixels, style.blur))
    if style.tint is not None:
        grey = (out * scale + shift).clamp(0, 1).mean(0, keepdim=True)  # (1, H, W)
        out = (torch.where(inside, grey * _per_channel(style.tint, pixels), grey * style.background) - shift) / scale
    elif style.background != 1:
        out = torch.where(inside, out, out * style.background)
    if style.offset:
        out = out + style.offset
    if style.outline > 0:
        red = (_per_channel(OUTLINE_RGB, pixels) - shift) / scale
        out = torch.where(outline(inside, style.outline), red, out)
    both = torch.cat([out, inside[None].to(out.dtype)])  # (4, H, W)
    if style.context is not None:
        x0, y0, x1, y1 = widened(mask_box(inside), style.context, tuple(inside.shape))
        both = padded_square(both[:, y0:y1, x0:x1])
    both = F.interpolate(both[None], size=size_hw, mode="nearest")[0]
    return both[:3], both[3] > 0


def outline(mask: torch.Tensor, thickness: float) -> torch.Tensor:
    """Mask (H, W) bool -> a line along its outer border, that of holes aside, half of the line on either side."""
    filled = ndimage.binary_fill_holes(mask.cpu().numpy())
    edge = filled & ~ndimage.binary_erosion(filled)
    line = edge & False if not edge.any() else ndimage.distance_transform_edt(~edge) <= max(thickness - 1, 0) / 2
    return torch.from_numpy(line).to(mask.device)


def gaussian_blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Pixels (C, H, W) -> the same under a 15 x 15 Gaussian, mirrored at the borders (repeated where too small)."""
    radius = BLUR_KERNEL // 2
    offsets = torch.arange(-radius, radius + 1, dtype=pixels.dtype, device=pixels.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    border = "reflect" if min(pixels.shape[-2:]) > radius else "replicate"
    padded = F.pad(pixels[None], (radius,) * 4, mode=border)[0][:, None]  # (C, 1, H + 14, W + 14)
    rows = F.conv2d(padded, kernel.view(1, 1, -1, 1))
    return F.conv2d(rows, kernel.view(1, 1, 1, -1))[:, 0]


def mask_box(mask: torch.Tensor) -> Box:
    """Mask (H, W) -> its half-open box x0, y0, x1, y1 in pixels; the whole picture if the mask is empty."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def widened(box_xyxy: Box, share: float, size_hw: tuple[int, ...]) -> Box:
    """A box with each side moved out by a share of its extent along that axis, cut off at the picture's border."""
    x0, y0, x1, y1 = box_xyxy
    dx, dy = round((x1 - x0) * share), round((y1 - y0) * share)
    return max(x0 - dx, 0), max(y0 - dy, 0), min(x1 + dx, size_hw[1]), min(y1 + dy, size_hw[0])


def padded_square(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (C, H, W) -> a square with zeros around, the smaller half of them left and top."""
    height, width = pixels.shape[-2:]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return F.pad(pixels, (left, side - width - left, top, side - height - top))


def _per_channel(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """One number a channel -> (C, 1, 1), of the type and on the device of `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
