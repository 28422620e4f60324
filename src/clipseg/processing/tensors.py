"""The steps from a picture to pixel values on tensors, of one picture or of many of a size.

The formulas of the documented tensor back end, which is built on torchvision: its results differ from those of PIL by
rounding. Legend: B pictures, C channels, H, W their size, h, w the size asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it
from PIL import Image

from clipseg.errors import PictureError
from clipseg.processing import pixels

FILTERS = {
    Image.Resampling.NEAREST: "nearest-exact",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}
"""PIL's filters that torch has, by its name for them."""

BLOCK_BYTES = 2**24
"""Pictures held at once, so that a hundred photographs in files need the memory of one."""


def resize(pictures: torch.Tensor, size: Mapping[str, int], resample: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, h, w) of the same dtype, antialiased; whole numbers are rounded.

    Bytes on the processor stay bytes throughout, as in PIL; elsewhere, and of other whole numbers, floats are resized
    and rounded. A filter that torch lacks (box, Hamming, Lanczos) is PIL's.
    """
    height, width = pictures.shape[-2:]
    size_hw = pixels.resized_hw(height, width, size)
    if size_hw == (height, width):
        return pictures
    mode = FILTERS.get(Image.Resampling(resample))
    if mode is None:
        by_pil = [np.asarray(pixels.resize(each.cpu().numpy(), size, resample)) for each in pictures]
        return torch.from_numpy(np.stack(by_pil)).to(pictures.device, pictures.dtype)
    options: dict[str, Any] = {} if mode == "nearest-exact" else {"align_corners": False, "antialias": True}
    native = (torch.uint8, torch.float32, torch.float64) if pictures.device.type == "cpu" else (torch.float32,)
    if pictures.dtype in native:
        return F.interpolate(pictures, size_hw, mode=mode, **options)
    resized = F.interpolate(pictures.float(), size_hw, mode=mode, **options)
    if not pictures.is_floating_point():
        resized = resized.round()
        if pictures.dtype == torch.uint8:
            resized = resized.clamp(0, 255)  # bicubic overshoots
    return resized.to(pictures.dtype)


def center_crop(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, C, H, W) -> their middle (B, C, h, w); what a smaller one lacks is 0, the larger half below and right."""
    lacking = [max(0, wanted - got) for wanted, got in zip((height, width), pictures.shape[-2:], strict=True)]
    if any(lacking):
        down, across = lacking
        pictures = F.pad(pictures, (across // 2, across - across // 2, down // 2, down - down // 2))
    top, left = (pictures.shape[-2] - height) // 2, (pictures.shape[-1] - width) // 2
    return pictures[..., top : top + height, left : left + width]


def scaled(
    pictures: torch.Tensor, scale: float | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> torch.Tensor:
    """(B, C, H, W) -> rescaled and normalised as one, (x - mean / scale) / (std / scale) in float32.

    Where only one of the two is asked for: x * scale, or (x - mean) / std in float32; where none is, x.
    """
    if mean is None or std is None:
        return pictures if scale is None else pictures * scale
    means, stds = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (mean, std))  # (C, 1, 1)
    if scale is not None:
        means, stds = means * (1 / scale), stds * (1 / scale)
    return (pictures.float() - means).div_(stds)


def padded(pictures: Sequence[torch.Tensor], size: Mapping[str, int] | None) -> list[torch.Tensor]:
    """B of (C, H, W) -> B of (C, h, w): `size`, or the largest height and width, filled up with 0 right and below.

    Raises PictureError for a picture that is larger than `size`.
    """
    if not pictures:
        return []
    found = [tuple(each.shape[-2:]) for each in pictures]
    height, width = (size["height"], size["width"]) if size else map(max, zip(*found, strict=True))
    for high, wide in found:
        if high > height or wide > width:
            raise PictureError(f"a picture of {high}x{wide} is to be padded to {height}x{width}; pad_size is too small")
    return [F.pad(each, (0, width - each.shape[-1], 0, height - each.shape[-2])) for each in pictures]


def blocks(pictures: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Pictures, one after the other -> lists of as many as `BLOCK_BYTES` allow, in order; one is always allowed."""
    block: list[torch.Tensor] = []
    for picture in pictures:
        block.append(picture)
        if sum(each.nbytes for each in block) >= BLOCK_BYTES:
            yield block
            block = []
    if block:
        yield block


def by_shape(pictures: Sequence[torch.Tensor], work: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """B of (C, H, W) -> what `work` makes of each, (C, h, w); those of one shape are worked on as (B, C, H, W)."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        alike.setdefault((picture.shape, picture.dtype, picture.device), []).append(index)
    done: dict[int, torch.Tensor] = {}
    for indices in alike.values():
        done.update(zip(indices, work(torch.stack([pictures[index] for index in indices])), strict=True))
    return [done[index] for index in range(len(pictures))]
