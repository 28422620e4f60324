"""Rows of JSON files, each with the line it begins at, so that what is wrong with one can be found again."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from clipseg.data.problems import Problems
from clipseg.errors import DataError

Row: TypeAlias = dict[str, Any]

_BOM = b"\xef\xbb\xbf"  # a mark that editors of Windows put before UTF-8; it says nothing
_BEGINNING = 4096  # bytes
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def json_rows(path: Path, problems: Problems, key: str | None = None) -> Iterator[tuple[int, Row]]:
    """A JSON file -> the objects of its list, or of the list under `key` of its object, each with its line from 1.

    Of the file its text and one row are held. What is in the list and no object is a problem. The whole file is read,
    also what comes after the list. Raises DataError, naming the line, for a file that is no JSON or no UTF-8, and for
    one without that list.
    """
    found = False
    for name, line, row in json_lists(path):
        if name != key:
            continue
        found = True
        if isinstance(row, dict):
            yield line, row
        elif row is not NO_ROW:
            problems.report(path, line, f"expected an object, got {_kind(row)}")
    if not found:
        place = "a list" if key is None else f"an object with a list under {key!r}"
        raise DataError(f"{path}: expected {place}, and it is not there")


def json_lines(path: Path, problems: Problems) -> Iterator[tuple[int, Row]]:
    """A file with a JSON object on each line (JSONL) -> the objects, each with its line from 1; blank lines are none.

    A line that is no object is a problem. Raises DataError for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line, data in enumerate(file, 1):
                text = data.removeprefix(_BOM) if line == 1 else data
                if not text.strip():
                    continue
                try:
                    row = json.loads(text.decode("utf-8"))
                except (ValueError, RecursionError) as error:
                    problems.report(path, line, _reason(error))
                    continue
                if isinstance(row, dict):
                    yield line, row
                else:
                    problems.report(path, line, f"expected an object, got {_kind(row)}")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


NO_ROW: Any = object()
"""Stands for the beginning of a list in what `json_lists` gives, so that an empty one is seen as well."""


def json_lists(path: Path) -> Iterator[tuple[str | None, int, Any]]:
    """A JSON file -> (key, line, item) of every list that is the file or stands under a key of its object.

    Each list is begun by an item `NO_ROW`; the key is None where the file is the list. Other values are read and left
    out. Raises DataError as `json_rows`.
    """
    text = read_utf8(path)
    begin = _at(text, 0)
    try:
        if text[begin : begin + 1] == "{":
            end = yield from _object(text, begin)
        else:
            end = yield from _value(text, begin, None)
        if _at(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, _at(text, end))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: {_reason(error)}") from error
    except RecursionError as error:
        raise DataError(f"{path}: {_reason(error)}") from error


def is_object(path: Path) -> bool:
    """Whether a file begins as a JSON object does, by its first bytes; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return file.read(_BEGINNING).removeprefix(_BOM).lstrip().startswith(b"{")
    except OSError:
        return False


def read_utf8(path: Path) -> str:
    """A file in UTF-8, with or without a byte order mark -> its text. Raises DataError, naming the line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + data.removeprefix(_BOM).count(b"\n", 0, error.start)
        raise DataError(f"{path}:{line}: {_reason(error)}") from error


def _object(text: str, begin: int) -> Generator[tuple[str | None, int, Any], None, int]:
    """Yield the lists of the object that begins there -> where it ends."""
    place = _at(text, begin + 1)
    if text[place : place + 1] == "}":
        return place + 1
    while True:
        if text[place : place + 1] != '"':
            raise json.JSONDecodeError("Expecting a key in double quotes", text, place)
        key, place = _DECODER.raw_decode(text, place)
        place = _at(text, place)
        if text[place : place + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, place)
        place = _at(text, (yield from _value(text, _at(text, place + 1), key)))
        if text[place : place + 1] == "}":
            return place + 1
        place = _after_comma(text, place, "}")


def _value(text: str, begin: int, key: str | None) -> Generator[tuple[str | None, int, Any], None, int]:
    """Yield the items of the list that begins there, if it is one -> where the value ends."""
    if text[begin : begin + 1] != "[":
        return int(_DECODER.raw_decode(text, begin)[1])
    line, counted = 1 + text.count("\n", 0, begin), begin
    yield key, line, NO_ROW
    place = _at(text, begin + 1)
    if text[place : place + 1] == "]":
        return place + 1
    while True:
        line, counted = line + text.count("\n", counted, place), place
        item, place = _DECODER.raw_decode(text, place)
        yield key, line, item
        place = _at(text, place)
        if text[place : place + 1] == "]":
            return place + 1
        place = _after_comma(text, place, "]")


def _after_comma(text: str, place: int, end: str) -> int:
    if text[place : place + 1] != ",":
        raise json.JSONDecodeError(f"Expecting ',' or '{end}'", text, place)
    return _at(text, place + 1)


def _at(text: str, place: int) -> int:
    """-> the first place from there on that is no white space."""
    match = _SPACE.match(text, place)
    return place if match is None else match.end()


def _kind(value: object) -> str:
    """A value of JSON -> what it is, shown short."""
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at column {error.colno} ({error.msg})"
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x} is no UTF-8; save the file in that encoding"
    if isinstance(error, RecursionError):
        return "lists within lists beyond all reason"
    return str(error)
