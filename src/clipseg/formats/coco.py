"""COCO's JSON: data sets and results, written picture by picture and read back.

A data set is `{"images": [...], "categories": [...], "annotations": [...]}`, results are a list. Boxes are x, y, width
and height there. Both files appear when everything has been added, and until then a journal keeps what has been, so
that a run which was ended can be run again; no more than one picture's masks are held.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipseg.errors import DataError, UsageError
from clipseg.formats.classes import Classes, one_line
from clipseg.formats.files import json_text, read_json
from clipseg.formats.journal import Journal, Row
from clipseg.masks import rle
from clipseg.masks.masks import Masks
from clipseg.masks.polygons import DECIMALS, Ring, rasterise, rings
from clipseg.masks.regions import Region, regions
from clipseg.masks.thresholds import Threshold

_Read = TypeVar("_Read")

SEGMENTATIONS: dict[str, Callable[[NDArray[np.bool_]], Any]] = {
    "rle": rle.compressed,
    "plain": rle.plain,
    "polygons": lambda mask: [_flat(ring) for ring in rings(mask)],
}
"""How a mask (H, W) may be written.

Run lengths are exact. Polygons are what `polygons.rings` gives: a ring for each connected part, moved by half a pixel
at most. Holes are cut out by a way there and back, which whoever fills by the even-odd rule (pycocotools, Pillow) does
not see. COCO itself has no holes, and other tools may fill them, so take run lengths where there are any.
"""


class CocoWriter:
    """A data set being written: `with CocoWriter("set.json") as coco: coco.add(masks, "cat.jpg")`.

    Pictures, annotations and categories are numbered from 1 in the order in which they come; `classes` come first and
    so keep their numbers from one file to the next. A mask with no pixel is not annotated, its picture and category
    are listed all the same. With `instances` every connected part is an annotation of its own. `score` is that of
    `regions.Region`, `iscrowd` is 0.

    The file appears when the block ends well, as `files.WholeFile` says. One that is there is extended: ids, categories
    and all else in it stay, and of a picture of the same file name the earlier annotations are replaced. What a block
    that did not end well has added is kept by the `Journal` beside it and goes into the next. Raises UsageError for an
    unknown form of segmentation, DataError for a file there that is no data set.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        classes: Sequence[str] = (),
        *,
        segmentation: str = "rle",
        instances: bool = False,
    ) -> None:
        if segmentation not in SEGMENTATIONS:
            raise UsageError(f"segmentation is {segmentation!r}; known are {', '.join(SEGMENTATIONS)}")
        self._journal = Journal(path, _added_picture)
        self._classes = Classes(classes).names
        self._written, self._instances = SEGMENTATIONS[segmentation], instances
        self._before: dict[str, Any] = {}
        self._ids: dict[str, int] = {}

    def __enter__(self) -> "CocoWriter":
        path = self._journal.goal
        self._before = {"annotations": [], "categories": [], "images": []}
        if path.exists():
            self._before = read_json(path)
            self._ids = _dataset(self._before, path).image_ids
            if len(self._ids) != len(self._before["images"]):
                raise DataError(f"{path} lists a picture twice, so that it cannot be extended")
        self._journal.open()
        for name in self._journal.keys:
            self._id_of(name)
        return self

    def add(self, masks: Masks, file_name: str, threshold: Threshold | None = None) -> int:
        """Masks and the name of their picture -> the picture's id.

        Raises as `Masks.binary`, OutputError, and UsageError for a name that came before in this block.
        """
        labels = [Classes([label]).names[0] for label in masks.labels]
        height, width = masks.size_hw
        found = regions(masks, threshold, instances=self._instances)
        annotations = [{"label": one_line(region.label), **annotation_row(region, self._written)} for region in found]
        row = {"file_name": file_name, "width": width, "height": height, "labels": labels, "annotations": annotations}
        self._journal.add(row)
        return self._id_of(file_name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close(self._whole() if kind is None else None)

    def _id_of(self, file_name: str) -> int:
        return self._ids.setdefault(file_name, max(self._ids.values(), default=0) + 1)

    def _whole(self) -> Iterator[str]:
        """-> the file, piece by piece: what was there before, and the journal."""
        images = {image["id"]: image for image in self._before["images"]}
        categories = list(self._before["categories"])
        numbers = {one_line(str(row["name"])): row["id"] for row in categories}

        def category(name: str) -> int:
            if name not in numbers:
                numbers[name] = max(numbers.values(), default=0) + 1
                categories.append({"id": numbers[name], "name": name})
            return int(numbers[name])

        for name in self._classes:
            category(name)
        replaced = {self._ids[name] for name in self._journal.keys}
        kept = [row for row in self._before["annotations"] if row["image_id"] not in replaced]
        last = max((row["id"] for row in kept if type(row.get("id")) is int), default=0)

        def annotations() -> Iterator[Row]:
            yield from kept
            number = last
            for row in self._journal.rows():
                image = self._ids[row["file_name"]]
                size = {"file_name": row["file_name"], "width": row["width"], "height": row["height"]}
                images[image] = {**images.get(image, {"id": image}), **size}
                for label in row["labels"]:
                    category(label)
                for annotation in row["annotations"]:
                    number += 1
                    ids = {"id": number, "image_id": image, "category_id": category(annotation.pop("label"))}
                    yield {**ids, **annotation}

        rest = {name: value for name, value in self._before.items() if name not in ("annotations", "images")}
        return dataset_text(annotations(), images.values(), {**rest, "categories": categories})


def annotation_row(region: Region, written: Callable[[NDArray[np.bool_]], Any]) -> Row:
    """A region, and one of `SEGMENTATIONS` -> its annotation, but for ids and category."""
    x0, y0, x1, y1 = region.box_xyxy
    return {
        "segmentation": written(region.mask),
        "area": region.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": round(region.score, 6),
    }


def dataset_text(annotations: Iterable[Row], images: Iterable[Row], rest: Mapping[str, Any]) -> Iterator[str]:
    """What a data set lists, and all else in it -> its JSON, piece by piece; each is asked for when its turn comes."""
    yield '{"annotations": ['
    yield from _items(annotations)
    yield '],\n"images": ['
    yield from _items(images)
    yield f"],\n{json_text(rest)[1:]}\n"


def _added_picture(row: Row) -> str:
    """A row of a data set's journal -> its key. Raises KeyError or TypeError for another."""
    _id(row["width"]), _id(row["height"])
    names = [row["file_name"], *row["labels"], *(annotation["label"] for annotation in row["annotations"])]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("names are text")
    return str(row["file_name"])


class CocoResultsWriter:
    """Results being written, to be scored against a data set: `with CocoResultsWriter("out.json", categories) as out`.

    `categories` are the data set's: name -> id, as `CocoDataset.category_ids`. Segmentations are compressed run
    lengths, the only form that COCO's own evaluation reads. A file that is there is extended, results of a picture
    that is added again are replaced, and a run that was ended can be run again, all as with `CocoWriter`.
    """

    def __init__(self, path: str | os.PathLike[str], categories: Mapping[str, int], *, instances: bool = False) -> None:
        self._journal = Journal(path, _added_results)
        self._categories, self._instances = dict(categories), instances
        self._before: list[Row] = []

    def __enter__(self) -> "CocoResultsWriter":
        self._before = []
        if self._journal.goal.exists():
            read_results(self._journal.goal)
            self._before = read_json(self._journal.goal)
        self._journal.open()
        return self

    def add(self, masks: Masks, image_id: int, threshold: Threshold | None = None) -> None:
        """Masks and the id of their picture in the data set.

        Raises UsageError for a label that is no category, and for a picture that came before in this block.
        """
        unknown = [label for label in masks.labels if label not in self._categories]
        if unknown:
            known = ", ".join(map(repr, list(self._categories)[:8]))
            raise UsageError(f"{unknown[0]!r} is no category of the data set, which has {known}")
        if type(image_id) is not int:
            raise UsageError(f"the id of a picture is a whole number; got {image_id!r}")
        results = [
            {
                "category_id": self._categories[region.label],
                "segmentation": rle.compressed(region.mask),
                "score": round(region.score, 6),
            }
            for region in regions(masks, threshold, instances=self._instances)
        ]
        self._journal.add({"image_id": image_id, "results": results})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close(self._whole() if kind is None else None)

    def _whole(self) -> Iterator[str]:
        replaced = set(self._journal.keys)
        kept = (row for row in self._before if row["image_id"] not in replaced)
        added = ({"image_id": row["image_id"], **result} for row in self._journal.rows() for result in row["results"])
        yield "["
        yield from _items(chain(kept, added))
        yield "]\n"


def _added_results(row: Row) -> int:
    """A row of a journal of results -> its key. Raises KeyError or TypeError for another."""
    for result in row["results"]:
        result["segmentation"], _id(result["category_id"])
    return _id(row["image_id"])


def _items(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows -> the items of a JSON list, a line each."""
    comma = ""
    for row in rows:
        yield f"{comma}\n{json_text(row)}"
        comma = ","


# Reading


@dataclass(frozen=True)
class CocoAnnotation:
    """One annotation, or one result; `score` is None where the file has none."""

    image_id: int
    category_id: int
    segmentation: Any
    size_hw: tuple[int, int] | None
    score: float | None = None
    iscrowd: bool = False

    def mask(self) -> NDArray[np.bool_]:
        """-> (H, W) bool. Raises DataError for a segmentation that is malformed, not there or of another size."""
        if isinstance(self.segmentation, dict):
            mask = rle.decode(self.segmentation)
        elif isinstance(self.segmentation, list) and self.segmentation and self.size_hw is not None:
            mask = rasterise([_ring(numbers) for numbers in self.segmentation], self.size_hw)
        else:
            raise DataError(f"an annotation of picture {self.image_id} has no segmentation that could be a mask")
        if self.size_hw is not None and mask.shape != self.size_hw:
            raise DataError(
                f"an annotation of picture {self.image_id} is {mask.shape[0]}x{mask.shape[1]}, the picture "
                f"{self.size_hw[0]}x{self.size_hw[1]}"
            )
        return mask


@dataclass(frozen=True)
class CocoImage:
    """A picture of a data set and its annotations, in the order of the file."""

    id: int
    file_name: str
    size_hw: tuple[int, int]
    annotations: tuple[CocoAnnotation, ...]


@dataclass(frozen=True)
class CocoDataset:
    """A data set as it was read: categories id -> name, and the pictures."""

    categories: dict[int, str]
    images: tuple[CocoImage, ...]

    @property
    def category_ids(self) -> dict[str, int]:
        """Name -> id."""
        return {name: number for number, name in self.categories.items()}

    @property
    def image_ids(self) -> dict[str, int]:
        """File name -> id."""
        return {image.file_name: image.id for image in self.images}


def read_coco(path: str | os.PathLike[str]) -> CocoDataset:
    """A data set's JSON -> the data set, its masks still encoded. Raises DataError for anything malformed."""
    return _dataset(read_json(path), path)


def read_results(path: str | os.PathLike[str]) -> list[CocoAnnotation]:
    """A results file -> its rows, masks still encoded. Raises DataError for anything malformed."""
    return _read(read_json(path), path, "results", lambda row: annotation_of({"score": None, **row}, None))


def _dataset(content: Any, path: str | os.PathLike[str]) -> CocoDataset:
    lists = content if isinstance(content, dict) else {}

    def rows(name: str, read: Callable[[Any], _Read]) -> list[_Read]:
        return _read(lists.get(name), path, name, read)

    categories = dict(rows("categories", lambda row: (_id(row["id"]), str(row["name"]))))
    images = {image.id: image for image in rows("images", image_of)}
    if len(images) != len(lists["images"]):
        raise DataError(f"{path}: two of its images have one id")
    found: dict[int, list[CocoAnnotation]] = {number: [] for number in images}
    for annotation in rows("annotations", lambda row: annotation_of(row, images[_id(row["image_id"])].size_hw)):
        if annotation.category_id not in categories:
            raise DataError(f"{path}: an annotation names category {annotation.category_id}, which is not listed")
        found[annotation.image_id].append(annotation)
    complete = (replace(image, annotations=tuple(found[image.id])) for image in images.values())
    return CocoDataset(categories, tuple(complete))


def _read(rows: object, path: str | os.PathLike[str], name: str, read: Callable[[Any], _Read]) -> list[_Read]:
    """A list from a file, its name there, and how to read a row -> what is read. Raises DataError, naming the row."""
    if not isinstance(rows, list):
        raise DataError(f"{path} is no COCO file: expected a list of {name}; got {type(rows).__name__}")
    found: list[_Read] = []
    for place, row in enumerate(rows):
        try:
            found.append(read(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # noqa: PERF203 - to say which
            raise DataError(f"{path}: {name}[{place}] is malformed ({type(error).__name__}: {error})") from error
    return found


def image_of(row: Mapping[str, Any]) -> CocoImage:
    """A row of `images` -> the picture. Raises KeyError, TypeError or ValueError for another."""
    return CocoImage(_id(row["id"]), str(row["file_name"]), (_id(row["height"]), _id(row["width"])), ())


def annotation_of(row: Mapping[str, Any], size_hw: tuple[int, int] | None) -> CocoAnnotation:
    """A row of `annotations`, and its picture's size -> the annotation. Raises as `image_of`."""
    score = row.get("score")
    return CocoAnnotation(
        image_id=_id(row["image_id"]),
        category_id=_id(row["category_id"]),
        segmentation=row.get("segmentation"),
        size_hw=size_hw,
        score=None if score is None else float(score),
        iscrowd=bool(row.get("iscrowd", 0)),
    )


def _id(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r}, expected a whole number")
    return value


def _ring(numbers: object) -> Ring:
    """x1, y1, x2, y2, ... -> a ring (N, 2). Raises DataError."""
    try:
        return np.array(numbers, np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise DataError(f"a polygon is [x1, y1, x2, y2, ...]; got {str(numbers)[:80]}") from error


def _flat(ring: Ring) -> list[float]:
    return [round(value, DECIMALS) for value in ring.ravel().tolist()]
