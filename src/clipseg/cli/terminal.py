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
    from rich.text import Text

    with Console(stderr=True).status(Text(what)):
        yield


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """-> a function of (done, total) that moves a bar on stderr; it does nothing unless that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
