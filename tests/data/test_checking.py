"""Reports on data sets: what is counted, what is told, and the sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import own_data_files as files
from clipseg.data.checking import CELL_HW, check_data, preview_sheet
from clipseg.data.own import open_data
from clipseg.data.sample import Sample, SampleDataset
from clipseg.errors import DataError, UsageError
from clipseg.masks.draw import PALETTE


class Two(SampleDataset):
    """A data set that is none of one's own: its second sample cannot be read."""

    def __len__(self) -> int:
        return 2

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        if index:
            raise DataError("broken")
        return Sample(np.zeros((30, 40, 3), np.uint8), files.TRUTH["cat_1", "cat"], "a cat", name="first")


def test_what_is_counted(tmp_path: Path) -> None:
    moved: list[tuple[int, int | None]] = []
    report = check_data(open_data(files.csv(tmp_path)), progress=lambda *done: moved.append(done))
    assert (report.kind, report.root, report.split) == ("table", str(tmp_path), None)
    assert (report.samples, report.checked, report.broken, report.pictures, report.unmarked) == (5, 5, 0, 4, 0)
    assert report.empty == ("data.csv, line 6, room_4.jpg",)
    assert report.sides == {"width": (30, 40, 44), "height": (30, 31.0, 40)}
    assert report.shares == {
        "empty": 1,
        "below 0.1 %": 0,
        "0.1 to 1 %": 0,
        "1 to 5 %": 0,
        "5 to 20 %": 1,
        "20 to 50 %": 3,
        "above 50 %": 0,
    }
    assert report.phrases == {"cat": 3, "red cup": 2}
    assert {report.cut_off, report.spellings, report.repeated, report.same_pictures, report.problems} == {()}
    assert moved == [(number, 5) for number in range(1, 6)]
    assert json.loads(json.dumps(report.to_dict()))["phrases"] == {"count": 2, "most": {"cat": 3, "red cup": 2}}
    rows = dict(report.table())
    assert rows["width"] == "30 to 44, median 40"
    assert rows["phrases"] == "2 different: cat (3), red cup (2)"
    assert rows["empty masks"].startswith("1: data.csv, line 6")


def test_what_is_told(tmp_path: Path) -> None:
    files.csv(tmp_path)
    rows = [
        "images/cat_1.jpg,masks/cat_1_cat.png,Cat",
        f"images/cat_2.jpg,masks/cat_2_cat.png,{'very ' * 90}long",
        "images/copy.jpg,masks/cat_1_cat.png,cat",
        "images/lost.jpg,masks/cat_1_cat.png,cat",
        "images/half.jpg,masks/cat_1_cat.png,cat",
    ]
    with (tmp_path / "data.csv").open("a") as table:
        table.write("\n".join(rows))
    whole = (tmp_path / "images" / "cat_1.jpg").read_bytes()
    (tmp_path / "images" / "copy.jpg").write_bytes(whole)
    (tmp_path / "images" / "half.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    report = check_data(open_data(tmp_path), count_tokens=lambda text: len(text.split()) + 2)
    assert report.spellings == (("cat", "Cat"),)
    assert [phrase.endswith("very long") for phrase in report.cut_off] == [True]
    assert report.repeated == (f"{tmp_path / 'images/cat_1.jpg'}: cat",)
    assert report.same_pictures == ((f"{tmp_path / 'images/cat_1.jpg'}", f"{tmp_path / 'images/copy.jpg'}"),)
    assert [problem.line for problem in report.problems] == [10, 11]
    assert (report.samples, report.broken) == (9, 1)
    assert "there is no picture" in report.to_dict()["problems"]["first"][0]
    assert "cannot be read whole" in report.to_dict()["problems"]["first"][1]
    assert report.hints == ("1 of 3 things are in one sample only, so there is no other picture to show them by",)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("black", "nothing is marked anywhere; are the masks black?"),
        ("white", "4 masks cover their whole picture; are they inverted"),
        ("specks", "4 masks are smaller than a patch of the model"),
        ("one thing", "there is one thing only: name others as absent"),
        ("one above all", "'cat' is asked in 120 of 131 samples, more than ten times the mean of 12 things"),
        ("both splits", "cat_1.jpg is in train and val, so scores there are too good"),
    ],
)
def test_hints(tmp_path: Path, change: str, hint: str) -> None:
    files.folders(tmp_path)
    masks = list((tmp_path / "masks").rglob("*.png"))
    for path in masks:
        pixels = np.array(Image.open(path))
        if change in ("black", "white"):
            pixels[:] = 255 if change == "white" else 0
        if change == "specks":
            pixels[:] = 0
            pixels[:1, :1] = 255
        Image.fromarray(pixels).save(path)
    if change == "one thing":
        for path in (tmp_path / "masks" / "red_cup").iterdir():
            path.unlink()
    if change == "one above all":
        rows = ["image,mask,phrase", *["images/cat_1.jpg,masks/cat/cat_1.png,cat"] * 120]
        rows += [f"images/cat_1.jpg,masks/cat/cat_1.png,thing {n}" for n in range(11)]
        files.write_text(tmp_path / "data.csv", "\n".join(rows))
    if change == "both splits":
        rows = [f"images/cat_1.jpg,masks/cat/cat_1.png,cat,{split}" for split in ("train", "val")]
        files.write_text(tmp_path / "data.csv", "\n".join(["image,mask,phrase,split", *rows]))
    assert any(hint in told for told in check_data(open_data(tmp_path)).hints)


def test_a_part_of_it(tmp_path: Path) -> None:
    report = check_data(open_data(files.coco(tmp_path)), limit=2)
    assert (report.samples, report.checked) == (4, 2)
    assert dict(report.table())["samples"] == "4, 2 of them read"
    with pytest.raises(UsageError, match="limit is a number of samples from 1 on"):
        check_data(open_data(tmp_path), limit=0)


def test_any_data_set() -> None:
    report = check_data(Two())
    assert (report.kind, report.samples, report.broken, report.pictures) == ("Two", 2, 1, None)
    assert report.phrases == {"a cat": 1}
    assert preview_sheet(Two()).width > CELL_HW[1]


def test_nothing_can_be_read(tmp_path: Path) -> None:
    data = open_data(files.coco(tmp_path))
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 4 samples can be read; the first problem: .*json:9: .*is empty"):
        check_data(data)
    with pytest.raises(DataError, match="nothing to show"):
        preview_sheet(data)


def test_the_sheet_shows_masks_and_what_is_ignored(tmp_path: Path) -> None:
    sheet = np.asarray(preview_sheet(open_data(files.voc(tmp_path))))
    assert sheet.shape[0] > CELL_HW[0]
    for colour in PALETTE[:2]:  # outlines of masks, and of void pixels
        assert (abs(sheet.astype(int) - colour).max(axis=2) == 0).sum() > 100
    assert preview_sheet(open_data(tmp_path), 1).size < preview_sheet(open_data(tmp_path), 3).size
