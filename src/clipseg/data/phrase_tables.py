"""Tables of pictures, masks and phrases: CSV, JSON lines, and a JSON list as fine-tuners keep it.

    image,mask,phrase                                                       a header, then a row for each question
    {"image": "cat.jpg", "mask": "cat.png", "phrase": ["a cat", "the pet"]}
    [{"img_name": "cat.jpg", "mask_name": "cat.png", "prompts": {"p0": "", "p1": "cat", "p2": ["a cat", "the cat"]}}]

Keys may be spelled as in `KEYS`, in upper or lower case; others are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from clipseg.data.json_rows import json_lines, json_rows, read_utf8
from clipseg.data.problems import Problems
from clipseg.errors import DataError
from clipseg.formats.classes import one_line

KEYS = {
    "image": ("image", "img", "img_name", "image_name", "image_path", "file_name", "filename", "picture"),
    "mask": ("mask", "mask_name", "mask_path", "mask_file", "seg", "segmentation"),
    "phrase": ("phrase", "phrases", "prompt", "prompts", "text", "caption", "expression", "label", "class"),
    "split": ("split", "subset"),
}
"""What a column may be called, the most telling name first."""

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
RANDOM = "random"
_SNIFFED = 5  # rows that are looked at to tell what a file is


@dataclass(frozen=True)
class TableRow:
    """A row: its line from 1, the files as they are named, all its wordings by their key, and its split if it has one.

    An empty mask says that the phrase is not in the picture.
    """

    line: int
    image: str
    mask: str
    phrases: dict[str, tuple[str, ...]]
    split: str | None


def table_rows(path: Path, problems: Problems) -> Iterator[TableRow]:
    """A table -> its rows. A row without a picture, or with what is no text in it, is a problem.

    Raises DataError for a file that is no table of pictures, masks and phrases at all.
    """
    for line, cells in _rows(path, problems):
        found = {name: _cell(cells, keys) for name, keys in KEYS.items()}
        image, mask, split = (found[name] for name in ("image", "mask", "split"))
        wrong = [name for name in ("image", "mask", "split") if not isinstance(found[name], str | None)]
        if wrong or not image or not str(image).strip():
            problems.report(path, line, f"expected the name of a file as its {wrong[0] if wrong else 'image'}")
            continue
        if not _has(cells, "mask"):
            problems.report(path, line, "has no mask; an empty one says that the phrase is not in the picture")
            continue
        try:
            phrases = wordings(found["phrase"])
        except TypeError as error:
            problems.report(path, line, str(error))
            continue
        yield TableRow(line, str(image).strip(), (mask or "").strip(), phrases, (split or "").strip() or None)


def wordings(value: object) -> dict[str, tuple[str, ...]]:
    """A phrase, a list of them, or an object of either -> what each key holds; a plain phrase has the key "".

    Phrases are on one line, and empty ones are kept: they say that a wording is no text. Raises TypeError.
    """
    if isinstance(value, dict):
        return {str(key): _texts(part) for key, part in value.items()}
    return {"": _texts(value)}


def is_table(path: Path) -> bool:
    """Whether a file is one of these tables, by its first rows."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        rows = [cells for _, cells in islice(_rows(path, Problems()), _SNIFFED)]
    except DataError:
        return False
    return any(_has(cells, "image") and _has(cells, "mask") for cells in rows)


def _texts(value: object) -> tuple[str, ...]:
    texts: list[Any] = [] if value is None else value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"expected a phrase, a list of phrases or an object of them; got {str(text)[:60]}")
    return tuple(map(one_line, texts))


def _rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _csv_rows(path, problems)
    rows = json_rows(path, problems) if suffix == ".json" else json_lines(path, problems)
    return ((line, {str(key).casefold(): value for key, value in row.items()}) for line, row in rows)


def _csv_rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """A CSV file, by commas, semicolons or tabs -> its rows below the header, each with the line it begins at."""
    text = read_utf8(path)
    delimiter = _delimiter(text, path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}:{line}: no CSV from here on ({error}); quotes within quotes are doubled"
            ) from error
        if row is None:
            return
        if not header:
            header = [cell.strip().casefold() for cell in row]
        elif any(cell.strip() for cell in row):
            if len(row) == len(header):
                yield line, dict(zip(header, row, strict=True))
            else:
                problems.report(path, line, f"expected {len(header)} cells as in the header, got {len(row)}")
        line = reader.line_num + 1


def _delimiter(text: str, path: Path) -> str:
    """A CSV file's text -> what parts its cells. Raises DataError where no column of the header is a picture's."""
    for delimiter in ",;\t":
        with suppress(csv.Error):
            cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
            if _has(dict.fromkeys(cell.strip().casefold() for cell in cells), "image"):
                return delimiter
    wanted = ", ".join(names[0] for names in KEYS.values())
    header = next(iter(text.splitlines()), "").strip()
    raise DataError(f"{path}:1: expected a header with the columns {wanted}; got {header[:80]!r}")


def _cell(cells: dict[str, Any], names: Sequence[str]) -> Any:
    return next((cells[name] for name in names if name in cells), None)


def _has(cells: dict[str, Any], name: str) -> bool:
    return any(key in cells for key in KEYS[name])
