"""Rows of a part: what is checked of them, and what an empty mask and a failure look like."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg.batch.columns import PER_PROMPT, check_part, error_row, part_of, row_of, schema, table_of
from clipseg.batch.items import Item
from clipseg.errors import DataError, PictureError
from clipseg.masks.rle import decode
from made_masks import blobs, masks_of

ITEM = Item("a.png", "/in/a.png")


def rows(count: int = 3) -> list[dict]:
    inside = np.stack([blobs(0, (30, 40)), np.zeros((30, 40), bool)])
    masks = masks_of(inside, ("cat", "nothing"))
    made = [row_of(ITEM._replace(id=str(number)), masks, ["x", "y"], heatmap=False) for number in range(count - 1)]
    failed = error_row(ITEM._replace(id=str(count - 1)), PictureError("it is\nbroken"))
    return [{**row, "ms": 1.5} for row in (*made, failed)]


def test_a_mask_an_empty_one_and_a_failure():
    first, _, failed = table_of(rows(), heatmap=False).to_pylist()
    mask = blobs(0, (30, 40))
    assert (decode({"size": [30, 40], "counts": first["rle_counts"][0]}) == mask).all()
    assert first["area"] == [mask.sum(), 0]
    assert first["bbox"][1] == [0, 0, 0, 0]
    assert first["score"][1] == 0
    assert first["score"][0] > 0.5
    assert failed["error"] == "PictureError: it is broken"
    assert [failed[name] for name in (*PER_PROMPT, "width", "height")] == [None] * 9


def test_the_columns_are_those_that_are_documented():
    columns = {field.name: str(field.type) for field in schema(heatmap=True)}
    assert columns == {
        "id": "string", "uri": "string", "width": "int32", "height": "int32", "prompt": "list<item: string>",
        "prompt_id": "list<item: string>", "rle_counts": "list<item: string>", "area": "list<item: int64>",
        "bbox": "list<item: fixed_size_list<item: float>[4]>", "score": "list<item: float>",
        "presence": "list<item: float>", "heatmap": "list<item: binary>", "status": "string", "error": "string",
        "ms": "float",
    }  # fmt: skip
    table = pq.read_table(io.BytesIO(part_of(table_of(rows(), heatmap=False))))
    assert table.schema.equals(schema())
    assert table.to_pylist() == table_of(rows(), heatmap=False).to_pylist()


def test_a_part_that_is_whole():
    check_part(table_of(rows(), heatmap=False), ["0", "1", "2"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda rows: rows[:2], "'2' is missing"),
        (lambda rows: [rows[0], rows[0], rows[2]], "'1' is missing"),
        (lambda rows: rows[::-1], "twice or out of place"),
        (lambda rows: [{**rows[0], "area": [1]}, *rows[1:]], "one entry for each prompt"),
        (lambda rows: [{**rows[0], "score": None}, *rows[1:]], "one entry for each prompt"),
        (lambda rows: [*rows[:2], {**rows[2], "prompt": ["cat"]}], "one entry for each prompt"),
    ],
)
def test_a_part_that_is_not(spoil, told):
    table = pa.Table.from_pylist(spoil(rows()), schema=schema())
    with pytest.raises(DataError, match=told):
        check_part(table, ["0", "1", "2"])
