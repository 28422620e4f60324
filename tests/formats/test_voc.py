"""Pascal VOC's folders, read back by supervision and an XML parser, extended, and continued after a kill."""

from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipseg.errors import DataError, OutputError, UsageError
from clipseg.formats.classes import one_line
from clipseg.formats.png import read_label_map
from clipseg.formats.voc import VocWriter, read_classes, read_labelmap, read_split
from clipseg.masks.masks import Masks
from interrupted import contents, write_all, write_killed
from made_masks import masks_of, rectangle

SIZE = (30, 40)


def three_things(picture: Image.Image | None = None) -> Masks:
    cats = rectangle(SIZE, (2, 1, 7, 4)) | rectangle(SIZE, (20, 10, 30, 20))
    return masks_of(np.stack([cats, rectangle(SIZE, (25, 15, 40, 30))]), ("cat", "dog"), picture)


def block(*labels: str) -> Masks:
    return masks_of(np.stack([rectangle((6, 8), (2 * n, 1, 2 * n + 2, 4)) for n in range(len(labels))]), labels)


def test_every_file_of_a_picture(tmp_path: Path) -> None:
    picture = Image.effect_noise(SIZE[::-1], 60).convert("RGB")
    with VocWriter(tmp_path, ["bus"]) as voc:
        assert voc.add(three_things(picture), "in/x.png") == tmp_path / "SegmentationClass" / "x.png"
    assert sorted(contents(tmp_path)) == [
        *("Annotations/x.xml", "ImageSets/Segmentation/train.txt", "JPEGImages/x.jpg", "SegmentationClass/x.png"),
        *("SegmentationObject/x.png", "labelmap.txt"),
    ]
    assert (tmp_path / "labelmap.txt").read_text() == (
        "background:0,0,0::\nbus:128,0,0::\ncat:0,128,0::\ndog:128,128,0::\n"
    )
    cats, dogs = three_things().binary().numpy()
    classes, objects = read_classes(tmp_path, "x"), read_label_map(tmp_path / "SegmentationObject" / "x.png")
    assert np.array_equal(classes, np.where(dogs, 3, np.where(cats, 2, 0)))  # the later one is the surer
    assert np.array_equal(objects > 0, classes > 0)
    root = ElementTree.parse(tmp_path / "Annotations" / "x.xml").getroot()
    assert (root.findtext("filename"), root.findtext("size/width"), root.findtext("size/height")) == (
        *("x.jpg", "40", "30"),
    )
    found = [
        (thing.findtext("name"), [int(side.text) for side in thing.find("bndbox")]) for thing in root.iter("object")
    ]
    assert found == [("cat", [3, 2, 7, 4]), ("cat", [21, 11, 30, 20]), ("dog", [26, 16, 40, 30])]
    for number, (_, (x0, y0, x1, y1)) in enumerate(found, 1):
        rows, columns = np.nonzero(objects == number)
        assert [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1] == [x0, y0, x1, y1]
    with Image.open(tmp_path / "JPEGImages" / "x.jpg") as jpeg:
        assert (jpeg.format, jpeg.size, jpeg.mode) == ("JPEG", (40, 30), "RGB")


def test_supervision_reads_boxes(tmp_path: Path, supervision: ModuleType) -> None:
    with VocWriter(tmp_path) as voc:
        voc.add(three_things(Image.new("RGB", SIZE[::-1])), "x.png")
        voc.add(masks_of(np.zeros((1, *SIZE), bool), ("cat",), Image.new("RGB", SIZE[::-1])), "y.png")
    read = supervision.DetectionDataset.from_pascal_voc(str(tmp_path / "JPEGImages"), str(tmp_path / "Annotations"))
    found = {Path(path).name: detections for path, _, detections in read}
    assert len(found["y.jpg"]) == 0
    assert sorted(read.classes) == ["cat", "dog"]
    assert found["x.jpg"].xyxy.astype(int).tolist() == [[2, 1, 7, 4], [20, 10, 30, 20], [25, 15, 40, 30]]


def test_quality_and_another_picture(tmp_path: Path) -> None:
    picture = Image.effect_noise(SIZE[::-1], 60)
    for quality in (5, 95.0):
        with VocWriter(tmp_path / str(quality), quality=quality) as voc:
            voc.add(three_things(), "x.png", picture=picture)
    small, large = ((tmp_path / name / "JPEGImages" / "x.jpg").stat().st_size for name in ("5", "95.0"))
    assert small < large
    with VocWriter(tmp_path) as voc, pytest.raises(UsageError, match="the picture is 2x3 but its masks are 30x40"):
        voc.add(three_things(), "x.png", picture=Image.new("RGB", (3, 2)))
    with VocWriter(tmp_path) as voc, pytest.raises(OutputError, match="JPEG has no such picture"):
        voc.add(masks_of(np.zeros((1, 1, 65501), bool)), "x.png", picture=Image.new("RGB", (65501, 1)))
    for quality in (0, 101, 50.5, "high", True):
        with pytest.raises(UsageError, match="from 1 to 100"):
            VocWriter(tmp_path, quality=quality)
    for split in ("", "a/b", None):
        with pytest.raises(UsageError, match="a split is a name"):
            VocWriter(tmp_path, split=split)


def test_more_objects_than_an_indexed_picture_holds(tmp_path: Path) -> None:
    inside = np.zeros((40, 40), bool)
    inside[::2, ::2] = True  # 400 single pixels
    inside[10:13, 10:13] = True
    with VocWriter(tmp_path) as voc:
        voc.add(masks_of(inside[None], ("dot",)), "x.png")
    objects = read_label_map(tmp_path / "SegmentationObject" / "x.png")
    assert set(np.unique(objects)) == set(range(256))
    assert (objects[10:13, 10:13] == objects[10, 10]).all()
    assert objects[10, 10] < 255
    assert np.array_equal(objects > 0, inside)
    assert len(list(ElementTree.parse(tmp_path / "Annotations" / "x.xml").iter("object"))) == 254


def test_more_classes_than_an_indexed_picture_holds(tmp_path: Path) -> None:
    with VocWriter(tmp_path, [f"class {n}" for n in range(254)]) as voc:
        voc.add(block("class 253"), "x.png")
        with pytest.raises(UsageError, match="holds 254 classes; there are 255"):
            voc.add(block("one more"), "y.png")
    assert read_classes(tmp_path, "x").max() == 254
    assert read_split(tmp_path) == ["x"]


def test_an_older_folder_is_extended(tmp_path: Path) -> None:
    lines = "# label:color_rgb:parts:actions\nbackground:0,0,0::\na:b:9,9,9:head:run"
    (tmp_path / "labelmap.txt").write_text(lines)
    stems = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    stems.parent.mkdir(parents=True)
    stems.write_text("old")
    with VocWriter(tmp_path, ["cat"], split="val") as voc:
        voc.add(block("cat", "a:b"), "new.jpg")
        voc.add(block("# 1"), "old.jpg")
    assert (tmp_path / "labelmap.txt").read_text() == f"{lines}\ncat:0,128,0::\n# 1:128,128,0::\n"
    assert read_labelmap(tmp_path) == ("a:b", "cat", "# 1")
    assert read_split(tmp_path, "val") == ["old", "new"]
    assert set(np.unique(read_classes(tmp_path, "new"))) == {0, 1, 2}


def test_killed_and_run_again(tmp_path: Path) -> None:
    write_all("voc", tmp_path / "whole" / "set")
    write_killed("voc", tmp_path / "killed" / "set", after=2)
    assert read_split(tmp_path / "killed" / "set") == ["0", "1"]
    assert read_labelmap(tmp_path / "killed" / "set") == ("cat", "dog")
    write_all("voc", tmp_path / "killed" / "set")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    write_all("voc", tmp_path / "killed" / "set")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=6).filter(one_line), min_size=1, max_size=4, unique_by=one_line))
def test_odd_labels_come_back(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    folder = tmp_path_factory.mktemp("odd")
    names = [one_line(label) for label in labels]
    for _ in range(2):
        with VocWriter(folder) as voc:
            voc.add(block(*labels), "a.jpg")
        assert list(read_labelmap(folder)) == names
        root = ElementTree.parse(folder / "Annotations" / "a.xml").getroot()
        assert [thing.findtext("name") for thing in root.iter("object")] == names


def test_equal_stems_are_refused(tmp_path: Path) -> None:
    with VocWriter(tmp_path) as voc:
        voc.add(block("cat"), "a/x.jpg")
        with pytest.raises(UsageError, match="would be labelled in one file"):
            voc.add(block("dog"), "b/x.png")
    assert read_split(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first of them background"),
        ("cat:0,0,0::\n", "the first of them background"),
        ("background:0,0,0::\n\ncat\n", "line 3: expected NAME:R,G,B::; got 'cat'"),
        ("background:0,0,0::\ncat:1,1,1::\ncat:2,2,2::\n", "must not be empty or come twice"),
    ],
)
def test_labelmaps_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labelmap.txt").write_text(text)
    with pytest.raises(DataError, match=rf"labelmap\.txt.*{message}"), VocWriter(tmp_path):
        pytest.fail("the block began")
    assert (tmp_path / "labelmap.txt").read_text() == text
