"""COCO's JSON as one's own data: every category that a picture has is asked for, and its annotations are one mask.

    {"images": [...], "categories": [...], "annotations": [...]}        as `formats.coco` writes it

Polygons, run lengths in either form, and crowds, which are pixels nobody knows about. The picture of a file name is
looked for in `images`, then from the JSON file upwards: beside it, in `images`, and in the folders of the splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipseg.data.json_rows import NO_ROW, is_object, json_lists
from clipseg.data.listed import Entry, Listing, Marked, split_named, spoken, thing_of
from clipseg.data.problems import Problems
from clipseg.errors import DataError
from clipseg.formats.coco import CocoAnnotation, CocoImage, annotation_of, image_of

PLACES = (".", "annotations")
LISTS = {"images", "annotations", "categories"}
FOLDERS = ("images", "data", "train", "val", "valid", "test")
YEARS = ("2014", "2017")


@dataclass(frozen=True, slots=True)
class CocoMask:
    """The annotations of one category in one picture."""

    annotations: tuple[CocoAnnotation, ...]

    def read(self, size_hw: tuple[int, int]) -> Marked:
        """The picture's (H, W) -> the union of the masks, and crowds where nothing else is.

        Raises DataError for a picture of another size than the file says.
        """
        mask = np.zeros(size_hw, np.bool_)
        crowd = np.zeros(size_hw, np.bool_)
        for annotation in self.annotations:
            if annotation.size_hw != size_hw:
                height, width = annotation.size_hw or (0, 0)
                raise DataError(
                    f"the picture is {size_hw[0]}x{size_hw[1]} once upright, but was annotated as {height}x{width}"
                )
            (crowd if annotation.iscrowd else mask)[annotation.mask()] = True
        return Marked(mask, crowd & ~mask if crowd.any() else None)


def coco_files(root: Path) -> list[Path]:
    """A folder -> its data sets in COCO's JSON; of several kinds of annotations (captions, …) the instances alone."""
    folders = [root / name for name in PLACES]
    folders += [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _is_split(folder.name)]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))]
    return [path for path in files if path.name.startswith("instances")] or [path for path in files if is_coco(path)]


def is_coco(path: Path) -> bool:
    """Whether a JSON file is an object that speaks of images and annotations; one that is broken may be as well."""
    return is_object(path) and all(name in path.read_bytes() for name in (b'"images"', b'"annotations"'))


def read_coco(files: Iterable[Path], root: Path, problems: Problems, *, images: Path | None = None) -> Listing:
    """Data sets in COCO's JSON -> what they list; the file's or folder's name tells the split.

    A row that is malformed, names what is not listed, or has no mask (a box alone) is a problem. Raises DataError for
    a file that is broken.
    """
    listing = Listing("coco")
    for path in files:
        folder = path.parent.name if _is_split(path.parent.name) else ""
        split = split_named(folder or re.split(r"[_.-]", path.stem)[-1])
        splits = (split,) if split in ("train", "val", "test") else ()
        file = _CocoFile(path, _bases(path, root, images), problems)
        listing.entries += file.entries(splits)
        listing.labels += tuple(name for name in file.categories.values() if name not in listing.labels)
    return listing


class _CocoFile:
    """One file, read: its categories, its pictures and the annotations of each, all without malformed rows."""

    def __init__(self, path: Path, bases: list[Path], problems: Problems) -> None:
        self.path, self._bases, self._problems = path, bases, problems
        self.categories: dict[int, str] = {}
        self._pictures: dict[int, tuple[int, CocoImage]] = {}
        later: list[tuple[int, CocoAnnotation]] = []
        for name, line, row in json_lists(path):
            if name not in LISTS or row is NO_ROW:
                continue
            try:
                if name == "categories":
                    self.categories[row["id"]] = spoken(str(row["name"]))
                elif name == "images":
                    picture = image_of(row)
                    if picture.id in self._pictures:
                        raise DataError(f"has the id {picture.id}, which an earlier picture has")
                    self._pictures[picture.id] = (line, picture)
                else:
                    later.append((line, annotation_of({**row, "segmentation": _packed(row)}, None)))
            except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
                kind = "" if isinstance(error, DataError) else f"malformed row of {name}: {type(error).__name__}: "
                problems.report(path, line, f"{kind}{error}")
        self._annotations: dict[tuple[int, int], list[tuple[int, CocoAnnotation]]] = {}
        for line, annotation in later:
            self._add(line, annotation)

    def _add(self, line: int, annotation: CocoAnnotation) -> None:
        picture, category = annotation.image_id, annotation.category_id
        for known, number, what in ((self._pictures, picture, "image"), (self.categories, category, "category")):
            if number not in known:
                self._problems.report(self.path, line, f"names the {what} {number}, which is not listed")
                return
        size_hw = self._pictures[picture][1].size_hw
        sized = CocoAnnotation(picture, category, annotation.segmentation, size_hw, iscrowd=annotation.iscrowd)
        try:
            if isinstance(sized.segmentation, dict):
                sized.mask()
            elif any(float(np.abs(ring).max()) > 2 * max(size_hw) for ring in sized.segmentation):
                raise DataError("has a polygon far outside its picture")
        except DataError as error:
            self._problems.report(self.path, line, str(error))
            return
        self._annotations.setdefault((picture, category), []).append((line, sized))

    def entries(self, splits: tuple[str, ...]) -> list[Entry]:
        """-> an entry for each category of a picture, and one for each picture without annotations."""
        found = []
        files = {number: self._file(line, picture) for number, (line, picture) in self._pictures.items()}
        for (number, category), rows in self._annotations.items():
            name, file = self.categories[category], files[number]
            if file is not None and not all(annotation.iscrowd for _, annotation in rows):
                mask = CocoMask(tuple(annotation for _, annotation in rows))
                found.append(Entry(file, thing_of(name), (name,), mask, self.path, rows[0][0], splits))
        marked = {number for number, _ in self._annotations}
        bare = ((self._pictures[number][0], file) for number, file in files.items() if file and number not in marked)
        return found + [Entry(file, "", (), None, self.path, line, splits) for line, file in bare]

    def _file(self, line: int, picture: CocoImage) -> Path | None:
        name = picture.file_name.replace("\\", "/")
        for base in self._bases:
            if (path := base / name).is_file():
                return path
        places = ", ".join(str(base) for base in self._bases[:4])
        self._problems.report(self.path, line, f"there is no picture {name!r} in {places}, …; say where with images=")
        return None


def _packed(row: Mapping[str, Any]) -> Any:
    """A row of annotations -> its segmentation, polygons as arrays, which take a fifth of the room of lists.

    Raises DataError for one that cannot be a mask.
    """
    segmentation = row.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError("has no segmentation, only a box or points, so there is no mask to learn from")
    rings = []
    for numbers in segmentation:
        try:
            ring = np.array(numbers, np.float64)
        except (TypeError, ValueError):
            ring = np.zeros(1)
        if ring.ndim != 1 or ring.size < 6 or ring.size % 2 or not np.isfinite(ring).all():
            raise DataError(f"a polygon is [x1, y1, x2, y2, …] with 3 points at least; got {str(numbers)[:60]}")
        rings.append(ring)
    return rings


def _bases(path: Path, root: Path, images: Path | None) -> list[Path]:
    """A JSON file -> the folders its pictures may be in, the likeliest first."""
    up = [path.parent, root, *([path.parent.parent] if path.parent.name in PLACES else [])]
    split = re.split(r"[_.-]", path.stem)[-1]
    inner = [split, *(f"images/{split}",), *FOLDERS, *(f"{name}{year}" for name in ("train", "val") for year in YEARS)]
    places = [*([images] if images else []), *up, *(base / name for base in up for name in inner)]
    return list(dict.fromkeys(place for place in places if place.is_dir()))


def _is_split(name: str) -> bool:
    return split_named(name) in ("train", "val", "test")
