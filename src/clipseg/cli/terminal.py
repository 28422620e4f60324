"""What the commands say: results to stdout, everything else to stderr, and decoration only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def result(record: Mapping[str, Any]) -> None:
    """A record -> one JSON line on stdout, at once. It is ASCII, so any terminal and any file name will do."""
    print(json.dumps(record), flush=True)


def line(text: str) -> None:
    """A text -> one line on stdout, for a person to read."""
    print(" ".join(text.split()), flush=True)


def say(text: str) -> None:
    """A text -> one line on stderr, whatever line breaks it holds."""
    print(" ".join(text.split()), file=sys.stderr, flush=True)


def error(reason: object) -> None:
    """A reason -> `error: …` on stderr."""
    say(f"error: {reason}")


def warning(reason: object) -> None:
    """A reason -> `warning: …` on stderr."""
    say(f"warning: {reason}")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Headings and rows of cells -> a table on stdout, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # a Text: brackets in a cell are no mark-up
    Console().print(drawn)


def wants_table(as_json: bool) -> bool:
    """Whether results go to a person's terminal, who has not asked for JSON."""
    return sys.stdout.isatty() and not as_json


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while the block runs; nothing unless that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner, console = Spinner("dots", Text(what)), Console(stderr=True)
    with Live(spinner, console=console, transient=True, refresh_per_second=12, redirect_stdout=sys.stdout.isatty()):
        yield


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """-> a function of (done, total) that moves a bar on stderr, with rate and time left; nothing off a terminal.

    A total that is not known is None. A third argument takes the place of `what`.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total, _what="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()
    # Lines printed meanwhile go above the bar by way of its console, which is stderr; not those for a program to read.
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, now=what: bar.update(task, completed=done, total=total, description=now)
