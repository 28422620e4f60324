"""`clipseg models`: which models there are and which are here; fetching and removing; the names one has learned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from clipseg.checkpoints.hub import BUNDLED, find_first, local_folder
from clipseg.checkpoints.hub_cache import cached_bytes, cached_names, remove_cached
from clipseg.cli import completing, terminal
from clipseg.cli.groups import CommandGroup
from clipseg.cli.options import Loading, load_segmenter
from clipseg.errors import CheckpointError, CheckpointNotFoundError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class Known:
    """A model's use, and the size of its weights as published; None: known only where the file is."""

    purpose: str
    megabytes: float | None


KNOWN = {
    "nano": Known("the small one in this package, for pictograms: trying out, tests; not for photos", None),
    "CIDAS/clipseg-rd64-refined": Known("photos, with the finest edges; the default", 603),
    "CIDAS/clipseg-rd64": Known("photos; the decoder of the paper", 603),
    "CIDAS/clipseg-rd16": Known("photos; a decoder a quarter as wide", 600),
}


class ModelsGroup(CommandGroup):
    """A group that lists where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments -> the same, with `ls` before them where they are only options."""
        asks_help = set(ctx.help_option_names) & set(args)
        if not (ctx.resilient_parsing or asks_help or [word for word in args if not word.startswith("-")]):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


_named = click.argument("name", shell_complete=completing.models)
_json = click.option("--json", "as_json", is_flag=True, help="JSON lines on a terminal too; elsewhere always.")


@click.group(cls=ModelsGroup)
def models() -> None:
    """List, fetch and remove models; without a command, list."""


@models.command()
@_json
def ls(as_json: bool) -> None:
    """List known models, and where they are.

    Other models of this kind that were fetched are listed too. Nothing is downloaded.
    """
    _tell(listed(), as_json)


@models.command()
@_named
@_json
def pull(name: str, as_json: bool) -> None:
    """Fetch a model, and prove that it loads.

    NAME is a hub id; from then on the model works offline. Nothing is fetched for nano or a folder, but they are proven
    as well. HF_HOME says where models are kept.
    """
    load_segmenter(name, Loading(device="cpu"))
    _tell([_record(name)], as_json)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.models)
@click.option("--dry-run", is_flag=True, help="Say what would become free, and remove nothing.")
@_json
def rm(names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Remove models from the hub's cache.

    All their revisions are removed; they can be fetched again.
    """
    held = {name: cached_bytes(name) for name in names}  # raises before any of them is gone
    for name, size in held.items():
        freed = size if dry_run else remove_cached(name)
        if terminal.wants_table(as_json):
            terminal.line(f"{name}: {freed / 1e6:.1f} MB {'would become free' if dry_run else 'are free'}")
        else:
            terminal.result({"name": name, "megabytes": round(freed / 1e6, 1), "removed": not dry_run})


@models.command()
@_named
@_json
def names(name: str, as_json: bool) -> None:
    """List the names that a model has learned.

    NAME is nano, or a folder with a list of names and synonyms. Models for photographs have none, and are asked in free
    phrases.
    """
    entries = _vocabulary(name)
    if terminal.wants_table(as_json):
        terminal.table(("name", "synonyms"), [(entry["name"], ", ".join(entry["synonyms"])) for entry in entries])
        return
    for entry in entries:
        terminal.result(entry)


def listed() -> list[dict[str, Any]]:
    """-> a row for each model that is known or was fetched; nothing is asked of the hub."""
    return [_record(name) for name in dict.fromkeys((*KNOWN, *cached_names()))]


def _record(name: str) -> dict[str, Any]:
    """A model -> its row; the size of the file itself where it is here."""
    known = KNOWN.get(name, Known("", None))
    try:
        weights = find_first(name, WEIGHTS, local_files_only=True, required=False)
    except CheckpointNotFoundError:
        weights = None  # not in the cache
    is_local = local_folder(name) is not None
    where = "missing" if is_local else "hub"
    megabytes = known.megabytes
    if weights is not None:
        where = "bundled" if name in BUNDLED else "folder" if is_local else "cached"
        megabytes = round(weights.stat().st_size / 1e6, 1)
    return {"name": name, "purpose": known.purpose, "megabytes": megabytes, "where": where}


def _tell(records: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Rows -> a table on a terminal, else JSON lines."""
    if not terminal.wants_table(as_json):
        for record in records:
            terminal.result(record)
        return
    sizes = ["" if record["megabytes"] is None else f"{record['megabytes']:g} MB" for record in records]
    terminal.table(
        ("model", "for", "size", "where"),
        [
            (record["name"], record["purpose"], size, record["where"])
            for record, size in zip(records, sizes, strict=True)
        ],
    )


def _vocabulary(name: str) -> list[dict[str, Any]]:
    """A model's name -> its list of names with synonyms. Raises CheckpointError where there is none to read."""
    folder = local_folder(name)
    if folder is None:
        raise CheckpointNotFoundError(
            f"{name} has no list of names: a model of the hub is asked in free phrases; give nano, or a folder that "
            f"holds a {VOCABULARY}"
        )
    path = folder / VOCABULARY
    try:
        entries = json.loads(path.read_bytes())
        return [
            {
                "name": str(entry["name"]),
                "synonyms": [str(synonym) for synonym in entry["synonyms"]],
                "character": str(entry.get("character", "")),
            }
            for entry in entries
        ]
    except OSError as error:
        raise CheckpointNotFoundError(
            f"{name} has no {VOCABULARY} that can be read ({error.strerror}), so the names it has learned are not known"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f'{path} is no list of {{"name", "synonyms", "character"}} ({error!r})') from error
