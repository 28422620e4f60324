"""Which sample a slot of the endless stream shows: a function of seed and slot, whoever asks, in whatever order.

    slots of a batch of 4     0 1 2 3 │ 4 5 6 7 │ …        step s has slots 4 s … 4 s + 3
    of 2 processes            r = 0: 0 2, r = 1: 1 3       so any number of processes sees the same samples
    of a data set of n        epoch 0: n slots, a permutation; epoch 1: the next n, another one; …

Nothing is kept between steps, so a run that goes on at step s needs no more than s. A seed is the recipe's and the
number of the stage.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipseg.errors import UsageError

Seed: TypeAlias = tuple[int, ...]

ORDER, DRAW = 0, 1
"""Streams of chance: of permutations, and of what a sample draws."""


def slots_of(step: int, batch: int, rank: int = 0, world: int = 1) -> range:
    """A step of `batch` samples -> the slots of one process of `world`."""
    return range(step * batch + rank, (step + 1) * batch, world)


def index_of(seed: Seed, slot: int, length: int) -> int:
    """A slot -> the entry it shows, of a data set of that length: each once before any comes again.

    Raises UsageError for an empty data set.
    """
    if length < 1:
        raise UsageError("a data set without a sample cannot be drawn from")
    epoch, position = divmod(slot, length)
    return int(_permutation(seed, epoch, length)[position])


def rng_of(seed: Seed, slot: int) -> np.random.Generator:
    """A slot -> the chance that its sample is drawn with."""
    return np.random.default_rng([*seed, DRAW, slot])


@lru_cache(maxsize=4)  # the end of one epoch and the beginning of the next may be asked for in turns
def _permutation(seed: Seed, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng([*seed, ORDER, epoch]).permutation(length)
