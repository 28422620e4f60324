"""The engine of one machine: this process alone, or some processes that are handed parts as they get done.

While the model is at work on some pictures, others are fetched and decoded, and the masks of those before become rows.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

from clipseg import errors
from clipseg.batch.parts import PartMaker, Report, Task
from clipseg.batch.progress import Meter
from clipseg.behind import StoppedError
from clipseg.errors import ClipsegError
from clipseg.signals import Stop

MOST_DEATHS = 3
"""How often workers may die over one part before it is given up."""

_PATIENCE = 10.0  # seconds for a worker to end by itself
_LOOK = 0.2  # seconds between two looks at whether to stop

Told: TypeAlias = "queue.SimpleQueue[tuple[Worker, str]]"
"""Workers and the lines that they tell; an empty one where a worker has ended."""


def run_here(task: Task, parts: Sequence[int], meter: Meter, stop: Stop) -> Iterator[Report]:
    """Parts -> the report of each, made in this process. Ends early once it is asked to stop."""
    if not parts:
        return
    make = PartMaker(task)
    with suppress(StoppedError):
        for part in parts:
            yield make(part, stopped=lambda: stop.asked, moved=lambda reason: _moved(meter, reason))


def _moved(meter: Meter, reason: str | None) -> None:
    meter.add(1, int(reason is not None), reason)
    meter.check()


def run_workers(
    task: Task, parts: Sequence[int], meter: Meter, stop: Stop, devices: Sequence[str], threads: int | None
) -> Iterator[Report]:
    """Parts -> the report of each as it gets done, by one process for each device. Ends early once asked to stop.

    A worker that dies, whatever kills it, is started again, and its part with it; raises ClipsegError where that
    happens too often, and what a worker raises.
    """
    waiting, left, deaths = deque(parts), len(parts), Counter[int | None]()
    told: Told = queue.SimpleQueue()
    with ExitStack() as stack:

        def start(device: str) -> None:
            own = replace(task, loading=replace(task.loading, device=device))
            stack.enter_context(_started(own, threads, device, told))

        for device in devices[:left]:
            start(device)
        while left and not stop.asked:
            try:
                worker, line = told.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if line:
                report = worker.heard(json.loads(line), meter)
                if report is not None:
                    left -= 1
                    yield report
                if worker.part is None and waiting:
                    worker.hand(waiting.popleft())
            elif worker.part is not None or waiting:
                deaths[worker.part] += 1
                _check_deaths(worker, deaths[worker.part])
                if worker.part is not None:
                    meter.add(-worker.moved, -worker.errors)
                    waiting.appendleft(worker.part)
                start(worker.device)


class Worker:
    """A process that makes parts; see `worker`."""

    def __init__(self, process: subprocess.Popen[str], device: str, told: Told) -> None:
        self._process, self.device = process, device
        assert process.stdin is not None  # noqa: S101  asked for
        assert process.stdout is not None  # noqa: S101  asked for
        self._input, self._output = process.stdin, process.stdout
        self.part: int | None = None
        self.moved = self.errors = 0
        self._listener = threading.Thread(target=self._listen, args=(told,), name="clipseg-listen", daemon=True)
        self._listener.start()

    def _listen(self, told: Told) -> None:
        for line in self._output:
            told.put((self, line))
        told.put((self, ""))

    def tell(self, message: dict[str, Any]) -> None:
        """Write it a line, if it still reads."""
        try:
            self._input.write(json.dumps(message) + "\n")
            self._input.flush()
        except BrokenPipeError:
            return  # it has died, as the end of what it tells will say

    def hand(self, part: int) -> None:
        """Have it make a part."""
        self.part, self.moved, self.errors = part, 0, 0
        self.tell({"part": part})

    def heard(self, message: dict[str, Any], meter: Meter) -> Report | None:
        """What it told -> the report of a part that is made. Raises what it raised."""
        if "failed" in message:
            raise getattr(errors, message["failed"], ClipsegError)(message["message"])
        if "moved" in message:
            self.moved += message["moved"]
            self.errors += message["errors"]
            meter.add(message["moved"], message["errors"], message["reason"])
            meter.check()
        if "made" not in message:
            return None
        self.part = None
        return Report(*message["made"])

    def end(self) -> None:
        """Have it end, and wait until it has."""
        with suppress(BrokenPipeError):  # it has died with something unread
            self._input.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._output.close()

    @property
    def code(self) -> int | None:
        """-> what it ended with."""
        return self._process.wait(_PATIENCE)


@contextmanager
def _started(task: Task, threads: int | None, device: str, told: Told) -> Iterator[Worker]:
    command = [sys.executable, "-m", "clipseg.batch.worker"]
    process = subprocess.Popen(  # noqa: S603 - this very program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", bufsize=1
    )
    worker = Worker(process, device, told)
    try:
        worker.tell({"task": task.to_json(), "threads": threads})
        yield worker
    finally:
        worker.end()


def _check_deaths(worker: Worker, count: int) -> None:
    if count >= MOST_DEATHS:
        raise ClipsegError(
            f"workers died {count} times over part {worker.part} (the last with code {worker.code}): the machine may "
            "be short of memory, or one picture of it breaks its decoder; use fewer --workers or smaller batches"
        )


def threads_each(workers: int) -> int:
    """Processes on this machine -> threads for each of them."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, processors // workers)
