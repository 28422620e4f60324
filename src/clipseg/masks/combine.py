"""What several maps of one picture make of each other, before any of them is upsampled.

P prompts asked for, N negatives, Q all that compete, h w the resolution of the logits. The sigmoid is monotone and
sigmoid(-x) = 1 - sigmoid(x), so NOT, the smaller and the larger are the same on logits as on probabilities; mean, sum,
product and softmax are taken of probabilities.
"""

from functools import cached_property

import torch

from clipseg.errors import UsageError

LOGIT_LIMIT = 80.0
"""Logits are kept within ± this: float32 then holds every probability above 0, and NaN and infinity have a place."""

_LEAST_PROBABILITY = 2.0**-24
"""Nearest that float32 comes to 1 from below. Beyond it, interpolating between logits would be all extremes."""


def checked_logits(logits: torch.Tensor, name: str, count: str, *, owned: bool = False) -> torch.Tensor:
    """(P, h, w) of any float dtype, anywhere -> float32 within ±`LOGIT_LIMIT` on the CPU. Raises UsageError.

    A copy, unless they are `owned`: those are changed where they are, as far as they have that type and place.
    """
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        kind = getattr(logits, "dtype", type(logits).__name__)
        raise UsageError(f"{name} must be a float tensor ({count}, h, w); got {kind}")
    if logits.ndim != 3 or 0 in logits.shape[1:]:
        raise UsageError(f"{name} must be ({count}, h, w) with at least one pixel; got {tuple(logits.shape)}")
    numbers = logits.detach().to("cpu", torch.float32)
    finite = numbers.nan_to_num_ if owned else numbers.nan_to_num
    return finite(nan=-LOGIT_LIMIT).clamp_(-LOGIT_LIMIT, LOGIT_LIMIT)


class Rivals:
    """All maps (Q, h, w) that compete for the pixels of one picture: what was asked for, and negatives.

    Shared by every selection of the same masks, so what they all need is computed once.
    """

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    @cached_property
    def _sums(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """-> log of the sum of exponentials, the highest logit, and that sum without the highest one, each (h, w)."""
        top, place = self.logits.max(0)
        others = self.logits.scatter(0, place[None], -torch.inf)
        return self.logits.logsumexp(0), top, others.logsumexp(0)

    def softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """Some of these maps (P, h, w) -> the logits of their shares of the softmax over all of them.

        A share's logit is its own minus the log of the sum of all others. Raises UsageError where nothing competes.
        """
        if len(self.logits) == 1:
            raise UsageError("competition='softmax' needs something to compete with: more prompts, or a negative one")
        total, top, others = self._sums
        # The others of all but the highest are a difference of sums, exact because such a share is at most a half.
        rest = total + torch.log1p(-(logits - total).exp().clamp(max=0.5))
        return (logits - torch.where(logits == top, others, rest)).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)


def without(logits: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Logits (P, h, w) and negatives (N, h, w) -> each AND NOT any of the negatives, as logits (P, h, w)."""
    return torch.minimum(logits, -negatives.amax(0))


def united(logits: torch.Tensor, how: str) -> torch.Tensor:
    """Logits (P, h, w) -> one map (1, h, w): the max, mean, sum (of at most 1) or product of the probabilities."""
    if how == "max" or len(logits) == 1:
        return logits.amax(0, keepdim=True)
    probabilities = logits.sigmoid()
    match how:
        case "mean":
            one = probabilities.mean(0, keepdim=True)
        case "sum":
            one = probabilities.sum(0, keepdim=True)
        case _:
            one = probabilities.prod(0, keepdim=True)
    return as_logits(one)


def stretched(logits: torch.Tensor) -> torch.Tensor:
    """Logits (P, h, w) -> the logits of each map's probabilities stretched from 0 to 1; a constant map becomes 0.

    One by one: where in memory a number stands decides how its exponential is rounded, and that of a map should not
    depend on how many there are.
    """
    return torch.stack([_stretched(one) for one in logits])


def _stretched(one: torch.Tensor) -> torch.Tensor:
    probabilities = one.sigmoid()
    low, high = probabilities.aminmax()
    return as_logits((probabilities - low) / (high - low if high > low else 1))


def as_logits(probabilities: torch.Tensor) -> torch.Tensor:
    """Probabilities -> logits of the same shape; what is not in 0 to 1 is moved there first, and just inside."""
    return torch.logit(probabilities, eps=_LEAST_PROBABILITY)
