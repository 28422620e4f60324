"""Batch runs that are known in advance: pictures and their masks in, a run's folder out, and no model asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import ready
from clipseg.batch.columns import error_row, row_of, table_of
from clipseg.batch.items import Item
from clipseg.batch.manifest import MANIFEST, manifest_of, written
from clipseg.batch.run_folder import RunDescription, RunFolder
from clipseg.batch.settings import BatchConfig, deciding, fingerprint
from clipseg.batch.storage import storage_of
from clipseg.batch.summary import counted, summary_of
from clipseg.batch.wording import phrases
from clipseg.batch.wording import written as written_terms
from clipseg.errors import PictureError
from clipseg.prompting.prompts import TextPrompt
from made_masks import masks_of, rectangle

Inside = Mapping[str, NDArray[np.bool_]] | None
"""Label -> mask (H, W) of a picture; None for one that cannot be read."""

SIZE_HW = (30, 40)
LABELS = ("a cat", "the dog")
SHELF: Mapping[str, Inside] = {
    "a/one.jpg": {"a cat": rectangle(SIZE_HW, (2, 1, 12, 9)), "the dog": rectangle(SIZE_HW, (8, 4, 30, 20))},
    "a/two.png": {"a cat": rectangle(SIZE_HW, (0, 0, 40, 30)), "the dog": rectangle(SIZE_HW, (0, 0, 0, 0))},
    "b/broken.jpg": None,
    "b/one.jpg": {
        "a cat": rectangle(SIZE_HW, (0, 0, 0, 0)),
        "the dog": rectangle(SIZE_HW, (1, 1, 5, 5)) | rectangle(SIZE_HW, (20, 10, 31, 28)),
    },
    "c/four.jpg": {"a cat": rectangle(SIZE_HW, (30, 20, 40, 30)), "the dog": rectangle(SIZE_HW, (3, 3, 6, 29))},
}
"""Pictures in folders, one of them broken, one all covered, one in which nothing but parts of a dog is."""


def pictures(folder: Path, shelf: Mapping[str, Inside] = SHELF) -> Path:
    """Write the pictures of a shelf -> the folder."""
    for seed, (name, inside) in enumerate(shelf.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if inside is None:
            path.write_bytes(b"no picture")
        else:
            height, width = next(iter(inside.values())).shape
            ready.picture(seed, width, height).save(path)
    return folder


def run(
    out: Path,
    folder: Path,
    shelf: Mapping[str, Inside] = SHELF,
    labels: Sequence[str] = LABELS,
    *,
    own: Mapping[str, Sequence[str]] | None = None,
    parts: int | None = None,
    part_rows: int = 2,
    heatmap: bool = False,
) -> RunFolder:
    """A run of a shelf whose pictures lie in `folder`; `parts` of it are there, all unless said otherwise.

    `own` are labels of pictures that have prompts of their own.
    """
    asked = [TextPrompt(label) for label in labels]
    config = BatchConfig(
        source=(str(folder),), prompts=written_terms(asked), phrases=phrases(asked), heatmap=heatmap, dtype="float32"
    )
    items = [
        Item(name, str(folder / name), None, None, list(own[name]) if own and name in own else None) for name in shelf
    ]
    manifest = manifest_of(items)
    decided = deciding(config, "0" * 64, "test")
    name = fingerprint(decided, written(manifest).hex())
    made = RunFolder(storage_of(out / f"run-{name[:12]}"))
    made.storage.write(MANIFEST, written(manifest))
    made.claim(RunDescription(config, name, decided, len(shelf), part_rows, time.time(), {"clipseg": "test"}))
    ordered = sorted(items)
    numbers = range(made.description().parts)
    for number in numbers[:parts]:
        start, stop = made.bounds(number)
        rows = [
            {**_row(item, shelf[item.id], heatmap), "ms": 5.0 * place}
            for place, item in enumerate(ordered[start:stop], 1)
        ]
        made.write_part(number, table_of(rows, heatmap=heatmap))
        errors = sum(row["status"] == "error" for row in rows)
        made.write_log("part", part=number, rows=len(rows), errors=errors, seconds=0.5, engine="local", worker="test")
    if parts is None:
        made.finish(summary_of(made, counted(made)))
    return made


def _row(item: Item, inside: Inside, heatmap: bool) -> dict[str, object]:
    if inside is None:
        return error_row(item, PictureError(f"{item.id} is no picture"))
    masks = masks_of(np.stack(list(inside.values())), tuple(inside))
    return row_of(item, masks, [f"id of {label}" for label in inside], heatmap=heatmap)


def opened(path: Path) -> NDArray[np.uint8]:
    """A picture's file -> its pixels."""
    with Image.open(path) as picture:
        return np.array(picture)
