"""How much masks hold, where, and how probable it is: K masks, H W a picture's size."""

import numpy as np
import torch

from clipseg.masks.components import window_of
from clipseg.masks.resample import Surface

_STRIP = 2**18  # pixels whose probabilities are summed at once: they stay in the cache


def counts(inside: torch.Tensor) -> torch.Tensor:
    """(K, H, W) bool -> (K,) int64: pixels in each, counted byte by byte, not as a sum of wider numbers."""
    return torch.tensor([np.count_nonzero(mask) for mask in inside.numpy()], dtype=torch.int64)


def boxes_xyxy(inside: torch.Tensor) -> torch.Tensor:
    """(K, H, W) bool -> (K, 4) int64: the smallest half-open boxes x0, y0, x1, y1; zeros around nothing."""
    windows = [window_of(mask) for mask in inside.numpy()]
    corners = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in windows]
    return torch.tensor(corners, dtype=torch.int64).reshape(-1, 4)


def mean_of(surface: Surface, inside: torch.Tensor) -> float:
    """A map of logits and a mask (H, W) bool -> the mean probability inside the mask, 0 for an empty one."""
    rows, columns = window_of(inside.numpy())
    step = max(1, _STRIP // max(1, columns.stop - columns.start))
    total = 0.0
    for top in range(rows.start, rows.stop, step):
        strip = slice(top, min(top + step, rows.stop)), columns
        total += float((surface.values(strip).sigmoid() * inside[strip]).sum(dtype=torch.float64))
    return total / max(1, int(counts(inside[None])[0]))
