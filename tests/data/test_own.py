"""One's own data: every format opens, gives the same masks, and is parted in the same way."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import own_data_files as files
from clipseg.data.listed import ListedData
from clipseg.data.own import open_data
from clipseg.data.sample import Sample
from clipseg.errors import DataError, UsageError

KINDS = {"csv": "table", "semicolons": "table", "jsonl": "table", "prompts": "table"}
KINDS |= {"folders": "folder", "dotted": "folder", "beside": "folder"}
OWN_SPLITS = ("prompts", "coco_2017", "coco_roboflow", "yolo", "yolo_roboflow", "yolo_lists", "voc")


def found(data: ListedData) -> dict[tuple[str, str], Sample]:
    """(stem, thing) -> sample, of all that is marked."""
    samples = [(entry, data[index]) for index, entry in enumerate(data.entries)]
    return {(entry.picture.stem, entry.thing): sample for entry, sample in samples if sample.mask.any()}


@pytest.mark.parametrize("name", files.WRITERS)
def test_every_format_gives_the_same(name: str, tmp_path: Path) -> None:
    data = open_data(files.WRITERS[name](tmp_path), on_problem="raise")
    assert data.kind == KINDS.get(name, name.split("_")[0])
    samples = found(data)
    assert samples.keys() == files.TRUTH.keys()
    for (stem, thing), sample in samples.items():
        assert_array_equal(sample.mask, files.TRUTH[stem, thing], err_msg=f"{stem} {thing}")
        assert abs(sample.picture.astype(int) - np.asarray(files.picture(stem)).astype(int)).mean() < 8
        assert sample.phrase is not None
        assert thing in sample.phrase
        assert sample.support is None
        if data.labels:
            assert data.labels[sample.label] == thing
        assert stem in sample.name
    if name.startswith("voc"):
        ignore = samples["cat_1", "cat"].ignore
        assert ignore is not None
        assert ignore[:, -1].all()
        assert ignore.sum() == 30
    assert open_data(tmp_path).things == data.things
    assert len(pickle.loads(pickle.dumps(data))) == len(data)


@pytest.mark.parametrize("name", OWN_SPLITS)
def test_splits_of_its_own(name: str, tmp_path: Path) -> None:
    files.WRITERS[name](tmp_path)
    train, val = open_data(tmp_path, "train"), open_data(tmp_path, "val")
    assert {entry.picture.stem for entry in train.entries} == {"cat_1", "cat_2"}
    expected = {"cat_2"} if name == "prompts" else {"cup_3"}
    assert {entry.picture.stem for entry in val.entries} == expected
    assert len(open_data(tmp_path, "valid")) == len(val)
    with pytest.raises(DataError, match=r"no split 'tset'; known are .*train"):
        open_data(tmp_path, "tset")


@pytest.mark.parametrize("name", ["csv", "folders", "coco", "voc_colours"])
def test_splits_by_the_names_of_pictures(name: str, tmp_path: Path) -> None:
    files.WRITERS[name](tmp_path)
    for stem in range(40):
        files.picture("cat_1").save(tmp_path / f"{stem}.jpg")
    every = open_data(tmp_path)
    parts = [open_data(tmp_path, split, val_share=0.5) for split in ("train", "val")]
    pictures = [{entry.picture for entry in part.entries} for part in parts]
    assert not pictures[0] & pictures[1]
    assert Counter(map(len, parts))[0] == 0
    assert sum(map(len, parts)) == len(every)
    assert len(open_data(tmp_path, "train", val_share=0)) == len(every)
    with pytest.raises(DataError, match=r"no picture falls into the split 'val'"):
        open_data(tmp_path, "val", val_share=0)
    with pytest.raises(DataError, match="known are"):
        open_data(tmp_path, "test")


def test_pictures_stay_on_their_side(tmp_path: Path) -> None:
    files.folders(tmp_path)

    def add(names: range) -> None:
        for number in names:
            files.picture("cat_1").save(tmp_path / "images" / f"more_{number}.jpg")
            files.save_mask(tmp_path / "masks" / "cat" / f"more_{number}.png", files.TRUTH["cat_1", "cat"])

    add(range(100))
    before = {entry.picture.name for entry in open_data(tmp_path, "val").entries}
    assert 10 < len(before) < 32  # a fifth of 103
    add(range(100, 150))
    after = {entry.picture.name for entry in open_data(tmp_path, "val").entries}
    assert before == {
        name for name in after if not name.startswith(("more_10", "more_11", "more_12", "more_13", "more_14"))
    }
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    assert {entry.picture.name for entry in open_data(moved, "val").entries} == after


def test_a_file_is_opened_as_well_as_its_folder(tmp_path: Path) -> None:
    for name, file in (("csv", "data.csv"), ("coco", "annotations/instances_default.json"), ("yolo", "data.yaml")):
        root = files.WRITERS[name](tmp_path / name)
        assert found(open_data(root / file)).keys() == files.TRUTH.keys()
    assert len(open_data(tmp_path / "csv" / "data.csv")) == 5  # the phrase that is not in its picture as well


def test_folders_of_splits(tmp_path: Path) -> None:
    files.folders(tmp_path / "train")
    files.csv(tmp_path / "validation")
    assert len(open_data(tmp_path)) == 9
    assert (len(open_data(tmp_path, "train")), len(open_data(tmp_path, "val"))) == (4, 5)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for wrong in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match=r"looked for data\.yaml .* SegmentationClass .* \.csv"):
            open_data(wrong)
    with pytest.raises(DataError, match="there is no folder or file"):
        open_data(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    files.save_mask(tmp_path / "masks" / "a.png", files.TRUTH["cat_1", "cat"])
    with pytest.raises(
        DataError, match=r"nothing usable \(folder\): 1 problems, the first: .*a\.png: there is no pict"
    ):
        open_data(tmp_path)


# -- what is drawn -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["csv", "folders", "coco", "yolo", "voc"])
def test_negatives(name: str, tmp_path: Path) -> None:
    data = open_data(files.WRITERS[name](tmp_path), negatives=1.0, absent=["a  zebra"])
    asked = Counter()
    for index, entry in enumerate(data.entries):
        for seed in range(20):
            sample = data.draw(index, np.random.default_rng(seed))
            assert not sample.mask.any()
            assert sample.phrase not in files.BOXES[entry.picture.stem]
            asked[entry.picture.stem, sample.phrase] += 1
    assert asked["cat_1", "red cup"] > 3
    assert asked["cat_2", "a zebra"] == 40
    assert ("room_4" in {stem for stem, _ in asked}) == (name != "folders" or True)
    half = open_data(tmp_path, negatives=0.5)
    empty = sum(not half.draw(0, np.random.default_rng(seed)).mask.any() for seed in range(200))
    assert 70 < empty < 130


def test_one_thing_has_no_negatives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = open_data(files.folders(tmp_path), negatives=1.0, categories=["cat"])
    assert "shows one thing only" in caplog.text
    assert data[0].mask.any()


def test_supports(tmp_path: Path) -> None:
    data = open_data(files.coco(tmp_path), visual=True)
    for index, entry in enumerate(data.entries):
        for seed in range(5):
            sample = data.draw(index, np.random.default_rng(seed))
            support = sample.support
            assert support is not None
            assert support.mask.any()
            assert support.picture.shape[:2] == support.mask.shape
            assert support.picture.shape != sample.picture.shape  # another picture: they all differ in size
            colour = support.picture[support.mask].mean(axis=0)
            assert abs(colour - files.COLOURS[entry.thing]).max() < 25
    alone = open_data(tmp_path, "train", val_share=0, visual=True, categories=["cat"])
    assert [alone[0].support is not None, len(alone)] == [True, 2]


def test_a_negative_has_a_support_of_what_is_asked(tmp_path: Path) -> None:
    data = open_data(files.coco(tmp_path), visual=True, negatives=1.0)
    sample = next(data[index] for index, entry in enumerate(data.entries) if entry.picture.stem == "cat_1")
    assert (sample.phrase, sample.mask.any()) == ("red cup", False)
    assert sample.support is not None
    assert sample.support.mask.any()
    assert abs(sample.support.picture[sample.support.mask].mean(axis=0) - files.COLOURS["red cup"]).max() < 25


def test_the_same_draw_is_the_same_sample(tmp_path: Path) -> None:
    data = open_data(files.jsonl(tmp_path), visual=True, negatives=0.5, absent=["a zebra"])
    for index in range(len(data)):
        one, other = data[index], data[index]
        assert (one.phrase, one.label) == (other.phrase, other.label)
        assert_array_equal(one.mask, other.mask)
    phrases = {data.draw(0, np.random.default_rng(seed)).phrase for seed in range(40)}
    assert phrases == {"cat", "the cat", "red cup", "the red cup", "a zebra"}


def test_categories(tmp_path: Path) -> None:
    data = open_data(files.coco(tmp_path), categories=["red_cup"])
    assert (data.things, data.labels) == (("red cup",), ("red cup",))
    assert {sample.label for sample in data} == {0}
    with pytest.raises(UsageError, match=r"no category dog; known are cat, red cup"):
        open_data(tmp_path, categories=["dog", "cat"])
    with pytest.raises(UsageError, match="lists of texts"):
        open_data(tmp_path, categories="cat")


def test_options_out_of_range(tmp_path: Path) -> None:
    files.csv(tmp_path)
    for options in ({"negatives": 1.5}, {"val_share": -1}, {"absent": "zebra"}, {"on_problem": "hide"}):
        with pytest.raises(UsageError):
            open_data(tmp_path, **options)  # type: ignore[arg-type]


def test_a_broken_picture_gives_its_place_to_the_next(tmp_path: Path) -> None:
    files.coco(tmp_path)
    whole = (tmp_path / "images" / "cat_1.jpg").read_bytes()
    (tmp_path / "images" / "cat_1.jpg").write_bytes(whole[: len(whole) // 2])
    data = open_data(tmp_path)
    sample = data[0]
    assert "cat_2" in sample.name
    assert [problem.line for problem in data.problems] == [9]
    assert "cannot be read whole" in str(data.problems[0])
    with pytest.raises(DataError, match=r"instances_default\.json:9: .*cat_1\.jpg cannot be read whole"):
        open_data(tmp_path, on_problem="raise")[0]
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of its 4 entries can be read"):
        data[0]


def test_turned_pictures(tmp_path: Path) -> None:
    """A phone's picture is stored lying, and says so; masks belong to the upright one."""
    files.csv(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = files.picture("cat_1").transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "images" / "cat_1.jpg", exif=exif, quality=95)
    data = open_data(tmp_path)
    assert not data.problems
    colour = data[0].picture[data[0].mask].mean(axis=0)
    assert abs(colour - files.COLOURS["cat"]).max() < 25
    files.picture("cat_1").save(tmp_path / "images" / "cat_1.jpg", exif=exif)  # a mask for the picture as it is stored
    (problem,) = open_data(tmp_path).problems
    assert str(problem).startswith(f"{tmp_path / 'data.csv'}:2: cat_1_cat.png is 30x40 but its picture 40x30; the pict")
    assert "turn the mask as well" in problem.message


def test_what_is_broken_is_so_in_every_draw(tmp_path: Path) -> None:
    """Also where a negative would not need the mask: the feature cache knows only pictures that can be drawn."""
    data = open_data(files.csv(tmp_path), negatives=0.5)
    broken = tmp_path / "masks" / "cat_1_cat.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (place,) = (index for index, entry in enumerate(data.entries) if entry.picture.stem == "cat_1")
    names = {data.draw(place, np.random.default_rng(number)).name for number in range(20)}
    assert not any("cat_1" in name for name in names)
    assert len(data.problems) == 1


def test_folders_in_any_letter_case(tmp_path: Path) -> None:
    files.folders(tmp_path)
    (tmp_path / "images").rename(tmp_path / "Images")
    (tmp_path / "masks").rename(tmp_path / "MASKS")
    assert found(open_data(tmp_path)).keys() == files.TRUTH.keys()
