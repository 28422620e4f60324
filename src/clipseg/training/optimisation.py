"""Steps of the optimiser as functions: which parameters decay, and how large a step is."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from clipseg.training.stages import Optimisation


def new_optimizer(parameters: Iterable[torch.nn.Parameter], stage: Optimisation) -> torch.optim.AdamW:
    """Parameters, of which those that train are taken -> AdamW that decays matrices, or all if the stage says so."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    decays = [parameter.ndim >= 2 or stage.decay == "all" for parameter in trained]
    groups = [
        {"params": [p for p, decay in zip(trained, decays, strict=True) if decay], "weight_decay": stage.weight_decay},
        {"params": [p for p, decay in zip(trained, decays, strict=True) if not decay], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.lr, betas=stage.betas)


def learning_rate(stage: Optimisation, step: int) -> float:
    """A step from 0 -> linear warm-up to `lr`, then a cosine down to `lr_end`."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    part = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr_end + (stage.lr - stage.lr_end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2
