"""What a stage has the loop do: parts of steps, what they count, their share of the loss, and how far it has come.

A step is one batch over all processes, in `parts` that go through the model one after the other. A loss is a mean, and
its parts may differ in what they are means over: pixels that are not ignored, masks that are not empty. So every part
says what it counts, the counts of a step are summed over parts and processes first, and a part's loss is its share:

    loss of the step = Σ over parts and processes of  Σ_k weight_k · mean_k(part) · counts_k(part) / counts_k(step)

which does not depend on how many parts or processes there are.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from clipseg.errors import ClipsegError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.signals import CAUGHT
from clipseg.training.distributed import Processes

Batch: TypeAlias = dict[str, torch.Tensor]
Losses: TypeAlias = dict[str, torch.Tensor]


@dataclass
class Validation:
    """What a model makes of samples that it does not train on.

    Fields
        scores  means by name, the same in every process
        sheet   pictures, truths and answers, in the first process where there are any
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    sheet: Image.Image | None = None


class Work(Protocol):
    """The work of one stage for one process."""

    parts: int
    """Parts of a step that this process does."""

    main_score: str
    """Name of the score by which the best checkpoint is chosen."""

    def part(self, step: int, number: int) -> Batch:
        """A step and the number of one of its parts -> its tensors; made in worker processes."""

    def counts(self, batch: Batch) -> torch.Tensor:
        """A part -> (K,) float64, what its losses are means over."""

    def losses(self, model: CLIPSegForImageSegmentation, batch: Batch, shares: torch.Tensor) -> Losses:
        """A part, and its shares (K,) of the step's counts -> its shares of scalars by name; "loss" is minimised."""

    def names(self, step: int, number: int) -> list[str]:
        """-> what the samples of a part are called."""

    def validate(self, model: CLIPSegForImageSegmentation) -> Validation:
        """-> how good the model is by now."""


class _Parts(IterableDataset[Batch | ClipsegError]):
    """The parts of steps begin to end, shared out among the loader's workers; where one cannot be made, its error.

    Were it raised in a worker, the loader would raise another of its type, with a traceback for a message.
    """

    def __init__(self, work: Work, begin: int, end: int) -> None:
        self.work, self.begin, self.end = work, begin, end

    def __iter__(self) -> Iterator[Batch | ClipsegError]:
        info = torch.utils.data.get_worker_info()
        offset, stride = (0, 1) if info is None else (info.id, info.num_workers)
        parts = self.work.parts
        for number in range(self.begin * parts + offset, self.end * parts, stride):
            yield self._part(*divmod(number, parts))

    def _part(self, step: int, number: int) -> Batch | ClipsegError:
        try:
            return self.work.part(step, number)
        except ClipsegError as error:
            return error


def steps_of(work: Work, begin: int, end: int, workers: int) -> Generator[list[Batch], None, None]:
    """-> the parts of each step from begin to end, made ahead of time by worker processes if there are any.

    The workers end when the iterator does, or is closed. Raises what making a part raises.
    """
    loader = DataLoader(
        _Parts(work, begin, end), batch_size=None, num_workers=workers, worker_init_fn=_left_alone if workers else None
    )
    parts = iter(loader)
    try:
        for _ in range(begin, end):
            yield [_made(next(parts)) for _ in range(work.parts)]
    finally:
        if workers:  # they ignore signals, and the traceback of an error would keep them waiting for ever
            parts._shutdown_workers()  # type: ignore[attr-defined]  # of the iterator that has workers


def _made(part: Batch | ClipsegError) -> Batch:
    """-> the part. Raises the error that making it raised."""
    if isinstance(part, ClipsegError):
        raise part
    return part


def _left_alone(_worker: int) -> None:
    """Have a worker outlive the signals that end a run: they may reach it as well, and a step is to be finished."""
    for number in CAUGHT:
        signal.signal(number, signal.SIG_IGN)


def summed(scores: Mapping[str, Sequence[float]], processes: Processes) -> dict[str, float]:
    """Values by name, those of this process -> means over all processes of those that have any."""
    totals = processes.sum(torch.tensor([[sum(values), len(values)] for values in scores.values()]).double())
    return {name: total / count for name, (total, count) in zip(scores, totals.tolist(), strict=True) if count}
