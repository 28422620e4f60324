"""How long calls take: one after the other in turns, so that a machine that slows down slows down all of them."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[], object]


def interleaved(
    calls: Mapping[str, Call], least: int, most: int | None = None, seconds: float = math.inf
) -> dict[str, list[float]]:
    """Calls by name -> the seconds of each, round by round, in an order drawn anew for each round.

    There are `most` rounds, or fewer, but at least `least`, once `seconds` have gone by. None: just `least`.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    order, draw = list(calls), random.Random()  # of its own: the global one stays as it is
    began = time.perf_counter()
    for number in range(least if most is None else most):
        if number >= least and time.perf_counter() - began > seconds:
            break
        draw.shuffle(order)
        for name in order:
            taken[name].append(timed(calls[name]))
    return taken


def timed(call: Call) -> float:
    """A call -> its seconds, without what it takes to give its answer back."""
    gc.collect()
    start = time.perf_counter()
    answer = call()
    taken = time.perf_counter() - start
    del answer
    return taken


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Seconds of the same call -> `median`, `lowest`, `highest`, and all of them, for JSON."""
    return {
        "median": statistics.median(seconds),
        "lowest": min(seconds),
        "highest": max(seconds),
        "seconds": list(seconds),
    }
