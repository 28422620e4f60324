"""YOLO's folders, read back by supervision and a YAML parser, extended, and continued after a run that was killed."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from clipseg.errors import DataError, UsageError
from clipseg.formats.classes import one_line
from clipseg.formats.yolo import YoloWriter, read_labels, read_masks, read_names
from clipseg.masks.masks import Masks
from interrupted import contents, write_all, write_killed
from made_masks import blobs, iou, masks_of, rectangle

SIZE = (30, 40)


def block(*labels: str) -> Masks:
    return masks_of(np.stack([rectangle((6, 8), (2, 1, 7, 4))] * len(labels)), labels)


def test_a_line_for_each_part(tmp_path: Path) -> None:
    with YoloWriter(tmp_path, ["bus"]) as yolo:
        path = yolo.add(block("cup"), "in/cat.jpg")
    assert path == tmp_path / "labels" / "cat.txt"
    (line,) = path.read_text().splitlines()
    number, *values = line.split()
    assert number == "1"
    points = np.array(values, float).reshape(-1, 2) * (8, 6)
    assert np.abs(points - [[2, 1], [7, 1], [7, 4], [2, 4]]).max(axis=1).max() < 5.1
    assert (points.min(0).round().tolist(), points.max(0).round().tolist()) == ([2, 1], [7, 4])
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": "images",
        "val": "images",
        "names": {0: "bus", 1: "cup"},
    }


def test_we_and_supervision_read_the_masks(tmp_path: Path, supervision: ModuleType) -> None:
    inside = np.stack([blobs(1, SIZE), blobs(2, SIZE), np.zeros(SIZE, bool)])
    (tmp_path / "images").mkdir()
    with YoloWriter(tmp_path) as yolo:
        for n in range(2):
            Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / f"{n}.jpg")
            yolo.add(masks_of(inside if n else np.zeros_like(inside), ("a cat", "dog: x", "bus")), f"{n}.jpg")
    back = read_masks(tmp_path / "labels" / "1.txt", SIZE)
    assert set(back) == {0, 1}
    assert all(iou(back[n], inside[n]) >= 0.98 for n in back)
    folder = str(tmp_path)
    read = supervision.DetectionDataset.from_yolo(
        f"{folder}/images", f"{folder}/labels", f"{folder}/data.yaml", force_masks=True
    )
    assert read.classes == ["a cat", "dog: x", "bus"]
    found = {Path(path).name: detections for path, _, detections in read}
    assert len(found["0.jpg"]) == 0
    of_cat = found["1.jpg"].mask[found["1.jpg"].class_id == 0].any(0)
    around = np.ones((3, 3))  # supervision rounds vertices to whole pixels, and fills those that it touches
    assert not (of_cat & ~ndimage.binary_dilation(inside[0], around)).any()
    assert not (ndimage.binary_erosion(inside[0], around) & ~of_cat).any()
    assert of_cat.any()


def test_names_are_there_before_what_uses_them(tmp_path: Path) -> None:
    with YoloWriter(tmp_path) as yolo:
        assert read_names(tmp_path / "data.yaml") == ()
        yolo.add(block("cat"), "a.jpg")
        assert read_names(tmp_path / "data.yaml") == ("cat",)
        yolo.add(block("cat", "dog"), "b.jpg")
        assert read_names(tmp_path / "data.yaml") == ("cat", "dog")


@pytest.mark.parametrize(
    "names", ["names: [dog, 'a cat']\n", "names:\n- dog\n\n- a cat\n", "names:\n  0: dog\n  1: a cat\n"]
)
def test_an_older_folder_is_extended(tmp_path: Path, names: str) -> None:
    listed = tmp_path / "data.yaml"
    listed.write_text(f"# mine\npath: /data\ntrain: x/images\n\n{names}\nnc: 2\nextra: [1]\n")
    before = listed.read_text()
    with YoloWriter(tmp_path) as yolo:
        yolo.add(block("a cat"), "a.jpg")
    assert listed.read_text() == before
    with YoloWriter(tmp_path, ["bus"]) as yolo:
        yolo.add(block("cup"), "a.jpg")
    assert listed.read_text().startswith("# mine\n")
    assert yaml.safe_load(listed.read_text()) == {
        "path": "/data",
        "train": "x/images",
        "names": {0: "dog", 1: "a cat", 2: "bus", 3: "cup"},
        "nc": 4,
        "extra": [1],
    }
    assert [row.number for row in read_labels(tmp_path / "labels" / "a.txt")] == [3]


def test_killed_and_run_again(tmp_path: Path) -> None:
    write_all("yolo", tmp_path / "whole")
    write_killed("yolo", tmp_path / "killed", after=2)
    assert sorted(contents(tmp_path / "killed")) == ["data.yaml", "labels/0.txt", "labels/1.txt"]
    write_all("yolo", tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    write_all("yolo", tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_equal_stems_are_refused(tmp_path: Path) -> None:
    with YoloWriter(tmp_path) as yolo:
        yolo.add(block("cat"), "a/x.jpg")
        with pytest.raises(UsageError, match="would be labelled in one file"):
            yolo.add(block("dog"), "b/X.png")
    assert [row.number for row in read_labels(tmp_path / "labels" / "x.txt")] == [0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=6).filter(one_line), min_size=1, max_size=4, unique_by=one_line))
def test_odd_labels_come_back(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    folder = tmp_path_factory.mktemp("odd")
    names = [one_line(label) for label in labels]
    for _ in range(2):
        with YoloWriter(folder) as yolo:
            yolo.add(block(*labels), "a.jpg")
        assert list(read_names(folder / "data.yaml")) == names
        assert list(yaml.safe_load((folder / "data.yaml").read_text("utf-8"))["names"].values()) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: x\n", "has no names of classes"),
        ("train: x\nnames:\n  0: cat\n  2: dog\n", "line 4: expected class 1"),
        ("names:\n  cat\n", "line 2: expected class 0"),
        ("names: {0: cat}\n", "line 1: names are in a form"),
        ('names:\n  0: "c\n', 'line 2: "c is no name in quotes'),
        ("names: [cat, cat]\n", "must not be empty or come twice"),
    ],
)
def test_files_of_names_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"data\.yaml.*{message}"), YoloWriter(tmp_path):
        pytest.fail("the block began")
    assert (tmp_path / "data.yaml").read_text() == text


@pytest.mark.parametrize("line", ["x 0 0 1 0 1 1", "0 0 0 1 0", "0 0 0 1 0 1", "-1 0 0 1 0 1 1", "0 0 0 1 0 1 1.5"])
def test_labels_that_are_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(f"0 0 0 1 0 1 1\n\n{line}\n")
    with pytest.raises(DataError, match=r"a\.txt, line 3"):
        read_labels(tmp_path / "a.txt")
