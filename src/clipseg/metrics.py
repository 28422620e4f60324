"""Scores of masks as functions of arrays. A metric's name states its averaging."""

from __future__ import annotations

import torch


def iou_per_mask(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Two boolean masks (…, H, W) -> intersection over union of each pair (…), 1 where both are empty."""
    intersection = (predicted & truth).sum((-1, -2))
    union = (predicted | truth).sum((-1, -2))
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones((), device=union.device))


def area_under_roc(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Scores of present (n,) and of absent things (m,) -> the chance that a present one scores higher.

    Ties count half; NaN where either kind is missing.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    order, scores = negative.double().sort().values, positive.double().contiguous()
    below = torch.searchsorted(order, scores, right=False)
    up_to = torch.searchsorted(order, scores, right=True)
    return float((below + up_to).double().mean() / (2 * len(negative)))
