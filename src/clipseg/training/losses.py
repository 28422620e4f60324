"""Losses as functions of tensors. Each is a sum over what it counts, divided by that count.

    mask_bce, focal_loss    count pixels that are valid       valid.sum()
    dice_loss               counts masks that are not empty   masks_present(targets, valid).sum()

so a loss of parts of a batch, weighted by the parts' shares of the count, adds up to that of the whole, whoever has the
parts (`work`). `valid` (bool, as the targets; None: everywhere) says which pixels are trained on; no other has any
influence, on values or on gradients, not even one whose logit is infinite.

Shapes: (…, H, W) masks · n_img pictures · n_txt texts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it


def mask_bce(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Logits and targets of one shape -> the mean binary cross-entropy of the valid pixels; 0 where there is none."""
    if valid is None:
        return F.binary_cross_entropy_with_logits(logits, targets)
    losses = F.binary_cross_entropy_with_logits(_at(valid, logits), targets, reduction="none")
    return _mean(losses, valid)


def focal_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    valid: torch.Tensor | None = None,
    *,
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> torch.Tensor:
    """Logits and targets of one shape -> the mean over the valid pixels of α_t (1 - p_t)^γ (-log p_t); 0 for none.

    p_t is the probability of what is true, α_t is `alpha` where a mask is set and 1 - `alpha` elsewhere (Lin et al.,
    Focal Loss for Dense Object Detection, 2017, equation 5). γ = 0 and α = 0.5 make it half the cross-entropy.
    """
    everywhere = torch.ones_like(targets, dtype=torch.bool) if valid is None else valid
    logits = _at(everywhere, logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # 1 - p_t as a sigmoid of its own: 1 - exp(-cross_entropy) would lose it, and its gradient, where p_t is close to 1.
    wrong = targets * (-logits).sigmoid() + (1 - targets) * logits.sigmoid()
    weights = alpha * targets + (1 - alpha) * (1 - targets)
    # A power below 1 is infinitely steep at 0, where a sure logit is right.
    factor = wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma if gamma else 1.0
    return _mean(weights * factor * cross_entropy, everywhere)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Logits and targets (…, H, W) -> the mean of 1 - Dice over the masks that are not empty; 0 where all are.

    Dice = (2 Σpt + 1) / (Σp + Σt + 1) per mask, over its valid pixels (Milletari et al., V-Net, 2016, with the sums
    instead of the squares). An empty target has nothing to overlap with; there the cross-entropy alone teaches.
    """
    probabilities = logits.sigmoid()
    if valid is not None:
        probabilities, targets = _at(valid, logits).sigmoid() * valid, targets * valid
    overlap = (probabilities * targets).sum((-1, -2))
    total = probabilities.sum((-1, -2)) + targets.sum((-1, -2))
    return _mean(1 - (2 * overlap + 1) / (total + 1), masks_present(targets))


def masks_present(targets: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Targets (…, H, W) -> (…) bool: which of them have anything set where pixels are valid."""
    return ((targets if valid is None else targets * valid) > 0).flatten(-2).any(-1)


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


def _at(valid: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Logits -> the same with 0 wherever they do not count: a product with 0 would keep what is not finite."""
    return logits.masked_fill(~valid, 0.0)


def _mean(losses: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Losses -> the mean of those that count, 0 where none does."""
    return (losses * counted).sum() / counted.sum().clamp(min=1)
