"""Losses as functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it


def mask_bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logits and targets of one shape -> the mean binary cross-entropy."""
    return F.binary_cross_entropy_with_logits(logits, targets)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logits and targets (…, H, W) -> the mean of 1 - Dice over the masks that are not empty.

    Dice = (2 Σpt + 1) / (Σp + Σt + 1) per mask (Milletari et al., V-Net, 2016, with the sums instead of the squares).
    An empty target has nothing to overlap with; there the cross-entropy alone teaches.
    """
    probabilities = logits.sigmoid()
    overlap = (probabilities * targets).sum((-1, -2))
    total = probabilities.sum((-1, -2)) + targets.sum((-1, -2))
    losses = 1 - (2 * overlap + 1) / (total + 1)
    present = targets.amax((-1, -2)) > 0
    return (losses * present).sum() / present.sum().clamp(min=1)


def soft_contrastive_loss(similarities: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Scaled similarities (n_img, n_txt), same (n_img, n_txt) bool -> the mean of both directions' cross-entropies.

    Several texts may name one picture's kind and several pictures show one text's: their targets share the mass. Rows
    or columns without a match are left out. With a diagonal `same` this is CLIP's loss.
    """

    def one_way(scores: torch.Tensor, match: torch.Tensor) -> torch.Tensor:
        kept = match.any(1)
        target = match[kept].to(scores.dtype)
        return F.cross_entropy(scores[kept], target / target.sum(1, keepdim=True))

    return (one_way(similarities, same) + one_way(similarities.t(), same.t())) / 2
