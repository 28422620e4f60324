"""Scores of masks as functions of arrays. A metric's name states its averaging."""

from __future__ import annotations

import torch
from scipy import ndimage

from clipseg.errors import UsageError


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


def calibration_error(probabilities: torch.Tensor, truth: torch.Tensor, bins: int = 10) -> float:
    """Probabilities (n,) of outcomes, and the outcomes (n,) bool -> the expected calibration error, 0 to 1.

    In `bins` bins of equal width, the mean probability against the share that came true; the mean of the differences,
    each bin weighing as it is filled (Naeini, Cooper and Hauskrecht, 2015). NaN for no outcomes.
    """
    if not len(probabilities):
        return float("nan")
    place = (probabilities.double() * bins).long().clamp(0, bins - 1)
    differences = torch.zeros(bins, dtype=torch.float64)
    differences.index_add_(0, place, probabilities.double() - truth.double())
    return float(differences.abs().sum() / len(probabilities))


def boundary_f1(predicted: torch.Tensor, truth: torch.Tensor, tolerance: float) -> float:
    """Two boolean masks (H, W) -> how well their outlines agree, 0 to 1; 1 where both are empty.

    The harmonic mean of precision, the part of the predicted outline that is within `tolerance` pixels of the true one,
    and recall, the reverse (Martin, Fowlkes and Malik, 2004, without one-to-one matching). An outline is the pixels of
    a mask with a neighbour outside it, by a side; the picture's border is none. Raises UsageError unless both are
    (H, W) bool of one size and the tolerance is at least 0.
    """
    for mask in (predicted, truth):
        if mask.dtype != torch.bool or mask.ndim != 2 or mask.shape != truth.shape:
            shapes = f"{tuple(predicted.shape)} {predicted.dtype} and {tuple(truth.shape)} {truth.dtype}"
            raise UsageError(f"outlines are compared of two masks (H, W) bool of one size; got {shapes}")
    if not tolerance >= 0:
        raise UsageError(f"tolerance is a number of pixels of at least 0; got {tolerance}")
    outlines = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (predicted.numpy(), truth.numpy())]
    if not (outlines[0].any() and outlines[1].any()):
        return float(bool((predicted == truth).all()))
    near = [ndimage.distance_transform_edt(~outline) <= tolerance for outline in outlines]
    precision, recall = float(near[1][outlines[0]].mean()), float(near[0][outlines[1]].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
