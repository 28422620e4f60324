"""`clipseg bench`: how fast this machine runs a model, beside how fast it multiplies matrices."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from clipseg.cli import machine, terminal
from clipseg.cli.completing import models
from clipseg.cli.options import GroupedCommand, Loading, loading_options, option
from clipseg.errors import UsageError

# Written out so that help needs no torch; a test holds them to benchmark.rows.
ROWS = ("peak", "encode", "decode", "first-mask", "stream", "memory")
REPEATS = 5
NANO = "nano"
HEADINGS = ("what", "median", "lowest to highest", "that is", "of the peak")


@click.command(cls=GroupedCommand)
@click.argument("model", default=NANO, shell_complete=models)
@option("What", "--random", "is_random", is_flag=True, help="Random weights of the released size, in place of MODEL.")
@option(
    "What",
    "--rows",
    multiple=True,
    metavar="NAME,…",
    help=f"Only these: {', '.join(ROWS)}; may be repeated.  [default: all]",
)
@option(
    "What", "--repeats", type=click.IntRange(min=1), default=REPEATS, show_default=True, metavar="N", help="Rounds."
)
@option("Results", "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="Also write all as JSON here.")
@option("Results", "--json", "as_json", is_flag=True, help="A JSON line, also on a terminal.")
@loading_options
def bench(
    model: str,
    is_random: bool,
    rows: tuple[str, ...],
    repeats: int,
    out: Path | None,
    as_json: bool,
    loading: Loading,
) -> None:
    """Measure how fast this machine runs MODEL, a name or a folder; without one the bundled nano, which is always here.

    Measures the fastest matrix products of the machine by precision, a picture's encoding and its share of that, the
    decoding of 1, 10 and 100 prompts, a fresh process up to the first mask on disk, photographs of 12 megapixels
    under 3 prompts from file to file, and memory. Prints a table on a terminal and a JSON line elsewhere. It takes less
    than a minute of nano, and some minutes of a model of the released size, such as --random, which loads none: how
    fast a model is does not depend on what it has learnt. Let the machine do nothing else meanwhile.
    """
    from clipseg.benchmark.rows import Measured, check_rows, measure

    chosen = [name for given in rows for name in given.split(",")]
    check_rows(chosen)
    with _model(model, is_random, loading.backend) as named, terminal.progress("loading") as moved:
        how = loading._asdict()
        measured = Measured(named, local_files_only=how.pop("offline") or is_random, **how)
        figures = measure(measured, chosen, repeats, moved)
    figures["model"] |= {"model": "random weights of the released size"} if is_random else {}
    report = {"machine": facts(), **figures}
    if out is not None:
        from clipseg.checkpoints.files import write_json

        write_json(out, report)
    if terminal.wants_table(as_json):
        _tell(report)
    else:
        terminal.result(report)


@contextmanager
def _model(model: str, is_random: bool, backend: str) -> Iterator[str]:
    """-> the model to measure; one of random weights is in a folder that is gone after the block."""
    if not is_random:
        yield model
        return
    if click.get_current_context().get_parameter_source("model") is not ParameterSource.DEFAULT:
        raise UsageError(f"--random takes the place of a model, and {model!r} is one; leave one of them out")
    if backend != "torch":
        raise UsageError(f"--random is for the back end torch; for {backend} name a folder that was exported for it")
    from clipseg.benchmark.materials import write_random_model

    with tempfile.TemporaryDirectory(prefix="clipseg-random-") as folder:
        yield str(write_random_model(Path(folder)))


def facts() -> dict[str, Any]:
    """-> what the figures depend on that the machine is."""
    memory = machine.memory_bytes()
    return {
        "processor": machine.processor(),
        "instruction_sets": machine.instruction_sets(),
        "cores": machine.usable_cores(),
        "granted_cores": machine.granted_cores(),
        "memory_bytes": None if memory is None else memory[0],
    }


# -- the table ---------------------------------------------------------------------------------------------------------


def _tell(report: Mapping[str, Any]) -> None:
    where, model = report["machine"], report["model"]
    terminal.line(
        f"{where['processor']}, {where['cores']} cores, {report['threads']} threads, torch {report['torch']}; "
        f"{model['model']} on {report['device']}, {model['backend']}, {report['precision']}; {report['repeats']} rounds"
    )
    terminal.table(HEADINGS, list(lines(report["rows"], report["input_size_hw"])))


def lines(rows: Mapping[str, Any], size_hw: list[int]) -> Iterator[tuple[str, ...]]:
    """The figures of rows by name, the size of the model's input -> the lines of the table."""
    for precision, speed in rows.get("peak", {}).get("gflops", {}).items():
        yield f"matrix products, {precision}", "", "", f"{speed:,.0f} GFLOP/s", ""
    if row := rows.get("encode"):
        yield _line(f"encode a picture, {size_hw[1]}x{size_hw[0]}", row, f"{row['gflops']:,.0f} GFLOP/s")
    for count, row in rows.get("decode", {}).get("prompts", {}).items():
        yield _line(f"decode {count} prompt{'s'[: count != '1']}", row, f"{row['milliseconds_a_prompt']:.3g} ms each")
    if row := rows.get("first-mask"):
        yield _line("a fresh process to the first mask", row, f"{_time(row['loading_median'])} of it loading")
    if row := rows.get("stream"):
        what = f"{row['pictures']} photographs, {row['prompts']} prompts, files to files"
        yield _line(what, row, f"{row['pictures_a_second']:.3g} pictures/s")
    for count, megabytes in rows.get("memory", {}).get("peak_megabytes", {}).items():
        said = "not told here" if megabytes is None else f"{megabytes:,.0f} MB"
        yield f"memory at {count} prompt{'s'[: count != '1']}", "", "", said, ""


def _line(what: str, row: Mapping[str, Any], meaning: str) -> tuple[str, ...]:
    share = row.get("share_of_peak")
    spread = f"{_time(row['lowest'])} to {_time(row['highest'])}"
    return what, _time(row["median"]), spread, meaning, "" if share is None else f"{share:.0%}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
