"""The table of formats: names that people know, and writers that are there."""

import pytest

from clipseg.errors import UsageError
from clipseg.formats.table import FORMATS, format_named


def test_the_names() -> None:
    assert list(FORMATS) == [
        *("png", "soft", "png16", "heatmap", "cutout", "crops"),
        *("labels", "overlay", "contours", "npz", "coco", "yolo", "voc"),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_every_writer_is_there_and_takes_what_the_table_says(name: str) -> None:
    row = format_named(name)
    code = (row.writer.__init__ if row.scope == "data set" else row.writer).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    assert set(row.options) <= set(names)
    assert (row.suffix == "") == (name in ("yolo", "voc"))


def test_another_name() -> None:
    with pytest.raises(UsageError, match="there is no format 'binary'; known are png, soft"):
        format_named("binary")
