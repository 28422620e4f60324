"""A new mask and one that was there before.

H W a picture's size. Masks are bool, or float32 from 0 to 1. An existing mask is 1 where it is white.
"""

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import UsageError

ExistingMask: TypeAlias = torch.Tensor | NDArray[np.generic] | Image.Image
"""Bool, numbers from 0 to 1, or 8-bit levels; of a picture its levels of grey. (H, W), or (P, H, W) one per label."""


def existing_maps(mask: ExistingMask, count: int, size_hw: tuple[int, int]) -> torch.Tensor:
    """A mask that was there before -> (1, H, W) for all labels, or (P, H, W), bool or float32 from 0 to 1.

    Raises UsageError for another size, number or type, and for numbers beyond 0 to 1.
    """
    if isinstance(mask, Image.Image):
        deep = mask.mode.startswith("I")  # 16 bits; converting them to 8 would cut them off
        mask = np.asarray(mask, np.float32) / 65535 if deep else np.asarray(mask.convert("L"))
    maps = mask.detach().cpu() if isinstance(mask, torch.Tensor) else torch.from_numpy(np.array(mask))
    if maps.dtype == torch.uint8:
        maps = maps.float() / 255
    maps = maps if maps.dtype == torch.bool else maps.float()
    maps = maps[None] if maps.ndim == 2 else maps
    if maps.ndim != 3 or tuple(maps.shape[1:]) != size_hw or len(maps) not in (1, count):
        expected = f"({size_hw[0]}, {size_hw[1]}), or {count} of that size"
        raise UsageError(f"an existing mask must have the picture's size, {expected}; got {tuple(maps.shape)}")
    if maps.is_floating_point() and not bool(((maps >= 0) & (maps <= 1)).all()):
        raise UsageError("an existing mask must be bool, numbers from 0 to 1, or 8-bit levels; got numbers beyond")
    return maps


def composed(new: torch.Tensor, existing: torch.Tensor, how: str, alpha: float) -> torch.Tensor:
    """Masks (H, W) float32 from 0 to 1 -> one, by a value of the option `compose`.

    replace    the new one
    fill       the existing one, and the new one where that is 0
    add        both together, 1 at most
    subtract   the existing one less the new one, 0 at least
    intersect  the smaller of the two
    blend      `alpha` of the new one and the rest of the existing one
    """
    match how:
        case "fill":
            return torch.where(existing > 0, existing, new)
        case "add":
            return (existing + new).clamp(max=1)
        case "subtract":
            return (existing - new).clamp(min=0)
        case "intersect":
            return torch.minimum(existing, new)
        case "blend":
            return torch.lerp(existing, new, alpha)
    return new
