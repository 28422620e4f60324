"""A pure function of many values, in several processes: results come in the order of the values, few of them ahead."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

TOGETHER = 32
"""Values that travel to a process together."""

_AHEAD = 3  # such lots for each process, at most, so that none waits and memory stays flat


def in_order(function: Callable[[T], R], values: Iterable[T], workers: int = 1) -> Iterator[R]:
    """A function that can be pickled, and values, as they come -> its results in the same order.

    One worker is this very process. What the function raises is raised in its turn, and ends it.
    """
    if workers < 2:
        yield from map(function, values)
        return
    coming, waiting = iter(values), deque[Future[list[R]]]()
    # Spawned: this process has threads, of which a fork would have the locks and not the holders.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _alone)
    try:
        while lot := list(islice(coming, TOGETHER)):
            waiting.append(pool.submit(_each, function, lot))
            if len(waiting) >= _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """Leave Ctrl-C, which a terminal sends to all, to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _each(function: Callable[[T], R], values: list[T]) -> list[R]:
    return [function(value) for value in values]
