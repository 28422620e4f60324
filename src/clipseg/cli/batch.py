"""`clipseg batch`: a whole collection of pictures segmented, in runs that go on from wherever they were left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clipseg.cli import terminal
from clipseg.cli.completing import files, folders
from clipseg.cli.groups import LazyGroup
from clipseg.cli.mask_options import mask_options, read_finish
from clipseg.cli.options import Adder, GroupedCommand, Loading, added, loading_options, model_option, option
from clipseg.cli.outputs import batch_option, reduced_option
from clipseg.cli.prompt_options import prompt_options, read_prompts

if TYPE_CHECKING:
    from clipseg.batch.engine import Engine
    from clipseg.batch.jobs import Job
    from clipseg.batch.progress import Progress, Watcher
    from clipseg.batch.running import Outcome

# The library's own, written out so that help needs no torch; a test holds them together.
ENGINES = ("local", "ray")
MAX_ERROR_RATE, MIN_FREE = 0.5, "200MB"

SAID = 30.0
"""Seconds between two lines of progress where there is no terminal."""

EXAMPLES = """\b
Examples
  clipseg batch photos -o out -p cup -p "table AND NOT chair"
  clipseg batch "s3://bucket/shards/*.tar" -o s3://bucket/out --image-prompt jar.jpg:mask.png --engine ray --workers 8
  clipseg batch pictures.parquet -o out -p cup --shard $SLURM_ARRAY_TASK_ID/100
  clipseg batch status out
"""

COMMANDS = {
    "run": ("clipseg.cli.batch", "begin", "Segment a collection; what is done where no command is named."),
    "status": ("clipseg.cli.batch", "status", "Tell how far a run is."),
    "retry": ("clipseg.cli.batch", "again", "Try the pictures again that could not be done."),
    "finalize": (
        "clipseg.cli.batch_outputs",
        "finalize",
        "Make a data set of a run: COCO, YOLO, VOC, PNG, WebDataset.",
    ),
    "report": ("clipseg.cli.batch_outputs", "report", "Make a page of a run: contact sheets, scores, errors."),
}


class BatchGroup(LazyGroup):
    """A group that runs where none of its commands is named."""

    rows = COMMANDS

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments -> the same, with `run` before them where they begin with no command."""
        if args and args[0] not in COMMANDS and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


out_option: Adder = option(
    "Run", "-o", "--out", required=True, metavar="DIR|URL", help="Folder of the run; the same command goes on with it."
)

engine_options: Adder = added(
    option(
        "Run",
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help="Who does the work: this machine, or a Ray cluster (extra: ray).",
    ),
    option(
        "Run",
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Processes that hold the model.  [default: one, or one for each GPU]",
    ),
    option(
        "Run",
        "--shard",
        metavar="I/N",
        help="Do one share of N of the parts, while others do theirs; I from 0, or from 1 to N.",
    ),
    option(
        "Run", "--address", metavar="ADDRESS", help="Of a Ray cluster that is there.  [default: one of this machine]"
    ),
    option(
        "Run",
        "--max-error-rate",
        type=click.FloatRange(0, 1),
        default=MAX_ERROR_RATE,
        show_default=True,
        metavar="X",
        help="Part of all pictures that may fail before the run does.",
    ),
    option(
        "Run",
        "--min-free",
        default=MIN_FREE,
        show_default=True,
        metavar="SIZE",
        help="Stop well while so much is still free on the disk.",
    ),
)
"""Adds how a run is carried out to a command, which gets it by `read_engine`."""

work_options: Adder = added(
    option("Run", "--limit", type=click.IntRange(1), metavar="N", help="Only the first N pictures."),
    option("Run", "--heatmap", is_flag=True, help="Keep the map of each prompt as well, at the model's resolution."),
    option(
        "Run",
        "--rows-per-part",
        type=click.IntRange(1),
        metavar="N",
        help="Pictures to a file of results, and what is lost when a process is killed.  [default: 512 at most]",
    ),
)

_json: Adder = option("Run", "--json", "as_json", is_flag=True, help="JSON lines on a terminal too; elsewhere always.")


def read_engine(values: Mapping[str, Any], loading: Loading) -> Engine:
    """The values of `engine_options` -> how a run is carried out. Raises UsageError."""
    from clipseg.batch import parts
    from clipseg.batch.engine import Engine, read_shard, read_size

    return Engine(
        name=values["engine"],
        workers=values["workers"],
        shard=None if values["shard"] is None else read_shard(values["shard"]),
        loading=parts.Loading(loading.device, loading.compile, loading.offline),
        max_error_rate=values["max_error_rate"],
        min_free=read_size(values["min_free"]),
        address=values["address"],
    )


@click.group(cls=BatchGroup, epilog="Without a command: run. See `clipseg batch run --help` for all its options.")
def batch() -> None:
    """Segment a whole collection of pictures, in a run that survives whatever ends it.

    clipseg batch SOURCE… -o OUT -p TEXT… begins a run, or goes on with it.
    """


@click.command(cls=GroupedCommand, epilog=EXAMPLES)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", shell_complete=files)
@added(
    prompt_options,
    mask_options(without=("feather", "compose")),
    out_option,
    work_options,
    engine_options,
    option("Run", "--dry-run", is_flag=True, help="Say what it would take, by a sample, and write nothing."),
    _json,
    model_option,
    batch_option,
    reduced_option,
    loading_options,
)
def begin(loading: Loading, **values: Any) -> None:
    """Find what the prompts name or show in every picture of SOURCE, and keep it as Parquet files in OUT.

    A SOURCE is a folder, a quoted pattern, a table (.csv, .jsonl, .parquet) with a column `uri` and perhaps `id` and
    `prompts`, tar files as WebDataset has them, or a URL of these. A picture that cannot be read is a row with its
    error. The same command goes on where it ended, whatever ended it; with other prompts or options it is refused.
    Prints a JSON line at the end.
    """
    asked = read_prompts(values)
    finish = read_finish(values, asked.labels)
    from clipseg.batch.jobs import job_of
    from clipseg.batch.running import run_job
    from clipseg.batch.settings import changed_options

    engine = read_engine(values, loading)
    options = changed_options(finish.options)
    options.pop("combine", None)
    job = job_of(
        values["sources"],
        asked.prompts,
        negative=asked.negatives,
        model=values["model"],
        combine=finish.options.combine if finish.combined else None,
        **finish.fitting,
        **options,
        dtype=loading.dtype,
        backend=loading.backend,
        **{name: values[name] for name in ("limit", "heatmap", "rows_per_part", "batch_size", "reduced_decoding")},
    )
    if values["dry_run"]:
        _estimate(job, engine, values["as_json"])
        return
    with watching("segmenting") as watcher:
        outcome = run_job(job, values["out"], engine, watcher)
    tell(outcome, values["as_json"])


@click.command(cls=GroupedCommand)
@click.argument("out", metavar="OUT", shell_complete=folders)
@_json
def status(out: str, as_json: bool) -> None:
    """Tell how far the run in OUT is, by what lies there; nothing is loaded, and nobody is disturbed."""
    from clipseg.batch.status import status_of

    record = status_of(out)
    if terminal.wants_table(as_json):
        terminal.table(("", ""), [(name, _shown(value)) for name, value in record.items()])
    else:
        terminal.result(record)


@click.command(cls=GroupedCommand)
@click.argument("out", metavar="OUT", shell_complete=folders)
@added(engine_options, _json, loading_options)
def again(out: str, loading: Loading, as_json: bool, **values: Any) -> None:
    """Try the pictures of the run in OUT again that could not be done; all others stay as they are."""
    from clipseg.batch.running import retry

    engine = read_engine(values, loading)
    with watching("trying again") as watcher:
        outcome = retry(out, engine, watcher)
    tell(outcome, as_json)


@contextmanager
def watching(what: str) -> Iterator[Watcher]:
    """-> what is told of progress and shows it: a bar on a terminal, elsewhere a line on stderr now and then."""
    if sys.stderr.isatty():
        with terminal.progress(what) as moved:
            yield lambda progress: moved(progress.done, progress.total, f"{what}, {_errors(progress.errors)}")
        return
    yield _lines()


def _lines() -> Callable[[Progress], None]:
    said = time.monotonic()

    def say(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= SAID:
            said = time.monotonic()
            terminal.say(str(progress))

    return say


def tell(outcome: Outcome, as_json: bool = False) -> None:
    """What has become of a run -> a JSON line, or a line to read; and the exit code of a signal that stopped it."""
    progress, summary = outcome.progress, outcome.summary
    record = {
        "run": outcome.folder.path,
        "finished": outcome.finished,
        "pictures": progress.total if summary is None else summary["rows"],
        "done": progress.done if summary is None else summary["rows"],
        "errors": progress.errors if summary is None else summary["errors"],
    }
    if terminal.wants_table(as_json):
        state = "finished" if outcome.finished else "stopped" if outcome.stopped else "this share is done"
        counts = f"{record['done']:,} of {record['pictures']:,} pictures, {_errors(int(record['errors']))}"
        terminal.line(f"{record['run']}: {state}, {counts}")
    else:
        terminal.result(record)
    if outcome.stopped is not None:
        click.get_current_context().exit(128 + outcome.stopped)


def _estimate(job: Job, engine: Engine, as_json: bool) -> None:
    from clipseg.batch.estimate import estimate

    with terminal.working("doing a sample"):
        found = estimate(job, engine.loading, engine.workers or 1)
    if terminal.wants_table(as_json):
        terminal.table(("", ""), [(name, _shown(value)) for name, value in asdict(found).items()])
    else:
        terminal.result(asdict(found))


def _errors(count: int) -> str:
    return f"{count:,} error{'' if count == 1 else 's'}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
