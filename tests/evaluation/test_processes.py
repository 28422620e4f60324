"""Several processes give the figures of one, and end together when one of them fails."""

from __future__ import annotations

import threading
from functools import partial
from multiprocessing import Pipe

import pytest
import torch

import asked_samples
import ready
from asked_samples import AskedSamples
from clipseg.errors import DataError, UsageError
from clipseg.evaluation import processes
from clipseg.evaluation.options import options_for
from clipseg.evaluation.processes import rank_and_world, tallied_together
from clipseg.evaluation.tasks import reported

OPTIONS = options_for("referring", worst=4)


def told(tally, dataset):
    report = reported("referring", tally, dataset, OPTIONS, "tiny")
    return report.to_dict(), report.rows, [case.row for case in report.worst]


def test_two_processes_give_the_figures_of_one(tmp_path):
    dataset = AskedSamples(40)
    opened = partial(asked_samples.opened, ready.folder(tmp_path / "model"), dataset)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in each of the two, so that even the last bits are the same
    try:
        alone = tallied_together("referring", opened, OPTIONS)
        moved = []
        together = tallied_together("referring", opened, OPTIONS, 2, lambda *done: moved.append(done))
    finally:
        torch.set_num_threads(threads)
    assert told(together, dataset) == told(alone, dataset)
    assert moved[-1] == (40, 40)
    assert {total for _, total in moved} == {40}


class Threads:
    """Threads instead of processes: as a context of multiprocessing, and quick."""

    @staticmethod
    def Pipe(duplex):
        return Pipe(duplex)

    class Process(threading.Thread):
        def __init__(self, target, args, daemon):
            super().__init__(target=target, args=args, daemon=daemon)
            self.end = args[0]

        def start(self):
            super().start()
            self.join()
            self.end = None

        def terminate(self):
            ended.append(self)


ended = []


@pytest.fixture
def threads(monkeypatch):
    """The ends of pipes stay open in the parent here, which a process would have closed for itself."""
    ended.clear()
    monkeypatch.setattr(processes, "get_context", lambda method: Threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(processes.signal, "signal", lambda *handled: None)  # only main threads may


def test_what_one_raises_is_raised(threads):
    silent = AskedSamples(20, visual=False)
    options = options_for("one-shot")
    with pytest.raises(DataError, match="'sample 0' has no example"):
        tallied_together("one-shot", lambda: (ready.segmenter(), silent), options, 2)
    assert len(ended) == 2, "all are ended"


def test_one_that_is_killed(threads, monkeypatch):
    monkeypatch.setattr(processes, "_work", lambda end, *others: end.close())
    with pytest.raises(UsageError, match="process 1 of 3 was killed"):
        tallied_together("referring", lambda: (ready.segmenter(), AskedSamples()), OPTIONS, 3)


def test_who_one_is(monkeypatch):
    assert rank_and_world({}) == (0, 1)
    assert rank_and_world({"RANK": "1", "WORLD_SIZE": "4"}) == (1, 4)
    monkeypatch.setattr(processes, "rank_and_world", lambda: (0, 2))
    with pytest.raises(UsageError, match="torchrun has started 2 processes"):
        tallied_together("referring", lambda: (ready.segmenter(), AskedSamples()), OPTIONS, 2)
    with pytest.raises(UsageError, match="processes is 0"):
        tallied_together("referring", lambda: (ready.segmenter(), AskedSamples()), OPTIONS, 0)
