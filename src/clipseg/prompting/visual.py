"""Visual-prompt engineering: how a picture and a mask of the thing meant become one picture prompt.

    normalised picture, mask ──> blur the background ──> scale it towards the mean ──> crop around the mask ──> square

All arithmetic is on normalised pixels, as in the paper's code: a zero there is the mean colour of ImageNet,
not black, so a background scaled by 0.1 becomes flat grey and the padding of a crop is grey as well.

Shapes: H, W picture · h, w prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from clipseg.errors import PromptError

BLUR_KERNEL = 15  # pixels; the paper's code uses 15 x 15 whatever the sigma
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class VisualStyle:
    """How the background of a picture prompt is treated.

    Fields
        blur        sigma of the Gaussian over the background in pixels of the prompt's input; 0: none
        background  factor on the normalised background, 0 (mean colour) to 1 (as it is)
        context     how far a crop goes beyond the mask's box, as a share of the box's extent; None: no crop
    """

    blur: float = 0.0
    background: float = 1.0
    context: float | None = None


STYLES: dict[str, VisualStyle] = {
    "whole": VisualStyle(),
    "crop": VisualStyle(blur=1.0, context=0.1),
    "crop_blur_highlight": VisualStyle(blur=3.0, background=0.1, context=0.1),  # the paper's final recipe
}
DEFAULT_STYLE = "crop_blur_highlight"


def style_named(name: str) -> VisualStyle:
    """A key of STYLES -> the style. Raises PromptError for another name."""
    if name not in STYLES:
        raise PromptError(f"unknown visual-prompt style {name!r}; known are {', '.join(STYLES)}")
    return STYLES[name]


def engineer(pixels: torch.Tensor, mask: torch.Tensor, style: VisualStyle, size_hw: tuple[int, int]) -> torch.Tensor:
    """Normalised pixels (3, H, W), mask (H, W), true inside -> the prompt's pixels (3, h, w), (h, w) = `size_hw`.

    An empty mask counts the whole picture as background and as box. Without a crop the picture is squashed. Raises
    PromptError for a mask of another size than the pixels.
    """
    if mask.shape != pixels.shape[1:]:
        raise PromptError(f"mask has shape {tuple(mask.shape)} but its pixels {tuple(pixels.shape)}; resize the mask")
    inside = mask.bool()
    out = pixels
    if style.blur > 0:
        out = torch.where(inside, pixels, gaussian_blur(pixels, style.blur))
    if style.background != 1:
        out = torch.where(inside, out, out * style.background)
    if style.context is not None:
        x0, y0, x1, y1 = widened(mask_box(inside), style.context, tuple(inside.shape))
        out = padded_square(out[:, y0:y1, x0:x1])
    return F.interpolate(out[None], size=size_hw, mode="nearest")[0]


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
