"""A run from its beginning to its end, and again from wherever it was left.

    import clipseg.batch

    outcome = clipseg.batch.run("photos", ["a cup", "wood AND NOT table"], "out", model="nano")

The same call goes on where an earlier one ended, whatever ended that. Another process may do a share of it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from clipseg.batch.beginning import begin
from clipseg.batch.engine import MAX_ERROR_RATE, MIN_FREE, Engine, read_shard, read_size
from clipseg.batch.jobs import Job, job_of
from clipseg.batch.local import run_here, run_workers, threads_each
from clipseg.batch.parts import Loading, Report, Task
from clipseg.batch.progress import Meter, Progress, Watcher
from clipseg.batch.run_folder import LOG, PARTS, RunFolder
from clipseg.batch.storage import storage_of
from clipseg.batch.summary import counted, summary_of
from clipseg.errors import ClipsegError, OutputError, UsageError
from clipseg.folder_lock import held
from clipseg.prompting.prompts import PromptSource
from clipseg.signals import Stop


@dataclass(frozen=True)
class Outcome:
    """What a call has done.

    Fields
        folder    of the run
        finished  whether everything is there
        stopped   the signal that asked it to stop; None where none did
        progress  where the run is, as far as this process knows
        summary   of the whole run, once it is finished
    """

    folder: RunFolder
    finished: bool
    stopped: int | None
    progress: Progress
    summary: dict[str, Any] | None


def run(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    prompts: PromptSource | Iterable[PromptSource],
    out: str | os.PathLike[str],
    *,
    engine: str = "local",
    workers: int | None = None,
    shard: str | None = None,
    address: str | None = None,
    device: str = "auto",
    compile: bool = False,  # noqa: A002 - the field's name for it
    local_files_only: bool = False,
    max_error_rate: float = MAX_ERROR_RATE,
    min_free: int | str = MIN_FREE,
    watcher: Watcher | None = None,
    **settings: Any,
) -> Outcome:
    """Pictures and prompts -> a run in a folder of `out`, begun or gone on with, and what has become of it.

    source    a folder, a pattern, a table, tar files, URLs, or several of them; see `batch.sources`
    out       a folder, or a URL that fsspec opens; it holds one run
    engine    "local", or "ray" on a cluster, at `address` or else one of this machine
    workers   processes; None: one, or on several GPUs one for each
    shard     "i/n": every n-th part, for n processes that share a run; i from 0 to n - 1, or from 1 to n
    watcher   is told of progress, some times a second at most
    settings  negative, model, limit, combine, fit, tile, overlap, reduced_decoding, heatmap, dtype, backend,
              batch_size, rows_per_part and the options of masks; see `settings.BatchConfig`

    A picture that cannot be done is a row with an error; where more than `max_error_rate` of all are, DataError is
    raised. SIGINT and SIGTERM end it well, in the middle of a part: the parts before stay, and the outcome says so
    by `stopped`. Raises UsageError and PromptError for what is asked, DataError for what is not there,
    ConfigurationError where `out` holds a run of other settings, and OutputError where another process runs in it, or
    there is no room.
    """
    how = Engine(
        name=engine,
        workers=workers,
        shard=None if shard is None else read_shard(shard),
        loading=Loading(device, compile, local_files_only),
        max_error_rate=max_error_rate,
        min_free=read_size(min_free),
        address=address,
    )
    return run_job(job_of(source, prompts, **settings), out, how, watcher)


def run_job(job: Job, out: str | os.PathLike[str], how: Engine, watcher: Watcher | None = None) -> Outcome:
    """What to do, where and how -> the same as `run`."""
    storage = storage_of(out)
    with ExitStack() as stack:
        if storage.folder is None:  # nothing can be held there: two runs of one job do some parts twice, and no harm
            return carry_on(begin(storage, job, how.loading), how, watcher)
        stack.enter_context(_sharing(storage.folder, how.shard))
        with held(storage.folder, name=".begin.lock", wait=True):  # of those who share a run one begins it
            folder = begin(storage, job, how.loading)
        return carry_on(folder, how, watcher)


def retry(out: str | os.PathLike[str], how: Engine, watcher: Watcher | None = None) -> Outcome:
    """A folder with a run -> the same with every picture tried again that could not be done. Raises as `run`."""
    if how.name != "local":
        raise UsageError(f"what failed is tried again by engine local; leave out engine {how.name}")
    folder = RunFolder.find(out)
    with ExitStack() as stack:
        if folder.storage.folder is not None:
            stack.enter_context(_sharing(folder.storage.folder.parent, None))
        return carry_on(folder, how, watcher, again=True)


def carry_on(folder: RunFolder, how: Engine, watcher: Watcher | None = None, *, again: bool = False) -> Outcome:
    """A run that is begun -> the same with its parts made, those of a share or `again` those with errors.

    Raises as `run`.
    """
    todo, meter = _planned(folder, how, watcher, again)
    log = _log_name(folder, how)
    if how.shard is None:
        folder.storage.tidy(PARTS)
    worker = f"{platform.node()}:{os.getpid()}"
    task = Task(folder.path, how.loading, again, how.min_free)
    try:
        with Stop() as stop:
            if todo:
                folder.write_log("begin", log, engine=how.name, worker=worker, parts=len(todo))
            with closing(_reports(task, todo, how, meter, stop)) as reports:
                for report in reports:
                    folder.write_log("part", log, **report._asdict(), engine=how.name, worker=worker)
                    meter.check()
        if stop.asked:
            folder.write_log("stop", log, worker=worker)
            return Outcome(folder, False, stop.number, meter.now(), None)
        summary = finish(folder, meter, anew=bool(todo))
        if summary is not None and todo:
            folder.write_log("end", log, worker=worker, rows=summary["rows"], errors=summary["errors"])
    except ClipsegError as error:
        with suppress(OutputError):  # of a full disk, for one
            folder.write_log("failed", log, worker=worker, error=f"{type(error).__name__}: {error}")
        raise
    finally:
        folder.storage.flush()
    return Outcome(folder, summary is not None, None, meter.now(), summary)


def finish(folder: RunFolder, meter: Meter, *, anew: bool) -> dict[str, Any] | None:
    """A run of which all parts may be there -> its summary, written; None where some are not.

    Unless `anew`, a summary that is there is taken as it is. Raises DataError where a part is not what it has to be, or
    too many pictures failed.
    """
    if len(folder.done()) < folder.description().parts:
        return None
    if not anew and folder.finished():
        return folder.summary()
    counts = counted(folder)
    meter.check_all(counts.rows, sum(counts.errors.values()))
    summary = dict(summary_of(folder, counts))
    folder.finish(summary)
    return summary


def _planned(folder: RunFolder, how: Engine, watcher: Watcher | None, again: bool) -> tuple[list[int], Meter]:
    """-> the parts that are to be made, and what counts their pictures and those of the parts that stay."""
    shard, shards = how.shard or (0, 1)
    mine, done, failed = range(shard, folder.description().parts, shards), folder.done(), errors_by_part(folder)
    if again:
        taken = [part for part in mine if part in done]
        todo = [part for part in taken if failed.get(part, 1)]
    else:
        taken = list(mine)
        todo = [part for part in mine if part not in done]
    total = sum(_length(folder, part) for part in taken)
    ahead = sum(failed.get(part, 0) if again else _length(folder, part) for part in todo)
    anew = set(todo)
    errors = sum(failed.get(part, 0) for part in taken if part not in anew)
    return todo, Meter(total, total - ahead, errors, watcher, how.max_error_rate)


def _log_name(folder: RunFolder, how: Engine) -> str:
    """-> the log that only this process writes to."""
    if folder.storage.folder is None:
        return f"log-{time.time_ns()}-{os.getpid()}.jsonl"  # there it can only be written whole
    return LOG if how.shard is None else f"log-shard-{how.shard[0]}-of-{how.shard[1]}.jsonl"


def errors_by_part(folder: RunFolder) -> dict[int, int]:
    """A run -> how many pictures failed in each part, by its log; a part that is not in there was not logged."""
    return {int(entry["part"]): int(entry["errors"]) for entry in folder.entries() if entry["event"] == "part"}


def _reports(task: Task, parts: Sequence[int], how: Engine, meter: Meter, stop: Stop) -> Generator[Report, None, None]:
    if how.name == "ray":
        from clipseg.batch.ray import run_ray

        yield from run_ray(task, parts, meter, stop, workers=how.workers, address=how.address)
        return
    devices = devices_of(how)
    if len(devices) == 1:
        yield from run_here(task, parts, meter, stop)
    else:
        threads = threads_each(len(devices)) if devices[0] in ("auto", "cpu") else None
        yield from run_workers(task, parts, meter, stop, devices, threads)


def devices_of(how: Engine) -> list[str]:
    """How a run is carried out -> the device of each process."""
    device, count = how.loading.device, torch.cuda.device_count()
    if device not in ("auto", "cuda") or not count:
        return [device] * (how.workers or 1)
    return [f"cuda:{number % count}" for number in range(how.workers or count)]


def _length(folder: RunFolder, part: int) -> int:
    start, stop = folder.bounds(part)
    return stop - start


@contextmanager
def _sharing(out: Any, shard: tuple[int, int] | None) -> Iterator[None]:
    """Hold a folder of results: alone, or with those who do other shares."""
    with ExitStack() as stack:
        stack.enter_context(held(out, shared=shard is not None))
        if shard is not None:
            stack.enter_context(held(out, name=f".shard-{shard[0]}-of-{shard[1]}.lock"))
        yield
