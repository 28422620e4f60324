"""The class-labelled data sets of the paper as they lie on disk, made of coloured boxes: Pascal VOC, COCO-20i and LVIS.

Every class has a colour of its own, so that a model can learn it. A picture is described by the classes in it, from
left to right; each is a box of BOX pixels.
"""

from __future__ import annotations

import colorsys
import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BOX = (48, 44)
"""Height and width: 2,112 pixels, which counts in Pascal-5i."""
SMALL = (32, 44)
"""1,408 pixels, which does not."""

FOLD_0 = ((1, 15), (2,), (1, 2), (5, 7), (3,), (5, 3), (4, 9), (4,), (15,), (0,))
"""Pictures with two of each of fold 0's classes of Pascal, with others, and with nothing."""
THE_REST = ((6,), (6, 7), (7, 1), (8, 9), (9, 8), (20, 15), (15, 20), (2, 1))
"""Pictures with some classes that fold 0 trains on, and with some that it tests."""


def write_pascal5i(
    root: Path,
    split: str = "val",
    shown: Sequence[Sequence[int]] = FOLD_0,
    *,
    lists: str = "",
    small: Iterable[int] = (),
) -> list[str]:
    """Write a split of Pascal-5i into a folder -> the stems of its pictures.

    `lists` is the folder for PFENet's list; in pictures whose places are in `small` the boxes are SMALL.
    """
    stems = [f"{2007 + place}_{place:06}" for place in range(len(shown))]
    for place, (stem, classes) in enumerate(zip(stems, shown, strict=True)):
        _write_voc(root, "SegmentationClassAug", stem, classes, SMALL if place in set(small) else BOX, palette=False)
    name = {"val": "val.txt", "train": "voc_sbd_merge_noduplicate.txt"}[split]
    (root / lists).mkdir(parents=True, exist_ok=True)
    rows = (f"JPEGImages/{stem}.jpg SegmentationClassAug/{stem}.png\n" for stem in stems)
    (root / lists / name).write_text("".join(rows))
    return stems


def write_voc(root: Path, split: str = "val", shown: Sequence[Sequence[int]] = FOLD_0) -> list[str]:
    """Write a split of Pascal VOC 2012 into a folder, as its release has it -> the stems of its pictures."""
    stems = [f"{2007 + place}_{place:06}" for place in range(len(shown))]
    for stem, classes in zip(stems, shown, strict=True):
        _write_voc(root, "SegmentationClass", stem, classes, BOX, palette=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return stems


def write_coco20i(root: Path, split: str = "val", fold: int = 0, shown: Sequence[Sequence[int]] | None = None) -> None:
    """Write a fold of COCO-20i into a folder; `shown` are places of classes, from 0.

    By default each class of the fold, or each of the others for "train", is in two pictures, beside the one before it
    and beside the one after it.
    """
    if shown is None:
        there = [number for number in range(80) if (number % 4 == fold) == (split == "val")]
        shown = [(number, there[place - 1]) for place, number in enumerate(there)]
    listed: dict[int, list[str]] = {}
    for place, numbers in enumerate(shown):
        folder = "val2014" if split == "val" else "train2014"
        stem = f"{folder}/COCO_{folder}_{place:012}"
        classes = painted([number + 1 for number in numbers], outlined=False)
        _save(root / f"{stem}.jpg", picture_of(classes))
        _save(root / "annotations" / f"{stem}.png", Image.fromarray(classes))
        for number in numbers:
            listed.setdefault(number, []).append(f"{stem}.jpg")
    path = root / "splits" / "coco" / {"val": "val", "train": "trn"}[split] / f"fold{fold}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(listed, protocol=3))


LVIS_CATEGORIES = {
    3: "armchair", 5: "horse", 7: "beer_bottle", 11: "wheelchair", 13: "bus_(vehicle)", 17: "duck", 19: "teapot",
    23: "dog",
}  # fmt: skip
"""Some categories with their ids; no prompt means a teapot."""
LVIS_SHOWN = ((3,), (5, 7), (11, 19), (13,), (17,), (3, 11), (23, 5), (19,), (7,), (17, 13))


def write_lvis(
    root: Path,
    split: str = "val",
    shown: Sequence[Sequence[int]] = LVIS_SHOWN,
    *,
    folder: str = "",
    **changed: list[Any],
) -> dict[str, Any]:
    """Write LVIS v1 into a folder -> what its JSON holds; `shown` are ids of categories.

    The JSON lies in `folder`, one row on each line, annotations first as in the release. Each box is two annotations,
    its upper and its lower half, of which the upper is two polygons. `changed` are rows to add to its lists.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for place, numbers in enumerate(shown):
        name = f"{'val2017' if place % 2 else 'train2017'}/{place + 1:012}.jpg"
        classes = painted(numbers, outlined=False)
        _save(root / name, picture_of(classes))
        height, width = classes.shape
        images.append({
            "id": place + 1, "height": height, "width": width, "coco_url": f"http://images.cocodataset.org/{name}",
            "flickr_url": "", "license": 1, "date_captured": "", "neg_category_ids": [],
            "not_exhaustive_category_ids": [],
        })  # fmt: skip
        for column, number in enumerate(numbers):
            top, left = _corner(column)
            halves = [
                [_box(top, left, 24, 22), _box(top, left + 22, 24, 22)],
                [_box(top + 24, left, 24, 44)],
            ]
            annotations += [
                {"id": len(annotations) + half + 1, "image_id": place + 1, "category_id": number, "area": 24.0 * 44.0,
                 "bbox": [left, top + 24 * half, 44, 24], "segmentation": polygons}
                for half, polygons in enumerate(halves)
            ]  # fmt: skip
    categories = [
        {"id": number, "name": name, "synonyms": [name], "synset": f"{name}.n.01", "def": "", "frequency": "f"}
        for number, name in LVIS_CATEGORIES.items()
    ]
    content: dict[str, Any] = {"info": {"version": "1.0"}, "annotations": annotations, "images": images}
    content |= {"categories": categories, "licenses": []}
    for key, rows in changed.items():
        content[key] = [*content[key], *rows]
    (root / folder).mkdir(parents=True, exist_ok=True)
    lists = (f"{json.dumps(key)}: {_lines(value)}" for key, value in content.items())
    (root / folder / f"lvis_v1_{split}.json").write_text("{" + ",\n".join(lists) + "}")
    return content


def write_authors_lvis(root: Path, shown: Sequence[Sequence[int]] = LVIS_SHOWN) -> None:
    """Write LVIS into a folder as the paper's authors have it: a picture again for each category in it."""
    for place, numbers in enumerate(shown):
        classes = painted(numbers, outlined=False)
        for number in numbers:
            _save(root / "all" / str(number) / f"{place + 1}.jpg", picture_of(classes))
            _save(
                root / "all" / str(number) / f"{place + 1}-seg.png",
                Image.fromarray((classes == number).astype(np.uint8)),
            )
    rows = [{"id": number, "name": name} for number, name in LVIS_CATEGORIES.items()]
    (root / "category_info.json").write_text(json.dumps(rows))


def painted(classes: Sequence[int], box: tuple[int, int] = BOX, *, outlined: bool = True) -> NDArray[np.uint8]:
    """Numbers of classes -> (H, W) with a box of each; `outlined` in 255, outside the box. 0 leaves its place free."""
    numbers = np.zeros((64, 8 + 52 * len(classes)), np.uint8)
    for column, number in enumerate(classes):
        top, left = _corner(column)
        if number and outlined:
            numbers[top - 2 : top + box[0] + 2, left - 2 : left + box[1] + 2] = 255
        numbers[top : top + box[0], left : left + box[1]] = number
    return numbers


def picture_of(classes: NDArray[np.uint8]) -> Image.Image:
    """Numbers of classes (H, W) -> the picture, with a colour for each number and grey for 0 and 255."""
    colours = np.full((256, 3), 96, np.uint8)
    for number in range(1, 255):
        colours[number] = [round(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.9, 0.9)]
    return Image.fromarray(colours[classes])


def _corner(column: int) -> tuple[int, int]:
    return 8, 8 + 52 * column


def _box(top: int, left: int, height: int, width: int) -> list[float]:
    """-> the corners as x, y, x, y, …"""
    return [float(value) for value in (left, top, left + width, top, left + width, top + height, left, top + height)]


def _lines(value: Any) -> str:
    """A value -> JSON; a list has each item on a line of its own."""
    return (
        "[\n" + ",\n".join(map(json.dumps, value)) + "\n]" if isinstance(value, list) and value else json.dumps(value)
    )


def _write_voc(
    root: Path, folder: str, stem: str, classes: Sequence[int], box: tuple[int, int], *, palette: bool
) -> None:
    numbers = painted(classes, box)
    labels = Image.fromarray(numbers)
    if palette:  # colours that are no numbers: who reads them instead of the indices is wrong
        labels = labels.convert("P")
        labels.putpalette([(37 * index + 11 * channel) % 256 for index in range(256) for channel in range(3)])
    _save(root / "JPEGImages" / f"{stem}.jpg", picture_of(numbers))
    _save(root / folder / f"{stem}.png", labels)


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)  # which PNG does not take up
