"""Pascal VOC's folders as one's own data: names of classes, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import own_data_files as files
from clipseg.data.own import open_data
from clipseg.data.voc import OWN_CLASSES, read_names
from clipseg.errors import DataError
from clipseg.formats.png import label_picture
from clipseg.formats.voc import VocWriter
from made_masks import masks_of


def test_its_own_names_where_there_are_none(tmp_path: Path) -> None:
    files.voc(tmp_path)
    (tmp_path / "labelmap.txt").unlink()
    data = open_data(tmp_path)
    assert data.things == ("aeroplane", "bicycle")
    assert data.labels == OWN_CLASSES
    assert data[0].label == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labelmap.txt", "background:0,0,0::\ncat\n\n: :\n", r"labelmap\.txt:2: expected NAME:R,G,B::; got 'cat'"),
        ("labelmap.txt", "cat:0,0,0::\n", r"labelmap\.txt:1: expected the class background first"),
        ("labelmap.txt", "# only\nbackground:0,0,0::\n", "names no class"),
        ("labelmap.txt", "\n".join(f"{n or 'background'}:0,0,{n}::" for n in range(300)), r":256: .* here are more"),
        (
            "class_names.txt",
            "cat\ndog\n",
            r"class_names\.txt:1: expected a class on each line, the first of them _back",
        ),
    ],
)
def test_names_that_are_not_read(tmp_path: Path, name: str, text: str, message: str) -> None:
    files.write_text(tmp_path / name, text)
    with pytest.raises(DataError, match=message):
        read_names(tmp_path)


def test_names_that_are_read(tmp_path: Path) -> None:
    files.write_text(tmp_path / "labelmap.txt", "background:::\ntv_monitor:::\n")
    assert read_names(tmp_path).names == {1: "tv monitor"}
    files.write_text(tmp_path / "labelmap.txt", "background:0,0,0::\na: b:0,0,1:x,y:z\n")
    assert read_names(tmp_path).names == {1: "a: b"}
    (tmp_path / "labelmap.txt").unlink()
    files.write_text(tmp_path / "class_names.txt", "__ignore__\n_background_\ncat\n")
    assert read_names(tmp_path).names == {1: "cat"}


def test_problems(tmp_path: Path) -> None:
    files.voc(tmp_path)
    folder, lists = tmp_path / "SegmentationClass", tmp_path / "ImageSets" / "Segmentation"
    label_picture(np.full((30, 40), 9, np.uint8)).save(folder / "room_4.png")
    (folder / "cup_3.png").unlink()
    label_picture(files.voc_map("cup_3")).save(folder / "cat_2.png")
    (lists / "train.txt").write_text("cat_1\ncat_2\n\nlost\n")
    data = open_data(tmp_path)
    assert [entry.picture.stem for entry in data.entries] == ["cat_1"]
    assert [(problem.path.name, problem.line, problem.message.split(" in ")[0]) for problem in data.problems] == [
        ("train.txt", 2, "cat_2.png is 40x30 but its picture 32x44"),
        ("train.txt", 4, "there is no picture 'lost'"),
        ("trainval.txt", 3, f"there is no label picture {folder / 'cup_3.png'}"),
        ("trainval.txt", 4, "room_4.png has the number 9, but 2 classes are named"),
    ]


def test_a_colour_of_no_class(tmp_path: Path) -> None:
    files.voc_colours(tmp_path)
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "SegmentationClass" / "cat_1.png")
    (problem,) = open_data(tmp_path).problems
    assert problem.message == "cat_1.png has the colour 1,2,3, which no class of labelmap.txt has"


def test_what_segment_writes_opens(tmp_path: Path) -> None:
    with VocWriter(tmp_path, files.NAMES) as voc:
        for stem in files.BOXES:
            width, height = files.SIZES[stem]
            inside = [files.TRUTH.get((stem, name), np.zeros((height, width), np.bool_)) for name in files.NAMES]
            voc.add(masks_of(np.stack(inside), files.NAMES), f"{stem}.jpg", picture=files.picture(stem))
    data = open_data(tmp_path, on_problem="raise")
    found = {(entry.picture.stem, entry.thing): data[index].mask for index, entry in enumerate(data.entries)}
    assert found.keys() == files.TRUTH.keys()
    for key, mask in found.items():
        assert_array_equal(mask, files.TRUTH[key])
    parts = [open_data(tmp_path, split, val_share=0.5) for split in ("train", "val")]  # it has a train.txt alone
    assert sum(map(len, parts)) == 4
