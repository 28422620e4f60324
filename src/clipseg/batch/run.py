"""A run from its beginning to its end, and again from wherever it was left.

    from clipseg.batch.run import run

    summary = run("photos", ["a cup", "wood AND NOT table"], "out", model="nano")

The same call goes on where an earlier one ended, whatever ended that. Another process may do a share of it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from clipseg.batch.beginning import begin
from clipseg.batch.local import run_here, run_workers, threads_each
from clipseg.batch.parts import Loading, Report, Task
from clipseg.batch.progress import Meter, Progress, Watcher
from clipseg.batch.run_folder import LOG, PARTS, RunFolder
from clipseg.batch.settings import BatchConfig, changed_options
from clipseg.batch.sources import absolute
from clipseg.batch.storage import storage_of
from clipseg.batch.summary import counted, summary_of
from clipseg.batch.wording import phrases, written
from clipseg.checkpoints.files import parse_size
from clipseg.checkpoints.hub import local_folder
from clipseg.errors import UsageError
from clipseg.folder_lock import held
from clipseg.masks.lengths import Length
from clipseg.masks.options import MaskOptions
from clipseg.prompting.expressions import Term
from clipseg.prompting.prompts import PromptSource, as_prompts, as_prompts_if_any
from clipseg.segmenter import DEFAULT_MODEL
from clipseg.signals import Stop

ENGINES = ("local", "ray")
MIN_FREE = "200MB"
MAX_ERROR_RATE = 0.5

_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How a run is carried out: what changes nothing of what comes out.

    Fields
        name            "local" or "ray"
        workers         processes; None: one, or on several GPUs one for each
        shard           which share of the parts, counted from 0, of how many; None: all
        loading         how the model is loaded
        max_error_rate  part of all pictures that may fail before the run does
        min_free        bytes that are to stay free where results are written
        address         of a Ray cluster that is there already; None: one of this machine
    """

    name: str = "local"
    workers: int | None = None
    shard: tuple[int, int] | None = None
    loading: Loading = Loading()  # noqa: RUF009 - frozen
    max_error_rate: float = MAX_ERROR_RATE
    min_free: int = parse_size(MIN_FREE)
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"engine is {self.name!r}; known are {', '.join(ENGINES)}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers is {self.workers}; expected at least 1")
        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"max_error_rate is {self.max_error_rate}; expected a number from 0 to 1")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            raise UsageError(f"shard is {self.shard[0]}/{self.shard[1]}; expected i/n with i from 0 to n - 1")
        if self.shard is not None and self.name == "ray":
            raise UsageError("a Ray cluster shares the work by itself; leave out the shard, or use engine local")
        if self.address is not None and self.name != "ray":
            raise UsageError(f"address {self.address!r} is of a Ray cluster; add engine ray, or leave it out")


@dataclass(frozen=True)
class Outcome:
    """What a call has done.

    Fields
        folder    of the run
        finished  whether everything is there
        stopped   whether it was asked to stop
        progress  where the run is, as far as this process knows
        summary   of the whole run, once it is finished
    """

    folder: RunFolder
    finished: bool
    stopped: bool
    progress: Progress
    summary: dict[str, Any] | None


def configured(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    prompts: PromptSource | Iterable[PromptSource],
    *,
    negative: PromptSource | Iterable[PromptSource] = (),
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    combine: str | None = None,
    fit: str | None = None,
    tile: Length | None = None,
    overlap: Length | None = None,
    **settings: Any,
) -> tuple[BatchConfig, list[Term], list[Term]]:
    """What a caller says -> the configuration, and the prompts and negatives themselves.

    `settings` are other fields of `BatchConfig`, and the options of masks. Raises UsageError and PromptError.
    """
    asked, unwanted = as_prompts(prompts), as_prompts_if_any(negative)
    given = [source] if isinstance(source, (str, os.PathLike)) else source
    own = {name: settings.pop(name) for name in BatchConfig.__dataclass_fields__ if name in settings}
    folder = local_folder(model)
    config = BatchConfig(
        source=tuple(map(absolute, given)),
        prompts=written(asked),
        phrases=phrases([*asked, *unwanted]),
        negative=written(unwanted),
        model=str(model) if folder is None or str(model) == "nano" else str(folder.absolute()),
        combine=combine,
        fit=fit,
        tile=tile,
        overlap=overlap,
        mask=changed_options(MaskOptions.from_mapping(settings)),
        **own,
    )
    return config, asked, unwanted


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
    shard     "i/n": every n-th part, from the i-th on, counted from 0, for processes that share a run
    watcher   is told of progress, some times a second at most
    settings  negative, model, limit, combine, fit, tile, overlap, reduced_decoding, heatmap, dtype, backend,
              batch_size, rows_per_part and the options of masks; see `settings.BatchConfig`

    A picture that cannot be done is a row with an error; where more than `max_error_rate` of all are, DataError is
    raised. SIGINT and SIGTERM end it well, in the middle of a part: the parts before stay, and the outcome says
    `stopped`. Raises UsageError and PromptError for what is asked, DataError for what is not there, ConfigurationError
    where `out` holds a run of other settings, and OutputError where another process runs in it, or there is no room.
    """
    config, asked, unwanted = configured(source, prompts, **settings)
    how = Engine(
        name=engine,
        workers=workers,
        shard=None if shard is None else read_shard(shard),
        loading=Loading(device, compile, local_files_only),
        max_error_rate=max_error_rate,
        min_free=parse_size(min_free),
        address=address,
    )
    storage = storage_of(out)
    with ExitStack() as stack:
        if storage.folder is not None:
            # Who begins a run does so alone; those who share it wait until it is begun.
            stack.enter_context(_sharing(storage.folder, how.shard))
            with held(storage.folder, name=".begin.lock", wait=how.shard is not None):
                folder = begin(storage, config, asked, unwanted, how.loading)
        else:
            folder = begin(storage, config, asked, unwanted, how.loading)
        return carry_on(folder, how, watcher)


def retry(out: str | os.PathLike[str], how: Engine, watcher: Watcher | None = None) -> Outcome:
    """A folder with a run -> the same with every picture tried again that could not be done. Raises as `run`."""
    folder = RunFolder.find(out)
    with ExitStack() as stack:
        if folder.storage.folder is not None:
            stack.enter_context(_sharing(folder.storage.folder.parent, None))
        return carry_on(folder, how, watcher, again=True)


def carry_on(folder: RunFolder, how: Engine, watcher: Watcher | None = None, *, again: bool = False) -> Outcome:
    """A run that is begun -> the same with its parts made, those of a share or `again` those with errors.

    Raises as `run`.
    """
    description, done = folder.description(), folder.done()
    mine = [part for part in range(description.parts) if how.shard is None or part % how.shard[1] == how.shard[0]]
    failed = errors_by_part(folder)
    if again:
        todo = [part for part in mine if part in done and failed.get(part, 1)]
        kept = [part for part in mine if part in done and part not in todo]
    else:
        todo = [part for part in mine if part not in done]
        kept = [part for part in mine if part in done]
    rows_of = {part: _length(folder, part) for part in mine}
    meter = Meter(
        sum(rows_of.values()),
        sum(rows_of[part] for part in kept),
        sum(failed.get(part, 0) for part in kept),
        watcher,
        how.max_error_rate,
    )
    log = LOG if how.shard is None else f"log-shard-{how.shard[0]}-of-{how.shard[1]}.jsonl"
    if folder.storage.folder is None:
        log = f"log-{time.time_ns()}-{os.getpid()}.jsonl"  # of its own: it can only be written whole
    elif how.shard is None:
        folder.storage.tidy(PARTS)
    worker = f"{socket.gethostname()}:{os.getpid()}"
    task = Task(folder.path, how.loading, again, how.min_free)
    try:
        with Stop() as stop:
            if todo:
                folder.write_log("begin", log, engine=how.name, worker=worker, parts=len(todo), done=len(done))
            with closing(_reports(task, todo, how, meter, stop)) as reports:
                for report in reports:
                    told = report._asdict()
                    folder.write_log("part", log, **told, engine=how.name, worker=worker)
                    meter.check()
            stopped = stop.asked
        if stopped:
            folder.write_log("stop", log, worker=worker)
        if not todo and folder.finished():
            return Outcome(folder, True, stopped, meter.now(), folder.summary())
        summary = None if stopped else finish(folder, meter)
        if summary is not None and todo:
            folder.write_log("end", log, worker=worker, **{name: summary[name] for name in ("rows", "errors")})
    finally:
        folder.storage.flush()
    return Outcome(folder, summary is not None, stopped, meter.now(), summary)


def finish(folder: RunFolder, meter: Meter) -> dict[str, Any] | None:
    """A run of which all parts may be there -> its summary, written; None where some are not, or somebody else has to.

    Raises DataError where a part is not what it has to be, or too many pictures failed.
    """
    if len(folder.done()) < folder.description().parts:
        return None
    counts = counted(folder)
    meter.check_all(counts.rows, sum(counts.errors.values()))
    summary = dict(summary_of(folder, counts))
    folder.finish(summary)
    return summary


def errors_by_part(folder: RunFolder) -> dict[int, int]:
    """A run -> how many pictures failed in each part, by its log; a part that is not in there was not logged."""
    return {int(entry["part"]): int(entry["errors"]) for entry in folder.entries() if entry["event"] == "part"}


def read_shard(text: str) -> tuple[int, int]:
    """The text i/n -> which share, counted from 0, of how many. Raises UsageError."""
    match = _SHARD.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"shard is {text!r}; expected i/n, such as 0/8 to 7/8, or $SLURM_ARRAY_TASK_ID/8")
    return int(match[1]), int(match[2])


def _reports(task: Task, parts: Sequence[int], how: Engine, meter: Meter, stop: Stop) -> Generator[Report, None, None]:
    if how.name == "ray":
        from clipseg.batch.ray import run_ray

        yield from run_ray(task, parts, meter, stop, workers=how.workers, address=how.address)
        return
    devices = _devices(how)
    if len(devices) == 1:
        yield from run_here(task, parts, meter, stop)
    else:
        threads = threads_each(len(devices)) if devices[0] in ("auto", "cpu") else None
        yield from run_workers(task, parts, meter, stop, devices, threads)


def _devices(how: Engine) -> list[str]:
    """-> the device of each process."""
    import torch

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
