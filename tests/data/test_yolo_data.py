"""YOLO's sets as one's own data: every line of labels that is no polygon, and the YAML that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import own_data_files as files
from clipseg.data.own import open_data
from clipseg.errors import DataError
from clipseg.formats.yolo import YoloWriter, read_places
from made_masks import masks_of

LABELS = Path("labels/train/cat_1.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "is a box, not a polygon, so there is no mask to learn from"),
        ("0 0.1 0.1 0.9 0.1 0.9", "expected class x1 y1"),
        ("cat 0.1 0.1 0.9 0.1 0.9 0.9", "expected class x1 y1"),
        ("0 0.1 0.1 1.9 0.1 0.9 0.9", "each from 0 to 1"),
        ("0 0.1 0.1 nan 0.1 0.9 0.9", "each from 0 to 1"),
        ("7 0.1 0.1 0.9 0.1 0.9 0.9", "is of class 7, but data.yaml names 2 from 0 on"),
    ],
)
def test_lines_that_are_no_polygons(tmp_path: Path, line: str, message: str) -> None:
    files.yolo(tmp_path)
    path = tmp_path / LABELS
    path.write_text(f"\n{line}\n{path.read_text()}")
    data = open_data(tmp_path)
    assert_array_equal(data[0].mask, files.TRUTH["cat_1", "cat"])
    (problem,) = data.problems
    assert (problem.path, problem.line) == (path, 2)
    assert message in problem.message
    with pytest.raises(DataError, match=rf"^{path}:2: "):
        open_data(tmp_path, on_problem="raise")
    path.write_text(line)  # nothing else: a picture of which nothing is known is no negative
    data = open_data(tmp_path, negatives=0.5)
    assert "cat_1" not in {entry.picture.stem for entry in data.entries}


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    files.yolo(tmp_path)
    (tmp_path / LABELS).write_bytes(b"0 \xff\xfe")
    (problem,) = open_data(tmp_path).problems
    assert str(problem).startswith(f"{tmp_path / LABELS}: 1: byte 0xff is no UTF-8")


def test_pictures_without_labels_are_negatives(tmp_path: Path) -> None:
    files.yolo(tmp_path)
    (tmp_path / "labels/val/room_4.txt").unlink()
    assert open_data(tmp_path).unmarked == 1
    data = open_data(tmp_path, "val", negatives=0.5)
    assert not data[[entry.picture.stem for entry in data.entries].index("room_4")].mask.any()


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("train: a\nval: 'b c' # here\ntest:\n", {"train": (1, ("a",)), "val": (2, ("b c",))}),
        ("path: ../x\ntrain: [a, 'b, c']\n", {"path": (1, ("../x",)), "train": (2, ("a", "b, c"))}),
        ("# a\ntrain:  # two\n  - a\n  - b\nval: null", {"train": (2, ("a", "b"))}),
        ('names: [val]\nval: "a b"', {"val": (2, ("a b",))}),
    ],
)
def test_yaml(tmp_path: Path, text: str, places: dict[str, tuple[int, tuple[str, ...]]]) -> None:
    (tmp_path / "data.yaml").write_text(text)
    assert read_places(tmp_path / "data.yaml") == places


@pytest.mark.parametrize("text", ["train: {a: b}", "train: |\n  a", "train:\n  a: b", "train: *a", "train: &x a"])
def test_yaml_that_is_not_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(f"names: [cat]\n{text}\n")
    with pytest.raises(DataError, match=r"data\.yaml, line 2: train is in a form that is not read here"):
        open_data(tmp_path)


def test_places_that_are_not_there(tmp_path: Path) -> None:
    files.yolo(tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text.replace("images/val", "images/none"))
    (problem,) = open_data(tmp_path).problems
    assert (problem.line, problem.message) == (4, f"there is no 'images/none' in {tmp_path}")
    files.yolo_lists(tmp_path / "lists")
    (tmp_path / "lists" / "train.txt").write_text("images/cat_1.jpg\n\nimages/lost.jpg\n")
    (problem,) = open_data(tmp_path / "lists").problems
    assert (problem.path.name, problem.line) == ("train.txt", 3)


def test_labels_beside_pictures(tmp_path: Path) -> None:
    files.write_pictures(tmp_path / "all")
    for stem in files.BOXES:
        files.write_text(tmp_path / "all" / f"{stem}.txt", files.yolo_lines(stem))
    files.write_text(tmp_path / "data.yaml", "train: all\nnames: [cat, red cup]\n")
    assert len(open_data(tmp_path, on_problem="raise")) == 4


def test_what_segment_writes_opens(tmp_path: Path) -> None:
    files.write_pictures(tmp_path / "images")
    with YoloWriter(tmp_path, files.NAMES) as yolo:
        for stem, boxes in files.BOXES.items():
            width, height = files.SIZES[stem]
            inside = [files.TRUTH.get((stem, name), np.zeros((height, width), np.bool_)) for name in files.NAMES]
            yolo.add(masks_of(np.stack(inside), files.NAMES), f"{stem}.jpg")
            assert boxes.keys() <= set(files.NAMES)
    data = open_data(tmp_path, on_problem="raise")
    found = {(entry.picture.stem, entry.thing): data[index].mask for index, entry in enumerate(data.entries)}
    assert found.keys() == files.TRUTH.keys()
    for key, mask in found.items():
        assert_array_equal(mask, files.TRUTH[key])
    parts = [
        open_data(tmp_path, split, val_share=0.5) for split in ("train", "val")
    ]  # data.yaml names one folder twice
    assert sum(map(len, parts)) == 4
