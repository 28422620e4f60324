"""`clipseg models`: which models there are and whether they are on this machine; the names that one has learned."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from clipseg.checkpoints.hub import BUNDLED, find_first, local_folder
from clipseg.cli import terminal
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


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
def models(name: str | None, as_json: bool) -> None:
    """List the known models and where they are, or the names and synonyms that the model NAME has learned.

    Prints a table on a terminal and JSON lines elsewhere. Nothing is downloaded.
    """
    if name is not None:
        _show_vocabulary(name, as_json)
        return
    records = [_record(name, known) for name, known in KNOWN.items()]
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


def _record(name: str, known: Known) -> dict[str, Any]:
    """A known model -> its row; the size of the file itself where it is here."""
    try:
        weights = find_first(name, WEIGHTS, local_files_only=True, required=False)
    except CheckpointNotFoundError:
        weights = None  # not in the cache
    where = "missing" if name in BUNDLED else "hub"
    megabytes = known.megabytes
    if weights is not None:
        where = "bundled" if name in BUNDLED else "cached"
        megabytes = round(weights.stat().st_size / 1e6, 1)
    return {"name": name, "purpose": known.purpose, "megabytes": megabytes, "where": where}


def _show_vocabulary(name: str, as_json: bool) -> None:
    entries = _vocabulary(name)
    if terminal.wants_table(as_json):
        terminal.table(("name", "synonyms"), [(entry["name"], ", ".join(entry["synonyms"])) for entry in entries])
        return
    for entry in entries:
        terminal.result(entry)


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
