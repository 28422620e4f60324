"""Masks that are known in advance: logits at full size, so that what was drawn is what comes out."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipseg.masks.masks import Masks


def masks_of(
    inside: NDArray[np.bool_], labels: tuple[str, ...] | None = None, picture: Image.Image | None = None
) -> Masks:
    """(P, H, W) bool -> masks that are just these at every threshold from 0.01 to 0.99; the n-th is surer by little."""
    sure = 5 + torch.arange(len(inside)) / 100
    logits = torch.where(torch.from_numpy(inside), sure[:, None, None], -5.0)
    names = labels or tuple(f"label {n}" for n in range(len(inside)))
    return Masks(logits, names, inside.shape[1:], picture)


def blobs(seed: int, size_hw: tuple[int, int], sigma: float = 3, cut: float = 0.0) -> NDArray[np.bool_]:
    """(H, W) bool: noise, blurred and cut in two; with holes, islands and parts that touch the border."""
    noise = np.random.default_rng(seed).standard_normal(size_hw)
    smooth = ndimage.gaussian_filter(noise, sigma)
    return smooth > cut * smooth.std()


def rectangle(size_hw: tuple[int, int], box_xyxy: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box_xyxy
    mask = np.zeros(size_hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))
