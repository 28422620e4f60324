"""The same evaluation by several processes, each judging its own part; their counts are summed, so nothing changes.

Processes are started here (`processes`), or by torchrun, which says in the environment who they are.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import reduce
from multiprocessing import get_context
from multiprocessing.connection import wait
from operator import add
from typing import Any, TypeAlias

import torch
import torch.distributed

from clipseg.data.sample import SampleDataset
from clipseg.errors import UsageError
from clipseg.evaluation.options import EvaluationOptions
from clipseg.evaluation.tallies import Progress
from clipseg.evaluation.tasks import Tally, tallied
from clipseg.segmenter import Segmenter

PATIENCE = timedelta(days=1)
"""How long one of torchrun's processes waits for the slowest."""

Opened: TypeAlias = Callable[[], tuple[Segmenter, SampleDataset]]
"""What makes the segmenter and the data set, in every process for itself; it can be pickled."""


def rank_and_world(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which of how many processes this is, by torchrun's variables; (0, 1) without them."""
    return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))


def tallied_together(
    task: str, opened: Opened, options: EvaluationOptions, processes: int = 1, progress: Progress | None = None
) -> Tally | None:
    """A task by `processes` of our own, or by torchrun's -> the tally of the whole; None in all of torchrun's but one.

    Raises UsageError for fewer than one process, for processes of our own under torchrun, and where one was killed;
    otherwise what the first process to fail has raised.
    """
    if processes < 1:
        raise UsageError(f"processes is {processes}; expected at least 1")
    rank, world = rank_and_world()
    if world > 1:
        if processes > 1:
            raise UsageError(f"torchrun has started {world} processes already; leave --processes out")
        return _by_torchrun(task, opened, options, rank, world, progress)
    if processes == 1:
        return tallied(task, *opened(), options, progress)
    return _by_own_processes(task, opened, options, processes, progress)


def _by_torchrun(
    task: str, opened: Opened, options: EvaluationOptions, rank: int, world: int, progress: Progress | None
) -> Tally | None:
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        own = tallied(task, *opened(), options, progress if rank == 0 else None, (rank, world))
        parts: list[Tally] | None = [own] * world if rank == 0 else None
        torch.distributed.gather_object(own, parts)
    finally:
        torch.distributed.destroy_process_group()
    return None if parts is None else reduce(add, parts)


def _by_own_processes(
    task: str, opened: Opened, options: EvaluationOptions, processes: int, progress: Progress | None
) -> Tally:
    context = get_context("spawn")  # a forked process may not use torch's threads, nor a GPU
    threads = max(1, torch.get_num_threads() // processes)
    workers = []
    ends: dict[Any, int] = {}
    for number in range(processes):
        mine, theirs = context.Pipe(duplex=False)
        arguments = (theirs, threads, task, opened, options, (number, processes))
        worker = context.Process(target=_work, args=arguments, daemon=True)
        worker.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        workers.append(worker)
        ends[mine] = number
    moved: dict[int, tuple[int, int]] = {}
    tallies: dict[int, Tally] = {}
    try:
        while ends:
            ready: list[Any] = wait(list(ends))
            for end in ready:
                number = ends[end]
                try:
                    kind, value = end.recv()
                except EOFError:
                    raise UsageError(
                        f"process {number + 1} of {processes} was killed, perhaps for want of memory; try fewer"
                    ) from None
                if kind == "failed":
                    raise value
                if kind == "moved":
                    moved[number] = value
                    _tell(progress, moved, processes)
                else:
                    tallies[number] = value
                    del ends[end]
    finally:
        for worker in workers:
            if len(tallies) < processes:
                worker.terminate()
            worker.join()
    return reduce(add, (tallies[number] for number in range(processes)))


def _tell(progress: Progress | None, moved: Mapping[int, tuple[int, int]], processes: int) -> None:
    """Say how far all are, once each has said how much it has to do."""
    if progress is not None and len(moved) == processes:
        done, total = (sum(each) for each in zip(*moved.values(), strict=True))
        progress(done, total)


def _work(end: Any, threads: int, task: str, opened: Opened, options: EvaluationOptions, part: tuple[int, int]) -> None:
    """What a process does: judge its part and send the tally, or what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    logging.getLogger("clipseg").addHandler(logging.NullHandler())  # the parent has told of the data set's problems
    torch.set_num_threads(threads)
    try:
        tally = tallied(task, *opened(), options, lambda done, total: end.send(("moved", (done, total))), part)
        end.send(("done", tally))
    except Exception as reason:
        end.send(("failed", reason))
