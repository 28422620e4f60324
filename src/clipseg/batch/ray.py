"""The engine of a cluster: Ray Data has tasks fetch and decode the pictures of a part, and actors make it of them.

    parts  ->  pictures of a part, as the model is shown them  ->  the part, written by the actor  ->  its report
               tasks on any processor                              an actor for each worker, on a GPU where there is one

Ray starts no more of the first than the second can take in, moves pictures between machines, and starts again what is
lost with a process or a machine. What is durable are the parts, as with every engine: an actor writes one under its
final name or not at all, so nothing is there twice, however often Ray tries, and what goes on with a run needs nothing
of the cluster that it was begun on.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from clipseg import errors
from clipseg.batch.items import Fetched, fetched
from clipseg.batch.packages import ray as ray_module
from clipseg.batch.parts import PartMaker, Report, Task
from clipseg.batch.progress import Meter
from clipseg.batch.run_folder import RunFolder
from clipseg.batch.settings import BatchConfig
from clipseg.batch.storage import storage_of
from clipseg.errors import ClipsegError, OutputError, PictureError, UsageError
from clipseg.fits import DEFAULT_FIT
from clipseg.processing.images import FileContent
from clipseg.processing.on_demand import ShownPicture, shown_and_whole
from clipseg.processing.pixels import resize
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.signals import CAUGHT, Stop

FETCHING = 0.5
"""Processors that a task which fetches and decodes is counted as: much of its time it waits."""

BESIDE = 1
"""Processors, at least, that the workers leave to such tasks; without any nothing would ever come to the workers."""

CONNECTING = 10.0
"""Seconds for a cluster to answer at its address."""

_AHEAD = 16  # pictures that such a task fetches ahead
_BLOCKS = 4096  # that the list of parts is cut into, at most
_LOOK = 0.2  # seconds between two looks at whether to stop

Told: TypeAlias = "queue.SimpleQueue[dict[str, Any] | Exception | None]"


@dataclass(frozen=True)
class Shrinking:
    """How a picture becomes what the model is shown: nothing else of it has to travel.

    Fields
        size      of the model's input
        resample  Pillow's number of the filter
        least     see `shown_and_whole`
    """

    size: dict[str, int]
    resample: int
    least: int | None

    @classmethod
    def of(cls, config: BatchConfig, local_files_only: bool) -> Shrinking | None:
        """A configuration -> how its pictures may be made smaller; None where more of them is needed."""
        if config.fit != DEFAULT_FIT or config.options.refine != "none":
            return None
        processor = CLIPSegProcessor.from_pretrained(config.model, local_files_only=local_files_only).image_processor
        if not processor.do_resize or "height" not in processor.size or processor.do_center_crop:
            return None
        least = 2 * max(processor.size.values()) if config.reduced_decoding else None
        return cls(dict(processor.size), int(processor.resample), least)

    def __call__(self, content: FileContent) -> Fetched:
        """A file's bytes -> what the model is shown of the picture, bit for bit, or what is wrong with it."""
        try:
            shown, whole = shown_and_whole(content, self.least)
            small = np.asarray(resize(shown, self.size, self.resample))
        except PictureError as error:
            return error
        return ShownPicture(small, (whole.height, whole.width), content.name)


@dataclass(frozen=True, eq=False)
class Contents:
    """The pictures of a part on their way to a worker."""

    pictures: list[Fetched]


class FetchPart:
    """The number of a part -> its pictures, on whatever processor of the cluster is free."""

    def __init__(self, task: Task, shrinking: Shrinking | None) -> None:
        self._task, self._shrinking = task, shrinking

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{part} -> {part, contents}."""
        folder, part = RunFolder(storage_of(self._task.run)), int(row["part"])
        items = folder.manifest().items(*folder.bounds(part))
        pictures = [
            self._shrinking(one) if self._shrinking is not None and isinstance(one, FileContent) else one
            for one in fetched(items, _AHEAD)
        ]
        return {"part": part, "contents": Contents(pictures)}


class MakePart:
    """A worker: it holds the model, and makes parts of the pictures that it is handed."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._make: PartMaker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{part, contents} -> {made} as `Report`, or {failed, message}: what ends the run is told, not raised here."""
        contents = row["contents"]
        try:
            if self._make is None:
                self._make = PartMaker(self._task)
            report = self._make(int(row["part"]), contents.pictures)
        except ClipsegError as error:
            return {"made": None, "failed": type(error).__name__, "message": str(error)}
        return {"made": list(map(float, report)), "failed": None, "message": None}


def run_ray(
    task: Task, parts: Sequence[int], meter: Meter, stop: Stop, *, workers: int | None, address: str | None
) -> Generator[Report, None, None]:
    """Parts -> the report of each as it gets done. Ends early once asked to stop: then the cluster is let go.

    `workers` is how many hold the model; None: as many as there are GPUs, or else one. `address` is of a cluster that
    is there; without one, and where RAY_ADDRESS names none, one is started on this machine, and ended with the run.
    Raises UsageError for a cluster that is too small, and what a worker told.
    """
    if not parts:
        return
    ray, data = ray_module(), ray_module("data")
    begun = not ray.is_initialized()
    if begun:
        _join(ray, address, workers)
    told: Told = queue.SimpleQueue()
    ended, folder = threading.Event(), RunFolder(storage_of(task.run))
    try:
        dataset = _dataset(ray, data, task, parts, workers, alone=begun and _is_alone(address))
        threading.Thread(target=_listen, args=(dataset, told, ended), name="clipseg-ray", daemon=True).start()
        while not stop.asked:
            try:
                row = told.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if row is None:
                return
            if isinstance(row, Exception):
                raise ClipsegError(f"Ray gave up: {_last_line(row)}") from row
            if row["failed"] is not None:
                raise getattr(errors, row["failed"], ClipsegError)(row["message"])
            part, rows, failed, seconds, size = row["made"]
            if not folder.storage.exists(folder.part_name(int(part))):
                raise OutputError(
                    f"a worker has written part {int(part)} to a folder {folder.path} that is not the one here; name a "
                    "folder that all machines share, or a URL"
                )
            meter.add(int(rows), int(failed))
            yield Report(int(part), int(rows), int(failed), float(seconds), int(size))
    finally:
        ended.set()
        if begun:
            ray.shutdown()


def _dataset(ray: Any, data: Any, task: Task, parts: Sequence[int], workers: int | None, *, alone: bool) -> Any:
    """-> the Ray dataset that makes the parts while it is gone through."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    on_gpu = bool(gpus) and task.loading.device in ("auto", "cuda")
    count = workers or (gpus if on_gpu else 1)
    if on_gpu and count > gpus:
        raise UsageError(f"{count} workers need a GPU each, and the cluster has {gpus}; ask for fewer, or --device cpu")
    if count + BESIDE > cpus:
        raise UsageError(
            f"{count} workers and the tasks that decode for them need {count + BESIDE} processors, and the cluster has "
            f"{cpus}; ask for fewer workers"
        )
    each = (cpus - BESIDE) // count if alone and not on_gpu else 1
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    shrinking = Shrinking.of(RunFolder(storage_of(task.run)).description().settings, task.loading.local_files_only)
    return (
        data.from_items([{"part": part} for part in parts], override_num_blocks=min(len(parts), _BLOCKS))
        .map(FetchPart(task, shrinking).__call__, num_cpus=FETCHING)
        .map(
            MakePart,
            fn_constructor_args=(task,),
            num_cpus=each,
            num_gpus=1 if on_gpu else 0,
            compute=data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2),
        )
    )


def _listen(dataset: Any, told: Told, ended: threading.Event) -> None:
    """Go through a dataset, in a thread: what it waits for can take long, and somebody may want to stop meanwhile."""
    try:
        for row in dataset.iter_rows():
            told.put(row)
            if ended.is_set():  # whose cluster it is goes on; to leave the loop ends the dataset
                return
    except Exception as error:  # Ray raises what it likes
        told.put(error)
    told.put(None)


def _join(ray: Any, address: str | None, workers: int | None) -> None:
    """Connect to a cluster, or start one here with a processor beside the workers, however many there are."""
    if not _is_alone(address):
        check_answers(address or os.environ["RAY_ADDRESS"])
    handlers = {number: signal.getsignal(number) for number in CAUGHT}
    options: dict[str, Any] = {"include_dashboard": False}
    if _is_alone(address):
        options["num_cpus"] = max(os.cpu_count() or 1, workers or 1) + BESIDE
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **(options if _is_alone(address) else {}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"there is no Ray cluster at {address or 'RAY_ADDRESS'} ({_last_line(error)})") from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # of plans and paths nobody has asked for
    with suppress(ValueError):  # not in the main thread, where nobody catches signals
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray takes SIGTERM for itself


def check_answers(address: str) -> None:
    """Raise UsageError where nobody answers at host:port; Ray itself tries for minutes."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like, which Ray finds by itself or not
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECTING).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"there is no Ray cluster at {address} ({error}); start one with `ray start --head`, or name another"
        ) from error


def _is_alone(address: str | None) -> bool:
    """Whether the cluster is one of this machine, started for this run."""
    return address in (None, "local") and "RAY_ADDRESS" not in os.environ


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
