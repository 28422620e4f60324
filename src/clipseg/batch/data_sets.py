"""What was found as a data set: a function for each format, which writes it into an empty folder, picture by picture.

    coco         annotations/instances[_SPLIT].json
    yolo         data.yaml, labels/[SPLIT/]STEM.txt
    voc          SegmentationClass, SegmentationObject, Annotations, ImageSets/Segmentation/SPLIT.txt, labelmap.txt
    png          masks/[SPLIT/]LABEL/STEM.png
    webdataset   SPLIT-000000.tar … with KEY.json and KEY.seg.png, classes.txt

and with pictures `images/[SPLIT/]…`, `JPEGImages` or, in the tar files, `KEY.jpg`. H W a picture's size.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import tee
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipseg.batch.choosing import TRAIN, Choice, Split, path_of, paths_of, stems_of
from clipseg.batch.processes import in_order
from clipseg.batch.reading import Found, Picture, Run
from clipseg.errors import DataError, PictureError
from clipseg.formats.classes import one_line
from clipseg.formats.coco import SEGMENTATIONS, annotation_row, dataset_text
from clipseg.formats.files import WholeFile, json_text, named_errors, write_text
from clipseg.formats.png import MOST_CLASSES, label_picture
from clipseg.formats.voc import VocWriter
from clipseg.formats.yolo import NAMES, labels_text, names_text
from clipseg.masks.names import unique_slugs
from clipseg.masks.png import binary_png
from clipseg.masks.regions import Region
from clipseg.processing.images import FileContent, to_rgb

PICTURES = ("none", "link", "copy")
SHARD = 1000  # pictures in a tar file


class Item(NamedTuple):
    """A picture that was done, the path of what is written of it, and its split."""

    picture: Picture
    path: PurePosixPath
    split: str


class Made(NamedTuple):
    """What was made of a picture: the label of each annotation, and what is to be written."""

    labels: list[str]
    content: Any


@dataclass(frozen=True)
class Question:
    """What any process needs to know to make something of a picture.

    Fields
        labels        the names of the classes
        choice        what counts as found
        segmentation  one of `formats.coco.SEGMENTATIONS`
    """

    labels: tuple[str, ...]
    choice: Choice
    segmentation: str

    def regions(self, picture: Picture) -> list[Region]:
        """A picture -> what counts as found, with the names of classes as labels."""
        return [region._replace(label=one_line(region.label)) for region in self.choice.regions(picture)]


Make: TypeAlias = Callable[[Question, Picture], Made]
Placed: TypeAlias = Callable[[Iterable[str]], Iterator[PurePosixPath]]


@dataclass
class Writing:
    """A data set being written.

    Fields
        run          what was found
        folder       where to write, empty
        question     what is made of each picture
        split        what is held out
        pictures     one of `PICTURES`: whether they come along, and how
        workers      processes that make something of pictures
        progress     is told how many pictures are done, and of how many
        written      split -> pictures in it
        annotations  label -> how often it was found
        lost         numbers of pictures that were to come along and could not be read
    """

    run: Run
    folder: Path
    question: Question
    split: Split
    pictures: str = "none"
    workers: int = 1
    progress: Callable[[int, int], None] = lambda _done, _total: None
    written: Counter[str] = field(default_factory=Counter)
    annotations: Counter[str] = field(default_factory=Counter)
    lost: set[int] = field(default_factory=set)

    def made(
        self, make: Make, *, placed: Placed = stems_of, only: str | None = None, linking: bool = True
    ) -> Iterator[tuple[Item, Any, bytes | None]]:
        """What is to be made of each picture -> the items in order, with what was made, and the picture's own file.

        That is None where pictures do not come along, or as links, if `linking` will do; what cannot be brought along
        is left out. Only those of a split if that is said. `placed` gives ids their paths.
        """
        items, asked = tee(item for item in self._items(placed) if only in (None, item.split))
        results = in_order(partial(make, self.question), (item.picture for item in asked), self.workers)
        for item, (labels, content) in zip(items, results, strict=True):
            linked = linking and self.pictures == "link" and _is_here(item.picture.uri)
            file = None if self.pictures == "none" or linked else self._file(item)
            if item.picture.number not in self.lost:
                self.annotations.update(labels)
                self.written[item.split] += 1
                yield item, content, file

    def place(self, item: Item) -> Path:
        """An item -> where its picture lies, if that comes along as a file of its own."""
        return self.folder / "images" / item.split / path_of(item.picture.id)

    def bring(self, item: Item, file: bytes | None) -> None:
        """An item and the bytes of its picture -> the file, or a link to it, below `images`. Raises OutputError."""
        path = self.place(item)
        if file is not None:
            with WholeFile(path) as copy:
                copy.write(file)
        elif self.pictures != "none":
            with named_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(item.picture.uri)

    def _items(self, placed: Placed) -> Iterator[Item]:
        paths = placed(self.run.ids())
        for done, (picture, path) in enumerate(zip(self.run.pictures(), paths, strict=True)):
            self.progress(done, self.run.rows)
            if picture.error is None:
                yield Item(picture, path, self.split.of(picture.id))

    def _file(self, item: Item) -> bytes | None:
        try:
            return self.run.content(item.picture)
        except PictureError:
            self.lost.add(item.picture.number)
            return None


def _is_here(uri: str) -> bool:
    """Whether a picture is a file of its own on this machine."""
    return Path(uri).is_absolute() and Path(uri).is_file()


def write_coco(writing: Writing) -> None:
    """A file for each split, in which pictures have their places in the manifest as ids."""
    numbers = {label: number for number, label in enumerate(writing.question.labels, 1)}
    categories = [{"id": number, "name": label} for label, number in numbers.items()]
    placed = _nowhere if writing.pictures == "none" else paths_of

    def annotations(split: str) -> Iterator[dict[str, Any]]:
        number = 0
        for item, rows, file in writing.made(_coco_rows, placed=placed, only=split):
            writing.bring(item, file)
            for label, row in rows:
                number += 1
                yield {"id": number, "image_id": item.picture.number, "category_id": numbers[label], **row}

    def images(split: str) -> Iterator[dict[str, Any]]:
        for picture in writing.run.pictures(masks=False):
            if picture.size_hw is None or picture.number in writing.lost or writing.split.of(picture.id) != split:
                continue
            height, width = picture.size_hw
            name = picture.id if writing.pictures == "none" else str(path_of(picture.id))
            yield {"id": picture.number, "file_name": name, "width": width, "height": height}

    for split in writing.split.names:
        name = f"instances_{split}.json" if split else "instances.json"
        with WholeFile(writing.folder / "annotations" / name) as file:
            for text in dataset_text(annotations(split), images(split), {"categories": categories}):
                file.write(text.encode())


def _nowhere(names: Iterable[str]) -> Iterator[PurePosixPath]:
    return (PurePosixPath() for _ in names)


def _coco_rows(question: Question, picture: Picture) -> Made:
    """A label and an annotation without ids, for each; run lengths of whole masks are never decoded."""
    if question.segmentation == "rle" and not question.choice.instances:
        rows = [(one_line(found.label), _annotation(found)) for found in question.choice.of(picture)]
    else:
        written = SEGMENTATIONS[question.segmentation]
        rows = [(region.label, annotation_row(region, written)) for region in question.regions(picture)]
    return Made([label for label, _ in rows], rows)


def _annotation(found: Found) -> dict[str, Any]:
    box = [int(value) for value in found.bbox_xywh]
    score = round(found.score, 6)
    return {"segmentation": found.rle, "area": found.area, "bbox": box, "iscrowd": 0, "score": score}


def write_yolo(writing: Writing) -> None:
    """`data.yaml`, and a text file for each picture."""
    names = writing.split.names
    places = zip(("train", "val"), names if len(names) > 1 else names * 2, strict=True)
    lines = "".join(f"{key}: images/{split}".rstrip("/") + "\n" for key, split in places)
    write_text(writing.folder / NAMES, lines + names_text(writing.question.labels))
    for item, text, file in writing.made(_yolo_text):
        writing.bring(item, file)
        write_text(writing.folder / "labels" / item.split / f"{item.path}.txt", text)


def _yolo_text(question: Question, picture: Picture) -> Made:
    regions = question.regions(picture)
    text = labels_text((question.labels.index(region.label), region.mask) for region in regions)
    return Made([region.label for region in regions], text)


def write_voc(writing: Writing) -> None:
    """Folders; where masks overlap a pixel is the surest one's. Files have flat names: `a/cat.jpg` is `a__cat`."""
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(VocWriter(writing.folder, writing.question.labels, split=split or TRAIN))
            for split in writing.split.names
        }
        for item, classes, file in writing.made(_class_map, linking=False):
            picture = None if file is None else to_rgb(FileContent(file, item.picture.uri))
            writers[item.split].add_classes(classes, "__".join(path_of(item.picture.id).parts), picture)


def _class_map(question: Question, picture: Picture) -> Made:
    regions = question.regions(picture)
    return Made([region.label for region in regions], _classes(question, picture, regions))


def _classes(question: Question, picture: Picture, regions: Sequence[Region]) -> NDArray[np.uint8]:
    """(H, W): 0, or the number of the surest region's class, from 1; of two alike the first's."""
    classes = np.zeros(_size(picture), np.uint8)
    for region in sorted(regions, key=lambda region: region.score, reverse=True):
        classes[region.mask & (classes == 0)] = question.labels.index(region.label) + 1
    return classes


def _size(picture: Picture) -> tuple[int, int]:
    if picture.size_hw is None:
        raise DataError(f"{picture.id!r} has no size, though it was done; the run's parts are broken")
    return picture.size_hw


def write_png(writing: Writing) -> None:
    """A folder for each label, with a mask for each picture that was asked for it: 0 and 255, or all black."""
    folders = dict(zip(writing.question.labels, unique_slugs(writing.question.labels), strict=True))
    for item, masks, copy in writing.made(_png_files):
        writing.bring(item, copy)
        for label, content in masks.items():
            with WholeFile(writing.folder / "masks" / item.split / folders[label] / f"{item.path}.png") as file:
                file.write(content)


def _png_files(question: Question, picture: Picture) -> Made:
    regions = question.regions(picture)
    masks = {one_line(found.label): np.zeros(_size(picture), np.bool_) for found in picture.found}
    for region in regions:
        masks[region.label] |= region.mask
    return Made([region.label for region in regions], {label: binary_png(mask) for label, mask in masks.items()})


def write_webdataset(writing: Writing) -> None:
    """Tar files of `SHARD` pictures: what was found as JSON, and as an indexed PNG of up to 254 labels."""
    write_text(writing.folder / "classes.txt", "".join(f"{label}\n" for label in writing.question.labels))
    with ExitStack() as stack:
        shards = {name: stack.enter_context(_Shards(writing.folder, name or "data")) for name in writing.split.names}
        for item, files, file in writing.made(_sample_files, placed=partial(stems_of, dots="_"), linking=False):
            suffix = path_of(item.picture.id).suffix.lower().lstrip(".") or "bin"
            shards[item.split].add(str(item.path), files if file is None else {suffix: file, **files})


def _sample_files(question: Question, picture: Picture) -> Made:
    regions, (height, width) = question.regions(picture), _size(picture)
    files = {}
    if len(question.labels) <= MOST_CLASSES:
        encoded = io.BytesIO()
        label_picture(_classes(question, picture, regions)).save(encoded, "PNG")
        files["seg.png"] = encoded.getvalue()
    written = SEGMENTATIONS[question.segmentation]
    rows = [{"label": region.label, **annotation_row(region, written)} for region in regions]
    record = {"id": picture.id, "width": width, "height": height, "annotations": rows}
    files["json"] = json_text(record).encode()
    return Made([region.label for region in regions], files)


class _Shards:
    """Numbered tar files, the next begun when one holds `SHARD` pictures; the same content gives the same bytes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._count = 0
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> _Shards:
        return self

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """The key of a sample, and its files by their suffix. Raises OutputError."""
        path = self._folder / f"{self._name}-{self._count // SHARD:06}.tar"
        with named_errors(path):
            if self._count % SHARD == 0:
                self._close()
            if self._tar is None:
                self._tar = tarfile.open(path, "w")  # noqa: SIM115 - closed by _close
            for suffix, content in files.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size, info.mode = len(content), 0o644
                self._tar.addfile(info, io.BytesIO(content))
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with named_errors(self._folder):
            self._close()

    def _close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None


WRITERS: dict[str, Callable[[Writing], None]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
    "png": write_png,
    "webdataset": write_webdataset,
}
"""Name of a format -> what writes it."""
