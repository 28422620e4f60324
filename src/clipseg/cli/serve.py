"""`clipseg serve`: a page in the browser and an API over HTTP, on this machine unless told otherwise."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from clipseg.cli import terminal
from clipseg.cli.options import GroupedCommand, Loading, load_segmenter, loading_options, model_option, option

EXAMPLES = """\b
Examples
  clipseg serve --open
  clipseg serve --model nano --port 8080
  CLIPSEG_TOKEN=$(openssl rand -hex 16) clipseg serve --host 0.0.0.0
"""

MEGABYTE = 2**20

MOST = 1e9
"""Of what is not counted: 30 years, or a petabyte. What waits and what is kept knows no larger numbers."""


class _Amount(click.FloatRange):
    """A number above 0, which "nan" is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number.", param, ctx)
        return number


_count = click.IntRange(min=1)
_amount = _Amount(min=0, min_open=True, max=MOST)


@click.command(cls=GroupedCommand, epilog=EXAMPLES)
@option("Server", "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a --token.")
@option(
    "Server", "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes any that is free."
)
@option("Server", "--token", envvar="CLIPSEG_TOKEN", metavar="TEXT", help="Requests must bring it; also CLIPSEG_TOKEN.")
@option(
    "Server",
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which this server is asked, beside localhost; may be repeated.",
)
@option(
    "Server",
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Pages from there may ask, such as https://example.org; may be repeated.",
)
@option("Server", "--open", "opens", is_flag=True, help="Open the page in a browser.")
@option("Server", "--page/--no-page", default=True, help="Serve the page (the default), or the API alone.")
@option(
    "Limits", "--max-megabytes", type=_amount, default=32, show_default=True, metavar="N", help="Of a picture's file."
)
@option("Limits", "--max-megapixels", type=_amount, default=50, show_default=True, metavar="N", help="Of a picture.")
@option("Limits", "--max-prompts", type=_count, default=64, show_default=True, metavar="N", help="In a request.")
@option(
    "Limits",
    "--max-queue",
    type=_count,
    default=64,
    show_default=True,
    metavar="N",
    help="Requests at once; others are told when to come again.",
)
@option("Limits", "--max-seconds", type=_amount, default=60, show_default=True, metavar="N", help="For a request.")
@option(
    "Limits",
    "--cache-megabytes",
    type=_amount,
    default=512,
    show_default=True,
    metavar="N",
    help="Of encoded pictures, which are not encoded again; and as many again of their files.",
)
@model_option
@loading_options
def serve(
    host: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    opens: bool,
    page: bool,
    max_megabytes: float,
    max_megapixels: float,
    max_prompts: int,
    max_queue: int,
    max_seconds: float,
    cache_megabytes: float,
    model: str,
    loading: Loading,
) -> None:
    """Open a page in the browser where pictures are segmented, and an API for programs.

    Nothing is sent anywhere: the server listens on this machine, and keeps pictures in memory only. It takes requests
    at once and loads the model meanwhile. Ctrl-C or SIGTERM ends it, after it has finished what it took.
    """
    from clipseg.server import serving

    serving.check_packages()
    serving.check_door(host, token)
    serving.spin_briefly()
    from clipseg.checkpoints.hub import local_folder
    from clipseg.server.app import application
    from clipseg.server.service import Service
    from clipseg.server.settings import Access, Limits

    largest, kept = round(max_megabytes * MEGABYTE), round(cache_megabytes * MEGABYTE)
    limits = Limits(
        bytes=largest,
        pixels=round(max_megapixels * 1e6),
        prompts=max_prompts,
        terms=max(32 * max_prompts, Limits.terms),
        queue=max_queue,
        seconds=max_seconds,
        bodies_bytes=max(8 * largest, Limits.bodies_bytes),
        store_bytes=max(kept, largest),
        decoded_bytes=max(kept // 2, 3 * round(max_megapixels * 1e6)),
        features_bytes=kept,
    )
    access = Access(token=token, hosts=serving.names_of(host, hosts), origins=serving.origins_of(origins), page=page)
    is_local = local_folder(model) is not None  # raises for what is no model's name
    name = Path(model).expanduser().resolve().name if is_local and Path(model).expanduser().is_dir() else model
    progress = _download_of(model) if not is_local else lambda: 0.0
    service = Service(lambda: load_segmenter(model, loading), name, limits, progress)
    with serving.bound(host, port) as listening:
        address = serving.address_of(listening)
        entry = serving.entry_of(address, token)

        def begun() -> None:
            if terminal.wants_table(False):
                terminal.line(f"{entry} is ready for a browser; Ctrl-C ends it")
            else:
                terminal.result({"address": address, "model": name, "page": page})
            if opens:
                webbrowser.open(entry)

        serving.serve(application(service, access), service, listening, begun)


def _download_of(model: str) -> Callable[[], float]:
    """A hub id -> what tells how much of it is here, from 0 to 1, as far as its size is known."""
    from clipseg.checkpoints.hub_cache import cached_bytes
    from clipseg.cli.models import KNOWN
    from clipseg.errors import ClipsegError

    known = KNOWN.get(model)
    total = 0.0 if known is None or known.megabytes is None else known.megabytes * 1e6

    def progress() -> float:
        try:
            return cached_bytes(model) / total if total else 0.0
        except (ClipsegError, OSError):  # nothing yet, or files that moved while they were counted
            return 0.0

    return progress
