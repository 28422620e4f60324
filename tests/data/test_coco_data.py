"""COCO's JSON as one's own data: crowds, negatives, where pictures are looked for, and every way to be malformed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import own_data_files as files
from clipseg.data.coco import is_coco
from clipseg.data.own import open_data
from clipseg.errors import DataError
from clipseg.formats.coco import CocoWriter
from clipseg.masks import rle
from made_masks import masks_of


def changed(root: Path, change: Callable[[dict[str, Any]], None], form: str = "polygons") -> Path:
    content = files.coco_content(form=form)
    change(content)
    files.write_pictures(root / "images")
    files.write_json(root / "set.json", content)
    return root


def test_crowds_are_ignored(tmp_path: Path) -> None:
    crowd = np.zeros((30, 40), np.bool_)
    crowd[20:, 10:] = True

    def add(content: dict[str, Any]) -> None:
        common = {"image_id": 1, "segmentation": rle.plain(crowd), "iscrowd": 1}
        content["annotations"] += [{"id": 90, "category_id": 3, **common}, {"id": 91, "category_id": 7, **common}]

    data = open_data(changed(tmp_path, add), on_problem="raise")
    assert len(data) == 4  # a crowd alone is nothing to ask for
    cat = files.TRUTH["cat_1", "cat"]
    assert_array_equal(data[0].mask, cat)
    assert data[0].ignore is not None
    assert_array_equal(data[0].ignore, crowd & ~cat)
    assert data[1].ignore is None


def test_pictures_without_annotations_are_negatives(tmp_path: Path) -> None:
    files.coco(tmp_path)
    assert {entry.picture.stem for entry in open_data(tmp_path).entries} == {"cat_1", "cat_2", "cup_3"}
    data = open_data(tmp_path, negatives=0.1)
    (room,) = (index for index, entry in enumerate(data.entries) if entry.picture.stem == "room_4")
    drawn = [data.draw(room, np.random.default_rng(seed)) for seed in range(20)]
    assert {sample.phrase for sample in drawn} == {"cat", "red cup"}
    assert not any(sample.mask.any() for sample in drawn)


def put(place: str, index: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[place][index].update(values)


def without(place: str, index: int, key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[place][index].pop(key)


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (put("annotations", 1, image_id=99), 10, "names the image 99, which is not listed"),
        (put("annotations", 1, category_id=99), 10, "names the category 99, which is not listed"),
        (put("annotations", 1, image_id="2"), 10, "malformed row of annotations: TypeError: '2'"),
        (without("annotations", 1, "category_id"), 10, "malformed row of annotations: KeyError: 'category_id'"),
        (without("annotations", 1, "segmentation"), 10, "has no segmentation, only a box or points"),
        (put("annotations", 1, segmentation=[]), 10, "has no segmentation"),
        (put("annotations", 1, segmentation=[[1, 1, 5, 5]]), 10, "a polygon is .* with 3 points at least"),
        (put("annotations", 1, segmentation=[[1, 1, 5, 5, 9, 9, 3]]), 10, "a polygon is"),
        (put("annotations", 1, segmentation=[["a", "b", 5, 5, 9, 9]]), 10, "a polygon is"),
        (put("annotations", 1, segmentation=[[1, 1, 5, 5, 9, float("nan")]]), 10, "a polygon is"),
        (put("annotations", 1, segmentation=[[1, 1, 500, 5, 9, 9]]), 10, "far outside its picture"),
        (put("annotations", 1, segmentation={"counts": "abc"}), 10, "run lengths are"),
        (put("annotations", 1, segmentation={"size": [32, 44], "counts": [5]}), 10, "run lengths must fill"),
        (put("annotations", 1, segmentation={"size": [3, 4], "counts": [12]}), 10, "is 3x4, the picture 32x44"),
        (lambda content: content["annotations"].insert(1, 7), 10, "malformed row of annotations"),
        (put("images", 1, id=1), 4, "has the id 1, which an earlier picture has"),
        (put("images", 1, width="wide"), 4, "malformed row of images: TypeError: 'wide'"),
        (put("images", 1, file_name="lost.jpg"), 4, "no picture 'lost.jpg' in .* images="),
        (lambda content: content["categories"].append({"id": 9}), 17, "malformed row of categories: KeyError: 'name'"),
    ],
)
def test_malformed_rows_are_told_by_line(tmp_path: Path, change: Any, line: int, message: str) -> None:
    root = changed(tmp_path, change)
    data = open_data(root)
    assert len(data) >= 2
    assert data.problems[0].line == line
    with pytest.raises(DataError, match=rf"^{root / 'set.json'}:{line}: .*{message}"):
        open_data(root, on_problem="raise")


def test_a_file_that_is_broken_as_a_whole(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _: None) / "set.json"
    text = path.read_text()
    path.write_text(text[: text.index('"categories"')])
    for root in (path, tmp_path):
        with pytest.raises(DataError, match=rf"^{path}:\d+: no JSON at column"):
            open_data(root)
    path.write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(DataError, match=r"nothing is marked in it \(coco\)"):
        open_data(path)
    assert is_coco(path)
    path.write_text("[]")
    assert not is_coco(path)
    assert not is_coco(tmp_path / "nowhere.json")


def test_another_size_than_annotated(tmp_path: Path) -> None:
    data = open_data(changed(tmp_path, put("images", 0, width=30, height=40)))
    assert "cat_2" in data[0].name
    assert "the picture is 30x40 once upright, but was annotated as 40x30" in data.problems[0].message


def test_pictures_elsewhere(tmp_path: Path) -> None:
    files.coco_rle(tmp_path / "set")
    (tmp_path / "pictures").mkdir()
    for stem in files.BOXES:
        (tmp_path / "set" / f"{stem}.jpg").rename(tmp_path / "pictures" / f"{stem}.jpg")
    with pytest.raises(DataError, match=r"nothing usable \(coco\): 4 problems"):
        open_data(tmp_path / "set")
    assert len(open_data(tmp_path / "set", images=tmp_path / "pictures")) == 4


@pytest.mark.parametrize("form", ["rle", "plain", "polygons"])
def test_what_segment_writes_opens(tmp_path: Path, form: str) -> None:
    files.write_pictures(tmp_path)
    with CocoWriter(tmp_path / "set.json", segmentation=form, instances=True) as coco:
        for (stem, name), inside in files.TRUTH.items():
            if stem != "cat_2":
                coco.add(masks_of(inside[None], (name,)), f"{stem}.jpg")
        both = np.stack([files.TRUTH["cat_2", name] for name in files.NAMES])
        coco.add(masks_of(both, files.NAMES), "cat_2.jpg")
    data = open_data(tmp_path, on_problem="raise")
    found = {(entry.picture.stem, entry.thing): data[index].mask for index, entry in enumerate(data.entries)}
    assert found.keys() == files.TRUTH.keys()
    for key, mask in found.items():
        assert_array_equal(mask, files.TRUTH[key])
