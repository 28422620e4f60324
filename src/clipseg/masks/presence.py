"""Whether a label is in the picture at all: a score, made a probability by what was measured.

    P(present) = sigmoid(slope * logit(score) + offset)

This is Platt's calibration (1999) with both outcomes weighted alike, so it is the probability where a thing is as
likely to be there as not before one looks. It holds for the model and the kind of pictures it was measured on.

Shapes: P labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from clipseg.errors import CheckpointError, UsageError

PRESENCE_FILE = "presence.json"
"""Beside a model's weights, where it was measured."""

_LEAST = 1e-7  # scores are held this far from 0 and 1, whose logits are infinite
_STEPS = 50  # of Newton's method, which is done after ten
_RIDGE = 1e-3  # on the slope: where scores never overlap, it has no largest value


@dataclass(frozen=True)
class Presence:
    """What turns the scores of one model into probabilities; see `Masks.scores`.

    Fields
        slope     on the logit of the score; above 0
        offset    added to it
        measured  how it was measured and how well it held elsewhere, for the reader
    """

    slope: float
    offset: float
    measured: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.offset) and self.slope > 0):
            raise UsageError(
                f"presence needs a finite slope above 0 and a finite offset; got {self.slope!r} and {self.offset!r}"
            )

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores (P,) from 0 to 1 -> the probability that each label is in the picture, (P,) float32."""
        return (self.slope * _logits(scores) + self.offset).sigmoid().float()

    @classmethod
    def fitted(cls, present: torch.Tensor, absent: torch.Tensor, measured: Mapping[str, Any] | None = None) -> Presence:
        """Scores (n,) of labels that are there and (m,) of labels that are not -> what tells them apart best.

        Least cross-entropy, by Newton's method, each outcome weighing half. Raises UsageError where one is missing, or
        where absent labels score higher.
        """
        if not len(present) or not len(absent):
            raise UsageError(
                f"presence is measured on labels that are there and on others; got {len(present)} and {len(absent)}"
            )
        logits = torch.cat((_logits(present), _logits(absent)))
        inputs = torch.stack((logits, torch.ones_like(logits)), 1)  # (n + m, 2)
        truth = torch.cat((torch.ones(len(present)), torch.zeros(len(absent)))).double()
        weights = torch.where(truth > 0, 0.5 / len(present), 0.5 / len(absent))
        ridge = torch.tensor([_RIDGE, 0.0], dtype=torch.float64)
        found = torch.zeros(2, dtype=torch.float64)
        for _ in range(_STEPS):
            guess = (inputs @ found).sigmoid()
            slope = inputs.T @ (weights * (guess - truth)) + ridge * found
            bend = (inputs.T * (weights * guess * (1 - guess))) @ inputs + ridge.diag()
            found = found - torch.linalg.solve(bend + 1e-12 * torch.eye(2, dtype=torch.float64), slope)
        return cls(float(found[0]), float(found[1]), measured or {})

    def to_dict(self) -> dict[str, Any]:
        """-> what `PRESENCE_FILE` holds."""
        return {"slope": self.slope, "offset": self.offset, "measured": dict(self.measured)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], origin: str) -> Presence:
        """What a file holds -> its calibration. Raises CheckpointError, naming `origin`, for anything else."""
        try:
            return cls(float(content["slope"]), float(content["offset"]), dict(content.get("measured", {})))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{origin} holds no calibration of presence ({error}); measure it again") from error


def _logits(scores: torch.Tensor) -> torch.Tensor:
    return torch.logit(scores.double(), eps=_LEAST)
