"""Maps of numbers from one size to another.

N maps, h w the size they have, H W the size they get.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it

BLOCK_ELEMENTS = 2**24
"""Full-size numbers held at once while maps are upsampled block by block: 64 MiB of float32."""


def resize(maps: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """(N, h, w) -> (N, H, W) in new memory, bilinear between pixel centres (`align_corners=False`).

    Where a side gets shorter, every pixel it covers takes part (antialias), so thin shapes fade instead of vanishing.
    """
    shrinks = size_hw[0] < maps.shape[-2] or size_hw[1] < maps.shape[-1]
    resized = F.interpolate(maps[None], size=size_hw, mode="bilinear", align_corners=False, antialias=shrinks)
    return resized[0]  # (N, H, W)


def resized_blocks(maps: torch.Tensor, size_hw: tuple[int, int]) -> Iterator[tuple[slice, torch.Tensor]]:
    """(N, h, w) -> which maps, and those as (K, H, W); in order, and as many at once as `BLOCK_ELEMENTS` allows.

    One map is always allowed, so a thousand maps of a 12-megapixel picture need 48 MB here and not 48 GB.
    """
    count = max(1, BLOCK_ELEMENTS // (size_hw[0] * size_hw[1]))
    for start in range(0, len(maps), count):
        part = slice(start, min(start + count, len(maps)))
        yield part, resize(maps[part], size_hw)
