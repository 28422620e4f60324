"""The columns of a part: a row for each picture, with a list over its prompts where a value is of a prompt.

H W a picture's size · P prompts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from clipseg.batch.items import Item
from clipseg.batch.packages import arrow
from clipseg.errors import DataError
from clipseg.formats.png import soft_picture
from clipseg.masks.components import window_of
from clipseg.masks.masks import Masks
from clipseg.masks.rle import compressed

OK, ERROR = "ok", "error"

DIGITS = 4
"""Of scores, as everywhere. The last bits of a sum depend on how many threads have their parts in it, and so would rows
on the machine, and on the engine, that they were made by."""

PER_PROMPT = ("prompt", "prompt_id", "rle_counts", "area", "bbox", "score", "presence")
"""Columns that hold a list with an entry for each prompt; so does `heatmap`, where it is kept."""

HEATMAP = "heatmap"

Row: TypeAlias = dict[str, Any]


def schema(heatmap: bool = False) -> Any:
    """-> the pyarrow schema of a part, with or without the low-resolution maps."""
    pa = arrow()
    lists = {
        "prompt": pa.string(),
        "prompt_id": pa.string(),
        "rle_counts": pa.string(),
        "area": pa.int64(),
        "bbox": pa.list_(pa.float32(), 4),
        "score": pa.float32(),
        "presence": pa.float32(),
    } | ({HEATMAP: pa.binary()} if heatmap else {})
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            *(pa.field(name, pa.list_(kind)) for name, kind in lists.items()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            pa.field("ms", pa.float32()),
        ]
    )


def row_of(item: Item, masks: Masks, prompt_ids: Sequence[str], *, heatmap: bool) -> Row:
    """A picture's masks, finished -> its row, but for the time that it took.

    Raises PictureError where the picture is needed again and cannot be read.
    """
    row: Row = {name: [] for name in PER_PROMPT}
    row["prompt"], row["prompt_id"] = list(masks.labels), list(prompt_ids)
    row["presence"] = [round(one, DIGITS) for one in masks.scores().tolist()]
    for inside, mean in masks.each_measured():
        mask = inside.numpy()  # (H, W)
        rows, columns = window_of(mask)
        row["rle_counts"].append(compressed(mask)["counts"])
        row["area"].append(int(np.count_nonzero(mask[rows, columns])))
        row["bbox"].append([columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start])
        row["score"].append(round(mean, DIGITS))
    if heatmap:
        row[HEATMAP] = [_png(one) for one in masks.logits.sigmoid().numpy()]
    height, width = masks.size_hw
    return row | {"id": item.id, "uri": item.uri, "width": width, "height": height, "status": OK, "error": None}


def error_row(item: Item, error: Exception) -> Row:
    """An item and what was wrong with it -> its row, but for the time that it took."""
    told = " ".join(str(error).split())
    return {"id": item.id, "uri": item.uri, "status": ERROR, "error": f"{type(error).__name__}: {told}"}


def table_of(rows: Iterable[Mapping[str, Any]], *, heatmap: bool) -> Any:
    """Rows -> the table of them."""
    return arrow().Table.from_pylist(list(rows), schema=schema(heatmap))


def part_of(table: Any) -> bytes:
    """A table -> the bytes of a part."""
    sink = io.BytesIO()
    arrow("parquet").write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_part(content: Any, columns: Sequence[str] | None = None) -> Any:
    """A part's open file -> its table, or some columns of it."""
    return arrow("parquet").read_table(content, columns=None if columns is None else list(columns))


def check_part(table: Any, ids: Sequence[str]) -> None:
    """A part's table, with id, status and the lists, and the ids of its items -> nothing, where they fit.

    Raises DataError where a row is missing, twice or out of place, and where lists are not of one length.
    """
    found = table.column("id").to_pylist()
    if found != list(ids):
        missing = sorted(set(ids) - set(found))
        told = f"{missing[0]!r} is missing" if missing else "rows are twice or out of place"
        raise DataError(f"a part does not have the rows of the manifest: {told}")
    compute = arrow("compute")
    is_ok = compute.equal(table.column("status"), OK)
    lengths = [compute.list_value_length(table.column(name)) for name in PER_PROMPT if name in table.column_names]
    for length in lengths:
        alike = compute.and_(compute.equal(compute.is_valid(length), is_ok), _same(length, lengths[0]))
        if not compute.all(alike, min_count=0).as_py():
            raise DataError("a part has a row whose lists are not one entry for each prompt")


def _same(one: Any, other: Any) -> Any:
    compute = arrow("compute")
    return compute.if_else(
        compute.is_null(other), compute.is_null(one), compute.fill_null(compute.equal(one, other), False)
    )


def _png(probabilities: Any) -> bytes:
    """(h, w) from 0 to 1 -> a PNG of mode L, round(255 p)."""
    sink = io.BytesIO()
    soft_picture(probabilities).save(sink, "PNG", compress_level=3)
    return sink.getvalue()
