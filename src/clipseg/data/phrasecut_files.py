"""PhraseCut's files, read and checked into arrays.

A made-up training file of the release's size (310,816 rows, 380 MB, 18 million points) takes 15 s of one core, 0.8 GB
while it is read and 0.25 GB from then on, most of them points, which worker processes share when they are forked.

    ROOT/images/IMAGE_ID.jpg
    ROOT/image_data_split3000.json   [{"image_id": 61, "width": 800, "height": 600, …}, …]
    ROOT/refer_SPLIT.json            [{"task_id": "61__2", "image_id": 61, "phrase": "black cars",
                                       "instance_boxes": [[x, y, width, height], …],     one for each thing meant
                                       "Polygons": [[[[x, y], …], …], …], …}, …]         thing -> parts -> points

Letters: R rows of a file, P pictures they are about, N points of all polygons, M their parts.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.data.json_rows import Row, json_rows
from clipseg.data.problems import Problems
from clipseg.errors import DataError

# Pictures of another size than their annotations were made for, as the original leaves them out.
DROPPED = frozenset((
    *(150417, 285665, 498246, 61564, 285743, 498269, 498010, 150516, 150344, 286093, 61530, 150333, 286065, 285814),
    *(498187, 285761, 498042),
))  # fmt: skip

_PICTURES = "image_data_split3000.json"
_NEEDED = ("task_id", "image_id", "phrase", "instance_boxes", "Polygons")
_LONGEST = 65_535  # pixels on a side of a JPEG
_REACH = 2  # times the longer side of a picture: a point beyond that belongs to another picture


@dataclass(frozen=True, eq=False)
class Annotations:
    """The rows of one split that can be used.

    Fields
        tasks         (R,) the ids of rows, as UTF-8
        pictures      (R,) of each row its picture's place in the next two
        picture_ids   (P,)
        sizes_hw      (P, 2)
        texts         the distinct phrases, in the order in which they come
        phrases       (R,) of each row its phrase's place in `texts`
        box_shares    (R,) area of a row's boxes, over the picture's
        points        (N, 2) x and y of all polygons, one after another, in pixels from the top left corner
        part_ends     (M,) where in `points` each part of a polygon ends
        row_ends      (R,) where in `part_ends` each row ends
    """

    tasks: NDArray[np.bytes_]
    pictures: NDArray[np.int32]
    picture_ids: list[int]
    sizes_hw: NDArray[np.int32]
    texts: list[str]
    phrases: NDArray[np.int32]
    box_shares: NDArray[np.float32]
    points: NDArray[np.float32]
    part_ends: NDArray[np.int64]
    row_ends: NDArray[np.int64]

    def rings(self, row: int) -> list[NDArray[np.float64]]:
        """A row -> the parts of its polygons, each (n, 2) with n of at least 3."""
        parts = slice(self.row_ends[row - 1] if row else 0, self.row_ends[row])
        ends = self.part_ends[parts]
        start = self.part_ends[parts.start - 1] if parts.start else 0
        mine = self.points[start : ends[-1]].astype(np.float64)
        return np.split(mine, ends[:-1] - start)


class Pictures:
    """The pictures of a PhraseCut folder: how large they are said to be, and whether they are there.

    With `look` every picture asked for is opened once, to see whether it has that size. Rows of the list that make no
    sense are problems. Raises DataError where the list or the folder is missing.
    """

    def __init__(self, root: Path, problems: Problems, look: bool) -> None:
        self.folder = root / "images"
        self._look = look
        self._known = {entry.name for entry in os.scandir(self.folder)}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._faults: dict[int, str | None] = {}
        path = root / _PICTURES
        for line, row in json_rows(path, problems):
            values: list[Any] = [row.get(key) for key in ("image_id", "height", "width")]
            if all(type(value) is int for value in values) and all(1 <= side <= _LONGEST for side in values[1:]):
                self._sizes[values[0]] = (values[1], values[2])
            else:
                problems.report(path, line, f"expected image_id, and width and height from 1 to {_LONGEST}")

    def size_hw(self, number: int) -> tuple[int, int]:
        """A picture's id -> its height and width. Raises DataError, which says what is wrong with it."""
        if number not in self._faults:
            self._faults[number] = self._fault(number)
        if fault := self._faults[number]:
            raise DataError(fault)
        return self._sizes[number]

    def _fault(self, number: int) -> str | None:
        if number not in self._sizes:
            return f"image_id {number} is not in {_PICTURES}"
        if f"{number}.jpg" not in self._known:
            return f"there is no picture images/{number}.jpg"
        if self._look:
            try:
                with Image.open(self.folder / f"{number}.jpg") as picture:
                    _check_size(picture, self._sizes[number])
            except Exception as error:  # there is no list of what Pillow raises on broken data
                return f"images/{number}.jpg: {error}"
        return None


def missing_files(root: Path, split: str) -> list[str]:
    """A folder and a split -> what of them is not there, of what PhraseCut consists of."""
    files = [_PICTURES, f"refer_{split}.json"]
    return [name for name in files if not (root / name).is_file()] + ["images/"] * (not (root / "images").is_dir())


def read_annotations(path: Path, pictures: Pictures, avoided: Callable[[str], bool], problems: Problems) -> Annotations:
    """A file of phrases -> its rows, without those that name something avoided and those of DROPPED pictures.

    Rows whose "phrase_structure" is empty are left out as well, as the release's own loader does. A part of a polygon
    with fewer than three points encloses nothing and is passed over where others do. Any other malformed row is a
    problem. Raises DataError for a file that is no JSON list.
    """
    tasks: list[bytes] = []
    picture_places: dict[int, int] = {}
    phrase_places: dict[str, int] = {}
    picture_of, phrase_of, row_ends, lengths = array("i"), array("i"), array("q"), array("i")
    shares = array("f")
    points = bytearray()
    for line, row in json_rows(path, problems):
        try:
            number, phrase = _asked(row)
            if number in DROPPED or not row.get("phrase_structure", True) or avoided(phrase):
                continue
            size_hw = pictures.size_hw(number)
            share = _box_share(row["instance_boxes"], size_hw)
            rings = _rings(row["Polygons"], size_hw)
        except DataError as error:
            problems.report(path, line, f"task {row.get('task_id')}: {error}")
            continue
        tasks.append(str(row["task_id"]).encode(errors="replace"))
        picture_of.append(picture_places.setdefault(number, len(picture_places)))
        phrase_of.append(phrase_places.setdefault(phrase, len(phrase_places)))
        shares.append(share)
        lengths.extend(map(len, rings))
        row_ends.append(len(lengths))
        points += np.concatenate(rings).astype(np.float32).tobytes()
    return Annotations(
        tasks=np.array(tasks, np.bytes_),
        pictures=np.array(picture_of),
        picture_ids=list(picture_places),
        sizes_hw=np.array([pictures.size_hw(number) for number in picture_places], np.int32).reshape(-1, 2),
        texts=list(phrase_places),
        phrases=np.array(phrase_of),
        box_shares=np.array(shares),
        points=np.frombuffer(points, np.float32).reshape(-1, 2),
        part_ends=np.cumsum(lengths, dtype=np.int64),
        row_ends=np.array(row_ends),
    )


def read_picture(path: Path, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture file -> (H, W, 3) uint8 RGB, grey repeated.

    It stays as it is stored, whatever EXIF says about turning it: so it was when it was annotated. Raises DataError for
    a file that is missing, broken or not of that size.
    """
    try:
        with Image.open(path) as picture:
            _check_size(picture, size_hw)
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is no longer there; put it back, or open the data set anew to go on without"
        ) from error
    except Exception as error:  # there is no list of what Pillow raises on broken data
        raise DataError(f"{path}: {error}; check_pictures=True leaves such pictures out") from error


def _check_size(picture: Image.Image, size_hw: tuple[int, int]) -> None:
    if picture.size[::-1] != size_hw:
        found, said = ("x".join(map(str, size)) for size in (picture.size[::-1], size_hw))
        raise DataError(f"the picture is {found} (height x width), its annotations are for {said}")


def _asked(row: Row) -> tuple[int, str]:
    """A row -> its picture's id and its phrase. Raises DataError where a key is missing or one of these is none."""
    if missing := [key for key in _NEEDED if key not in row]:
        raise DataError(f"there is no {', '.join(missing)}")
    number, phrase = row["image_id"], row["phrase"]
    if type(number) is not int:
        raise DataError(f"expected image_id as a whole number, got {number!r}")
    if not isinstance(phrase, str) or not phrase.strip():
        raise DataError(f"expected a phrase, got {phrase!r}")
    return number, phrase


def _box_share(boxes: Any, size_hw: tuple[int, int]) -> float:
    """Boxes [x, y, width, height] -> their area, one by one, over the picture's."""
    try:
        area = sum(float(width) * float(height) for _, _, width, height in boxes)
    except (TypeError, ValueError) as error:
        raise DataError("instance_boxes is no list of [x, y, width, height]") from error
    if not math.isfinite(area):
        raise DataError("instance_boxes has a box that is not finite")
    return area / math.prod(size_hw)


def _rings(instances: Any, size_hw: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Polygons as the file has them -> the parts of at least three points, each (n, 2)."""
    try:
        parts = [part for instance in instances for part in instance if len(part) >= 3]
        if any(len(point) != 2 for part in parts for point in part):
            raise ValueError
        rings = [np.fromiter(chain.from_iterable(part), np.float64).reshape(-1, 2) for part in parts]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("Polygons is no list of instances, each a list of parts [[x, y], …]") from error
    if not rings:
        raise DataError("Polygons has no part of at least 3 points")
    if not all((np.abs(ring) <= _REACH * max(size_hw)).all() for ring in rings):  # false for NaN as well
        raise DataError(
            f"Polygons has a point that is no number, or far outside a picture of {size_hw[0]}x{size_hw[1]}"
        )
    return rings
