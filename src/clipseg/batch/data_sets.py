"""What was found as a data set: a function for each format, which writes it into an empty folder, picture by picture.

    coco         annotations/instances[_SPLIT].json
    yolo         data.yaml, labels/[SPLIT/]STEM.txt
    voc          SegmentationClass, SegmentationObject, Annotations, ImageSets/Segmentation/SPLIT.txt, labelmap.txt
    png          [SPLIT/]LABEL/STEM.png
    webdataset   SPLIT-000000.tar … with KEY.json and KEY.seg.png, classes.txt

and with pictures `images/[SPLIT/]…`, `JPEGImages` or, in the tar files, `KEY.jpg`. H W a picture's size.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipseg.batch.choosing import TRAIN, Choice, Split, path_of, stems_of
from clipseg.batch.reading import Found, Picture, Run
from clipseg.errors import DataError, PictureError
from clipseg.formats.classes import one_line
from clipseg.formats.coco import SEGMENTATIONS, annotation_row, dataset_text
from clipseg.formats.files import WholeFile, json_text, named_errors, write_text
from clipseg.formats.png import MOST_CLASSES, label_picture
from clipseg.formats.voc import VocWriter
from clipseg.formats.yolo import NAMES, labels_text, names_text
from clipseg.masks.names import unique_slugs
from clipseg.masks.png import save_binary
from clipseg.masks.regions import Region
from clipseg.processing.images import FileContent, to_rgb

PICTURES = ("none", "link", "copy")
SHARD = 1000  # pictures in a tar file


class Item(NamedTuple):
    """A picture that was done, the path of its labels without a suffix, and its split."""

    picture: Picture
    stem: PurePosixPath
    split: str


@dataclass
class Writing:
    """A data set to be written.

    Fields
        run           what was found
        folder        where to write, empty
        choice        what counts as found
        split         what is held out
        pictures      one of `PICTURES`: whether they come along, and how
        segmentation  one of `formats.coco.SEGMENTATIONS`
        progress      is told how many pictures are done, and of how many
        written       split -> pictures in it
        annotations   label -> how often it was found
        lost          numbers of pictures that were to come along and could not be read
    """

    run: Run
    folder: Path
    choice: Choice
    split: Split
    pictures: str = "none"
    segmentation: str = "rle"
    progress: Callable[[int, int], None] = lambda _done, _total: None
    written: Counter[str] = field(default_factory=Counter)
    annotations: Counter[str] = field(default_factory=Counter)
    lost: set[int] = field(default_factory=set)

    def items(self, *, dots: str = ".") -> Iterator[Item]:
        """-> the pictures that were done, in order; `dots` stands for those in the names of stems."""
        stems = stems_of(self.run.ids(), dots)
        for done, (picture, stem) in enumerate(zip(self.run.pictures(), stems, strict=True)):
            self.progress(done, self.run.rows)
            if picture.error is None:
                yield Item(picture, stem, self.split.of(picture.id))

    def regions(self, item: Item) -> Iterator[Region]:
        """An item -> what counts as found, with the names of classes as labels; each is counted."""
        for region in self.choice.regions(item.picture):
            label = one_line(region.label)
            self.annotations[label] += 1
            yield region._replace(label=label)

    def brought(self, item: Item) -> bool:
        """Bring the picture along, below `images`, if that is asked for -> whether it is there then."""
        if self.pictures == "none":
            return True
        path = self.folder / "images" / item.split / path_of(item.picture.id)
        source = Path(item.picture.uri)
        if self.pictures == "link" and source.is_absolute() and source.is_file():
            with named_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(source)
            return True
        content = self.content(item)
        if content is not None:
            with WholeFile(path) as file:
                file.write(content)
        return content is not None

    def content(self, item: Item) -> bytes | None:
        """An item -> the bytes of its picture's file, or None where it is gone; then it is `lost`."""
        try:
            return self.run.content(item.picture)
        except PictureError:
            self.lost.add(item.picture.number)
            return None


def write_coco(writing: Writing) -> None:
    """A file for each split, in which pictures have their places in the manifest as ids."""
    numbers = {label: number for number, label in enumerate(writing.run.labels, 1)}
    categories = [{"id": number, "name": label} for label, number in numbers.items()]

    def annotations(split: str) -> Iterator[dict[str, Any]]:
        number = 0
        for item in writing.items():
            if item.split != split or not writing.brought(item):
                continue
            writing.written[split] += 1
            for label, row in _annotations(writing, item):
                number += 1
                ids = {"id": number, "image_id": item.picture.number, "category_id": numbers[label]}
                yield {**ids, **row}

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


def _annotations(writing: Writing, item: Item) -> Iterator[tuple[str, dict[str, Any]]]:
    """An item -> a label and an annotation without ids, for each; run lengths of whole masks are never decoded."""
    if writing.segmentation == "rle" and not writing.choice.instances:
        for found in writing.choice.of(item.picture):
            writing.annotations[one_line(found.label)] += 1
            yield one_line(found.label), _annotation(found)
        return
    for region in writing.regions(item):
        yield region.label, annotation_row(region, SEGMENTATIONS[writing.segmentation])


def _annotation(found: Found) -> dict[str, Any]:
    box = [int(value) for value in found.bbox_xywh]
    score = round(found.score, 6)
    return {"segmentation": found.rle, "area": found.area, "bbox": box, "iscrowd": 0, "score": score}


def write_yolo(writing: Writing) -> None:
    """`data.yaml`, and a text file for each picture."""
    numbers = {label: number for number, label in enumerate(writing.run.labels)}
    places = "".join(f"{split or name}: images/{split}".rstrip("/") + "\n" for name, split in _both(writing.split))
    write_text(writing.folder / NAMES, places + names_text(writing.run.labels))
    for item in writing.items():
        if writing.brought(item):
            text = labels_text((numbers[region.label], region.mask) for region in writing.regions(item))
            write_text(writing.folder / "labels" / item.split / f"{item.stem}.txt", text)
            writing.written[item.split] += 1


def _both(split: Split) -> list[tuple[str, str]]:
    """-> train and val, each with its split; where there is none it is the same for both."""
    names = split.names
    return list(zip(("train", "val"), names * 2 if len(names) == 1 else names, strict=True))


def write_voc(writing: Writing) -> None:
    """Folders; where masks overlap a pixel is the surest one's. Files have flat names: `a/cat.jpg` is `a__cat`."""
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(VocWriter(writing.folder, writing.run.labels, split=split or TRAIN))
            for split in writing.split.names
        }
        for item in writing.items():
            picture = None
            if writing.pictures != "none":
                content = writing.content(item)
                if content is None:
                    continue
                picture = to_rgb(FileContent(content, item.picture.uri))
            name = "__".join(path_of(item.picture.id).parts)
            classes = _class_map(writing.run.labels, list(writing.regions(item)), _size(item.picture))
            writers[item.split].add_classes(classes, name, picture)
            writing.written[item.split] += 1


def _class_map(labels: Sequence[str], regions: Sequence[Region], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Classes and regions -> (H, W): 0, or the number of the surest one's class, from 1; of two alike the first's."""
    numbers = {label: number for number, label in enumerate(labels, 1)}
    classes = np.zeros(size_hw, np.uint8)
    for region in sorted(regions, key=lambda region: region.score, reverse=True):
        classes[region.mask & (classes == 0)] = numbers[region.label]
    return classes


def _size(picture: Picture) -> tuple[int, int]:
    if picture.size_hw is None:
        raise DataError(f"{picture.id!r} has no size, though it was done; the run's parts are broken")
    return picture.size_hw


def write_png(writing: Writing) -> None:
    """A folder for each label, with a mask for each picture that was asked for it: 0 and 255, or all black."""
    folders = dict(zip(writing.run.labels, unique_slugs(writing.run.labels), strict=True))
    for item in writing.items():
        if not writing.brought(item):
            continue
        masks = {one_line(found.label): np.zeros(_size(item.picture), np.bool_) for found in item.picture.found}
        for region in writing.regions(item):
            masks[region.label] |= region.mask
        for label, mask in masks.items():
            save_binary(writing.folder / item.split / folders[label] / f"{item.stem}.png", mask)
        writing.written[item.split] += 1


def write_webdataset(writing: Writing) -> None:
    """Tar files of `SHARD` pictures: what was found as JSON, and as an indexed PNG of up to 254 labels."""
    write_text(writing.folder / "classes.txt", "".join(f"{label}\n" for label in writing.run.labels))
    with ExitStack() as stack:
        written = SEGMENTATIONS[writing.segmentation]
        shards = {name: stack.enter_context(_Shards(writing.folder, name or "data")) for name in writing.split.names}
        for item in writing.items(dots="_"):
            files = {}
            if writing.pictures != "none":
                content = writing.content(item)
                if content is None:
                    continue
                files[path_of(item.picture.id).suffix.lower().lstrip(".") or "bin"] = content
            regions, (height, width) = list(writing.regions(item)), _size(item.picture)
            if len(writing.run.labels) <= MOST_CLASSES:
                files["seg.png"] = _png(_class_map(writing.run.labels, regions, (height, width)))
            rows = [{"label": region.label, **annotation_row(region, written)} for region in regions]
            record = {"id": item.picture.id, "width": width, "height": height, "annotations": rows}
            files["json"] = json_text(record).encode()
            shards[item.split].add(str(item.stem), files)
            writing.written[item.split] += 1


def _png(classes: NDArray[np.uint8]) -> bytes:
    encoded = io.BytesIO()
    label_picture(classes).save(encoded, "PNG")
    return encoded.getvalue()


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
