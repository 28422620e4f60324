"""YOLO's segmentation labels: `labels/STEM.txt`, a line for each polygon, and `data.yaml` with the names of classes.

    0 0.25 0.166667 0.875 0.166667 0.875 0.666667 0.25 0.666667

A line is the number of a class, from 0, and a polygon as fractions of the picture's width and height. An empty file is
a picture in which nothing is. Pictures belong into the folder `images` beside `labels`. H W a picture's size.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipseg.errors import DataError
from clipseg.formats.classes import Classes
from clipseg.formats.files import read_text, write_text
from clipseg.formats.stems import Stems
from clipseg.masks.masks import Masks
from clipseg.masks.polygons import Ring, rasterise, rings
from clipseg.masks.thresholds import Threshold

NAMES = "data.yaml"
LABELS = "labels"


class YoloPolygon(NamedTuple):
    """A line of a file of labels: the number of a class and a ring (N, 2), fractions of width and height."""

    number: int
    ring: Ring


class YoloWriter:
    """A folder of labels being written: `with YoloWriter("set") as yolo: yolo.add(masks, "cat.jpg")`.

    Each file is written whole as its picture is added, and replaces one of that name; `data.yaml` when the block begins
    and again before a class that it does not name is used, so a run that is ended at any time can be run again. Classes
    are numbered as they come, `classes` first; where the folder has a `data.yaml` its names come before both, keep
    their numbers, and all else that it says stays. Every connected part is a line, its holes cut out.
    """

    def __init__(self, folder: str | os.PathLike[str], classes: Sequence[str] = ()) -> None:
        self._folder = Path(folder)
        self._classes = Classes(classes)
        self._stems = Stems()

    def __enter__(self) -> "YoloWriter":
        listed = self._folder / NAMES
        if listed.exists():
            self._classes = self._classes.after(read_names(listed), listed)
        self._name_classes()
        return self

    def add(self, masks: Masks, file_name: str, threshold: Threshold | None = None) -> Path:
        """Masks and the name of their picture -> the file of labels.

        Raises as `Masks.binary`, UsageError for a second picture of one stem, and as `Stems.taken` and OutputError.
        """
        stem = self._stems.taken(file_name)
        numbers = map(self._classes.number, masks.labels)
        text = labels_text(zip(numbers, (inside.numpy() for inside in masks.each_binary(threshold)), strict=True))
        if len(self._classes.names) != self._named:
            self._name_classes()
        path = self._folder / LABELS / f"{stem}.txt"
        write_text(path, text)
        return path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Everything is written already."""

    def _name_classes(self) -> None:
        """Write `data.yaml`, unless it names all classes."""
        path, names = self._folder / NAMES, self._classes.names
        if not path.exists():
            write_text(path, f"train: images\nval: images\n{names_text(names)}")
        elif read_names(path) != names:
            text = _NAMES.sub(lambda _: names_text(names), read_text(path), count=1)
            write_text(path, re.sub(r"^nc:[ \t]*\d+", f"nc: {len(names)}", text, flags=re.MULTILINE))
        self._named = len(names)


def labels_text(masks: Iterable[tuple[int, NDArray[np.bool_]]]) -> str:
    """Numbers of classes, each with a mask (H, W) -> what a file of labels holds: a line for each connected part."""
    lines = []
    for number, inside in masks:
        height, width = inside.shape
        for ring in rings(inside):
            fractions = (ring / (width, height)).ravel().tolist()
            lines.append(" ".join((str(number), *(f"{value:.6f}" for value in fractions))) + "\n")
    return "".join(lines)


def names_text(names: Sequence[str]) -> str:
    """Names of classes -> the end of a `data.yaml`, which lists them."""
    rows = "".join(f"  {number}: {_quoted(name)}\n" for number, name in enumerate(names))
    return f"names:{'' if rows else ' {}'}\n{rows}"


def _entry(key: str) -> re.Pattern[str]:
    """A key of a `data.yaml` -> what finds what stands beside it, and the lines below that are its."""
    return re.compile(rf"^{key}:[ \t]*(.*)\n?((?:(?:[ \t]*\n)*(?:-[ \t]|[ \t]+\S).*\n?)*)", re.MULTILINE)


_NAMES = _entry("names")


def read_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """A `data.yaml` -> the names of its classes, by number.

    Of YAML only the ways in which names are commonly given are read: a line `0: cat` or `- cat` for each, or one list
    in brackets. Raises DataError, which names the line.
    """
    text = read_text(path)
    found = _NAMES.search(text)
    if found is None:
        raise DataError(f"{path} has no names of classes; expected a line that begins with names:")
    line = text.count("\n", 0, found.start()) + 1
    beside = found[1].split(" #")[0].strip()
    if beside.startswith("[") and beside.endswith("]"):
        return _listed(beside, path, line)
    if beside not in ("", "{}"):
        raise DataError(f"{path}, line {line}: names are in a form that is not read here; give each a line like 0: cat")
    rows = _below(found, line)
    if all(row.startswith("- ") for _, row in rows):
        return tuple(_plain(row[2:], path, number) for number, row in rows)
    names: list[str] = []
    for number, row in rows:
        pair = re.fullmatch(r"(\d+):\s+(.+)", row)
        if pair is None or int(pair[1]) != len(names):
            raise DataError(
                f"{path}, line {number}: expected class {len(names)} as {len(names)}: NAME; got {row[:60]!r}"
            )
        names.append(_plain(pair[2], path, number))
    return tuple(names)


PLACES = ("path", "train", "val", "test")


def read_places(path: str | os.PathLike[str]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """A `data.yaml` -> where it says that pictures are: for each of `PLACES` that it has its line, and the places.

    A place is one text, or a list of them in brackets or a line `- TEXT` for each. Raises DataError for other YAML.
    """
    text = read_text(path)
    places: dict[str, tuple[int, tuple[str, ...]]] = {}
    for key in PLACES:
        found = _entry(key).search(text)
        if found is None:
            continue
        line = text.count("\n", 0, found.start()) + 1
        beside, rows = re.split(r"(?:^|\s)#", found[1])[0].strip(), _below(found, line)
        if beside.startswith("[") and beside.endswith("]"):
            places[key] = line, _listed(beside, path, line)
        elif not beside and rows and all(row.startswith("- ") for _, row in rows):
            places[key] = line, tuple(_plain(row[2:], path, number) for number, row in rows)
        elif rows or beside[:1] in tuple("[{&*!|>@`%"):
            raise DataError(f"{path}, line {line}: {key} is in a form that is not read here; write {key}: images/{key}")
        elif beside not in ("", "~", "null"):
            places[key] = line, (_plain(beside, path, line),)
    return places


def read_labels(path: str | os.PathLike[str]) -> list[YoloPolygon]:
    """A file of labels -> its polygons in order. Raises DataError, which names the line."""
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            found += [polygon_of(line)] if line.split() else []
        except DataError as error:  # noqa: PERF203 - to say which
            raise DataError(f"{path}, line {number}: {error}") from error
    return found


def polygon_of(line: str) -> YoloPolygon:
    """A line of a file of labels -> its polygon. Raises DataError."""
    words = line.split()
    try:
        name, ring = int(words[0]), np.array([float(word) for word in words[1:]]).reshape(-1, 2)
    except (IndexError, ValueError) as error:
        raise DataError(f"expected class x1 y1 x2 y2 ...; got {line[:60]!r}") from error
    if name < 0 or len(ring) < 3 or not ((ring >= 0) & (ring <= 1)).all():
        raise DataError(f"expected the number of a class and 3 points at least, each from 0 to 1; got {line[:60]!r}")
    return YoloPolygon(name, ring)


def read_masks(path: str | os.PathLike[str], size_hw: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
    """A file of labels and the size of its picture -> a mask (H, W) bool for each class in it. Raises DataError."""
    height, width = size_hw
    by_class: dict[int, list[Ring]] = {}
    for polygon in read_labels(path):
        by_class.setdefault(polygon.number, []).append(polygon.ring * (width, height))
    return {number: rasterise(found, size_hw) for number, found in by_class.items()}


def _below(found: re.Match[str], line: int) -> list[tuple[int, str]]:
    """The lines below a key, which stands in `line` -> those that say something, with their numbers."""
    rows = [(number, row.strip()) for number, row in enumerate(found[2].splitlines(), line + 1)]
    return [(number, row) for number, row in rows if row and not row.startswith("#")]


def _listed(text: str, path: str | os.PathLike[str], line: int) -> tuple[str, ...]:
    """A list of YAML in brackets -> its texts."""
    items = re.findall(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]+?)\s*(?:,|$)""", text[1:-1])
    return tuple(_plain(item, path, line) for item in items)


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)  # JSON's strings are YAML's


def _plain(text: str, path: str | os.PathLike[str], line: int) -> str:
    """A scalar of YAML -> its text."""
    text = text.strip()
    if text[:1] == '"':
        try:
            return str(json.loads(text))
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {text[:60]} is no name in quotes") from error
    if text[:1] == "'" and text[-1:] == "'" and len(text) > 1:
        return text[1:-1].replace("''", "'")
    return text.split(" #")[0].strip()
