"""Where a probability becomes yes or no.

P labels, H W a picture's size. The sigmoid is monotone, so comparing logits says the same as comparing probabilities
and costs no exponential.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from clipseg.errors import UsageError
from clipseg.masks.components import touching
from clipseg.masks.resample import Surface
from clipseg.masks.rules import DEFAULT_THRESHOLD, THRESHOLDS, Area, Hysteresis, Level, Otsu, Rule, parse_rule

__all__ = ["DEFAULT_THRESHOLD", "Threshold", "passing", "threshold_rules"]

Threshold: TypeAlias = float | str | Sequence[float | str] | torch.Tensor
"""What `rules.parse_rule` reads, or one per label."""

_BINS = 256
_STRIP = 2**22  # pixels in a histogram's part: float32 counts exactly up to 2**24


def threshold_rules(threshold: Threshold, count: int) -> list[Rule]:
    """A threshold, or one per label -> P rules. Raises UsageError unless there are one or `count`, all known."""
    expected = f"threshold must be {THRESHOLDS}, or {count} of them, one per label"
    values: Any = threshold.tolist() if isinstance(threshold, torch.Tensor | np.ndarray) else threshold
    if isinstance(values, str) or not isinstance(values, Sequence):
        values = [values] * count
    if len(values) != count:
        raise UsageError(f"{expected}; got {len(values)}: {threshold!r}")
    try:
        return [parse_rule(value) for value in values]
    except UsageError as error:
        raise UsageError(f"{error}" if count == 1 else f"{error}; or give {count} of them, one per label") from None


def passing(surface: Surface, rule: Rule) -> torch.Tensor:
    """A map of logits (H, W) -> where they pass, (H, W) bool.

    A level of 0 is exceeded everywhere, 1 nowhere. "otsu" of a map with one value finds nothing. "area:F" takes the
    fewest most probable pixels that make up F of the picture, and all that are alike at the limit: none for 0. Minus
    infinity never passes.
    """
    match rule:
        case Level(probability):
            return surface.above(_logit(probability))
        case Hysteresis(low, high):
            wide, sure = surface.above(_logit(low)).numpy(), surface.above(_logit(high)).numpy()
            return torch.from_numpy(touching(wide, sure))
        case Otsu():
            logits = surface.values()
            return logits > _otsu_cut(logits)
        case Area(fraction):
            logits = surface.values()
            return (logits >= _area_cut(logits, fraction)) & (logits > -torch.inf)


def _logit(probability: float) -> float:
    return float(torch.logit(torch.tensor(probability, dtype=torch.float64)).float())


def _area_cut(logits: torch.Tensor, fraction: float) -> float:
    pixels = math.ceil(fraction * logits.numel() - 1e-6)  # 0.2 of 15 is a little more than 3 in binary
    if pixels == 0:
        return math.inf
    return float(np.partition(logits.numpy(), logits.numel() - pixels, axis=None)[-pixels])


def _otsu_cut(logits: torch.Tensor) -> float:
    """-> the logit that parts a map (Otsu 1979): the variance between its two sides, as probabilities, is largest.

    By a histogram of 256 bins from the lowest to the highest probability; of cuts that are equally good, the middle
    of the lowest stretch of them: a map that is its own mirror image has two such stretches.
    """
    low, high = torch.stack(logits.aminmax()).sigmoid().tolist()
    if not low < high:
        return math.inf
    strips = logits.split(max(1, _STRIP // logits.shape[1]))
    counts = torch.stack([torch.histc(strip.sigmoid(), _BINS, low, high) for strip in strips]).double().sum(0)
    edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum(0)[:-1]
    above = counts.sum() - below
    moments = (counts * centres).cumsum(0)
    lower_mean, upper_mean = moments[:-1] / below, (moments[-1] - moments[:-1]) / above.clamp(min=1)
    between = below * above * (upper_mean - lower_mean) ** 2
    best = (between >= between.max() * (1 - 1e-12)).nonzero()[:, 0]
    lowest = best[best - best[0] == torch.arange(len(best))]
    return _logit(float(edges[1:-1][lowest].mean()))
