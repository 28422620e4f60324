"""Where a probability becomes yes or no."""

from collections.abc import Sequence
from typing import TypeAlias

import torch

from clipseg.errors import UsageError

Threshold: TypeAlias = float | Sequence[float] | torch.Tensor

DEFAULT_THRESHOLD = 0.4
"""The middle of what tools around CLIPSeg use, which is 0.3 to 0.5."""


def cutoffs(threshold: Threshold, count: int) -> torch.Tensor:
    """A probability, or one per label -> the logits (P,) float32 that a pixel must exceed.

    The sigmoid is monotone, so comparing logits says the same as comparing probabilities and costs no exponential. 0 is
    exceeded everywhere, 1 nowhere. Raises UsageError unless every threshold is in 0 to 1 and there are one or `count`.
    """
    expected = f"threshold must be a number from 0 to 1, or {count} of them, one per label"
    if isinstance(threshold, bool):
        raise UsageError(f"{expected}; got {threshold!r}")
    try:
        values = torch.as_tensor(threshold, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{expected}; got {threshold!r}") from error
    if values.ndim > 0 and values.shape != (count,):
        raise UsageError(f"{expected}; got numbers of shape {tuple(values.shape)}")
    if not bool(((values >= 0) & (values <= 1)).all()):  # false for NaN as well
        raise UsageError(f"{expected}; got {values.tolist()}")
    return torch.logit(values).float().expand(count)  # (P,)
