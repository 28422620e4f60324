"""YOLO's segmentation sets as one's own data: `data.yaml`, `images/` and `labels/` with polygons.

    path: .                      path, train, val, test, names: all else in it is passed over
    train: images/train          a folder, a text file that lists pictures, or a list of these
    val: images/val
    names: {0: cat} in the forms of `formats.yolo.read_names`

The labels of `images/train/cat.jpg` are `labels/train/cat.txt`; a picture without any, or with an empty file, shows
nothing. Every class that a picture has is asked for, and all polygons of it are one mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipseg.data.json_rows import read_utf8
from clipseg.data.listed import Entry, Listing, Marked, split_named, spoken, thing_of
from clipseg.data.mask_files import pictures_in
from clipseg.data.problems import Problems
from clipseg.errors import DataError
from clipseg.formats.yolo import YoloPolygon, polygon_of, read_names, read_places
from clipseg.masks.polygons import rasterise

_BOX = 5  # words of a line that is a class and a box


@dataclass(frozen=True, slots=True)
class YoloMask:
    """The polygons of one class in a file of labels."""

    path: Path
    number: int

    def read(self, size_hw: tuple[int, int]) -> Marked:
        """The picture's (H, W) -> the union of the polygons. Lines that are no polygons are passed over."""
        rings = []
        for line in read_utf8(self.path).splitlines():
            polygon = _polygon(line)
            if isinstance(polygon, YoloPolygon) and polygon.number == self.number:
                rings.append(polygon.ring * (size_hw[1], size_hw[0]))
        return Marked(rasterise(rings, size_hw) if rings else np.zeros(size_hw, np.bool_))


def yolo_file(root: Path) -> Path | None:
    """A folder -> its `data.yaml`, or another file of that kind; None where there is none."""
    files = sorted(
        (path for path in root.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file()),
        key=lambda path: (path.stem != "data", path.name),
    )
    return next((path for path in files if is_yolo(path)), None)


def is_yolo(path: Path) -> bool:
    """Whether a file is a `data.yaml`: it has names, and says where pictures are."""
    try:
        lines = read_utf8(path).splitlines()
    except DataError:
        return False
    return any(line.startswith("names:") for line in lines) and any(
        line.startswith(("train:", "val:")) for line in lines
    )


def read_yolo(path: Path, problems: Problems) -> Listing:
    """A `data.yaml` -> what its folders hold.

    A line that is no polygon (a box is none) or of a class without a name is a problem, and so is a place that is not
    there. Places that two splits share are no splits. Raises DataError for YAML that is not read here.
    """
    names = tuple(map(spoken, read_names(path)))
    listing = Listing("yolo", labels=names)
    places = read_places(path)
    bases = _bases(path, places.pop("path", (0, ()))[1])
    splits: dict[Path, list[str]] = {}
    for split, (line, listed) in places.items():
        for place in listed:
            for picture in _pictures(place, bases, path, line, problems):
                splits.setdefault(picture, []).append(split_named(split))
    shared = all(len(found) > 1 for found in splits.values())  # as `clipseg segment` writes it: both are `images`
    for picture in sorted(splits):
        own = () if shared else tuple(dict.fromkeys(splits[picture]))
        listing.entries += _entries(picture, names, own, problems)
    return listing


def _entries(picture: Path, names: tuple[str, ...], splits: tuple[str, ...], problems: Problems) -> list[Entry]:
    """A picture -> an entry for each class in its labels, or one in which nothing is marked."""
    path = _labels_of(picture)
    first: dict[int, int] = {}
    whole = True
    try:
        lines = read_utf8(path).splitlines() if path.is_file() else []
    except DataError as error:
        problems.report(path, None, str(error).removeprefix(f"{path}:"))
        return []
    for line, text in enumerate(lines, 1):
        polygon = _polygon(text)
        if polygon is None:
            continue
        if isinstance(polygon, str):
            problems.report(path, line, polygon)
            whole = False
        elif polygon.number >= len(names):
            problems.report(path, line, f"is of class {polygon.number}, but data.yaml names {len(names)} from 0 on")
            whole = False
        else:
            first.setdefault(polygon.number, line)
    if not first:
        return [Entry(picture, "", (), None, picture, None, splits)] if whole else []
    return [
        Entry(picture, thing_of(names[number]), (names[number],), YoloMask(path, number), path, line, splits)
        for number, line in sorted(first.items())
    ]


def _polygon(line: str) -> YoloPolygon | str | None:
    """A line of labels -> its polygon, or what is wrong with it; None for an empty one."""
    words = line.split()
    if not words:
        return None
    if len(words) == _BOX:
        return "is a box, not a polygon, so there is no mask to learn from"
    try:
        return polygon_of(line)
    except DataError as error:
        return str(error)


def _labels_of(picture: Path) -> Path:
    """`…/images/train/cat.jpg` -> `…/labels/train/cat.txt`; beside the picture where no folder is called images."""
    parts = list(picture.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _bases(path: Path, listed: tuple[str, ...]) -> list[Path]:
    """Where places are named from: the `path` of the file, if that is there, and the file's own folder."""
    return [*(path.parent / place for place in listed if (path.parent / place).is_dir()), path.parent]


def _pictures(place: str, bases: list[Path], path: Path, line: int, problems: Problems) -> list[Path]:
    """A place of a `data.yaml` -> the pictures there."""
    place = place.replace("\\", "/")
    inner = place
    while inner.startswith(("../", "./")):  # some exports name folders beside the file as if it were one level deeper
        inner = inner.split("/", 1)[1]
    for found in (base / name for name in dict.fromkeys((place, inner)) for base in bases):
        if found.is_dir():
            return [Path(picture) for picture in pictures_in(found, deep=True)]
        if found.is_file() and found.suffix == ".txt":
            return _listed(found, bases, problems)
    problems.report(path, line, f"there is no {place!r} in {' or '.join(str(base) for base in dict.fromkeys(bases))}")
    return []


def _listed(path: Path, bases: list[Path], problems: Problems) -> list[Path]:
    """A text file with a picture on each line -> those that are there."""
    pictures = []
    for line, text in enumerate(read_utf8(path).splitlines(), 1):
        name = text.strip().replace("\\", "/")
        found = next((base / name for base in (path.parent, *bases) if name and (base / name).is_file()), None)
        if found is not None:
            pictures.append(Path(found))
        elif name:
            problems.report(path, line, f"there is no picture {name!r}")
    return pictures
