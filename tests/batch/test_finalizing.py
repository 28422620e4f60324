"""Data sets made of a run: each format says what the parts say, whole or not at all."""

from __future__ import annotations

import gc
import io
import json
import re
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

import made_runs
from clipseg.batch import data_sets
from clipseg.batch.choosing import Choice
from clipseg.batch.data_sets import WRITERS
from clipseg.batch.finalizing import RECORD, finalize
from clipseg.data.own import open_data
from clipseg.errors import DataError, OutputError, UsageError
from clipseg.formats.coco import read_coco
from clipseg.formats.png import read_binary
from clipseg.formats.voc import read_classes, read_labelmap, read_split
from clipseg.formats.yolo import read_masks, read_names
from made_masks import blobs, iou, rectangle
from made_runs import LABELS, SHELF, SIZE_HW

DONE = {name: inside for name, inside in SHELF.items() if inside is not None}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# What is in each


@pytest.mark.parametrize("segmentation", ["rle", "plain"])
def test_coco(out: Path, segmentation: str) -> None:
    done = finalize(out, segmentation=segmentation)
    dataset = read_coco(done.folder / "annotations" / "instances.json")
    assert dataset.categories == {1: "a cat", 2: "the dog"}
    assert dataset.image_ids == {"a/one.jpg": 1, "a/two.png": 2, "b/one.jpg": 4, "c/four.jpg": 5}
    for image in dataset.images:
        found = {dataset.categories[one.category_id]: one.mask() for one in image.annotations}
        asked = {label: mask for label, mask in DONE[image.file_name].items() if mask.any()}
        assert found.keys() == asked.keys()
        assert all((found[label] == mask).all() for label, mask in asked.items())
    assert done.pictures == {"": 4}
    assert done.annotations == {"a cat": 3, "the dog": 3}
    assert (done.failed, done.missing, done.lost) == (1, 0, 0)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # what pycocotools was compiled for
def test_coco_as_pycocotools_reads_it(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(finalize(out).folder / "annotations" / "instances.json")
    capsys.readouterr()
    assert sorted(coco.getImgIds()) == [1, 2, 4, 5]
    for one in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(one).astype(bool)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert (one["area"], one["bbox"]) == (mask.sum(), box)
        assert 0.9 < one["score"] <= 1


def test_parts_of_masks(out: Path) -> None:
    done = finalize(out, segmentation="polygons", choice=Choice(instances=True, min_pixels=20))
    dataset = read_coco(done.folder / "annotations" / "instances.json")
    (image,) = [image for image in dataset.images if image.file_name == "b/one.jpg"]
    (part,) = image.annotations  # the other has 16 pixels
    assert (part.mask() == rectangle(SIZE_HW, (20, 10, 31, 28))).all()
    both = finalize(out, choice=Choice(instances=True))
    assert both.annotations == {"a cat": 3, "the dog": 4}


def test_yolo(out: Path) -> None:
    folder = finalize(out, "yolo").folder
    names = read_names(folder / "data.yaml")
    assert names == LABELS
    labels = sorted(path.relative_to(folder / "labels").with_suffix("") for path in folder.rglob("*.txt"))
    assert labels == sorted(Path(name).with_suffix("") for name in DONE)
    for name, inside in DONE.items():
        found = read_masks(folder / "labels" / Path(name).with_suffix(".txt"), SIZE_HW)
        for number, label in enumerate(names):
            assert iou(found.get(number, np.zeros(SIZE_HW, bool)), inside[label]) > 0.97 or not inside[label].any()


def test_voc_gives_a_pixel_to_the_surest(out: Path) -> None:
    folder = finalize(out, "voc").folder
    assert read_labelmap(folder) == LABELS
    assert read_split(folder) == ["a__one", "a__two", "b__one", "c__four"]
    cat, dog = DONE["a/one.jpg"].values()
    assert (read_classes(folder, "a__one") == np.where(dog, 2, np.where(cat, 1, 0))).all()  # the later one is surer


def test_png(out: Path) -> None:
    folder = finalize(out, "png").folder
    for name, inside in DONE.items():
        for label, mask in inside.items():
            file = (folder / "masks" / label.replace(" ", "-") / name).with_suffix(".png")
            assert (read_binary(file) == mask).all()
    assert len(list(folder.rglob("*.png"))) == 8


def test_webdataset(out: Path) -> None:
    folder = finalize(out, "webdataset", pictures="copy").folder
    assert (folder / "classes.txt").read_text() == "a cat\nthe dog\n"
    with tarfile.open(folder / "data-000000.tar") as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert len(content) == 12
    assert content["a/two.png"] == (out.parent / "shelf" / "a/two.png").read_bytes()
    record = json.loads(content["c/four.json"])
    assert (record["id"], record["width"], record["height"]) == ("c/four.jpg", 40, 30)
    assert [one["label"] for one in record["annotations"]] == ["a cat", "the dog"]
    with Image.open(io.BytesIO(content["c/four.seg.png"])) as levels:
        cat, dog = DONE["c/four.jpg"].values()
        assert (np.array(levels) == np.where(cat, 1, np.where(dog, 2, 0))).all()


def test_tar_files_have_so_many_pictures(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_sets, "SHARD", 3)
    folder = finalize(out, "webdataset").folder
    assert [path.name for path in sorted(folder.glob("*.tar"))] == ["data-000000.tar", "data-000001.tar"]
    with tarfile.open(folder / "data-000001.tar") as tar:
        assert tar.getnames() == ["c/four.seg.png", "c/four.json"]


# Splits and pictures


@pytest.mark.parametrize("to", ["coco", "yolo", "voc"])
def test_what_is_trained_on(out: Path, to: str) -> None:
    """The folder is one of the data sets that clipseg itself reads, with its splits and masks."""
    done = finalize(out, to, val_share=0.4, pictures="link" if to != "voc" else "copy")
    assert sum(done.pictures.values()) == 4
    assert min(done.pictures.values()) >= 1
    masks = 0
    for split, count in done.pictures.items():
        data = open_data(done.folder, split, on_problem="raise")
        names = {str(entry.picture) for entry in data.entries}
        assert len(names) == count
        masks += sum(bool(entry.thing) for entry in data.entries)
    assert masks == 6


@pytest.mark.parametrize("to", WRITERS)
def test_a_split_shares_everything_out(out: Path, to: str) -> None:
    one, other = finalize(out, to, val_share=0.5), finalize(out, to)
    assert set(one.pictures) == {"train", "val"}
    assert sum(one.pictures.values()) == other.pictures[""] == 4
    assert one.annotations == other.annotations


def test_links_and_copies(out: Path, shelf: Path) -> None:
    linked = finalize(out, "yolo", pictures="link").folder / "images" / "a" / "one.jpg"
    assert linked.is_symlink()
    assert linked.read_bytes() == (shelf / "a/one.jpg").read_bytes()
    copied = finalize(out, "yolo", pictures="copy").folder / "images" / "a" / "one.jpg"
    assert not copied.is_symlink()
    assert copied.read_bytes() == (shelf / "a/one.jpg").read_bytes()


@pytest.mark.parametrize("to", WRITERS)
def test_a_picture_that_is_gone_is_left_out(out: Path, shelf: Path, to: str) -> None:
    (shelf / "b/one.jpg").unlink()
    done = finalize(out, to, pictures="copy")
    assert (done.pictures, done.lost) == ({"": 3}, 1)
    if to == "coco":
        assert len(read_coco(done.folder / "annotations" / "instances.json").images) == 3


# Choosing


def test_choices(out: Path) -> None:
    sure = finalize(out, choice=Choice(min_score=0.99335)).annotations  # those of cats are 0.99331, of dogs 0.99337
    assert sure == {"a cat": 0, "the dog": 3}
    assert finalize(out, choice=Choice(min_presence=1.0)).annotations == {"a cat": 0, "the dog": 0}
    assert finalize(out, choice=Choice(min_pixels=101)).annotations == {"a cat": 1, "the dog": 2}


# Whole or not at all


@pytest.mark.parametrize("to", WRITERS)
def test_again_is_the_same(out: Path, to: str) -> None:
    folder = finalize(out, to, pictures="copy").folder
    before = files(folder)
    (folder / "extra").write_text("of an earlier run")
    assert files(finalize(out, to, pictures="copy").folder) == before
    assert [path.name for path in folder.parent.iterdir() if to in path.name] == [to]


@pytest.mark.parametrize("to", WRITERS)
def test_a_failure_leaves_what_was_there(out: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finalize(out, to).folder
    before = files(folder)

    def progress(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finalize(out, to, val_share=0.5, progress=progress)
    assert files(folder) == before
    assert [path.name for path in folder.parent.iterdir() if to in path.name] == [to]


def test_a_folder_of_somebody_else_s_stays(out: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    finalize(out, "yolo", mine)  # it is empty
    (mine / RECORD).unlink()
    with pytest.raises(OutputError, match="name another place with -o"):
        finalize(out, "yolo", mine)


def test_what_a_killed_one_left_is_cleared_away(out: Path) -> None:
    folder = finalize(out, "png").folder
    left = folder.with_name(".png.part")
    left.mkdir()
    (left / "half.png").write_bytes(b"half")
    assert "half.png" not in files(finalize(out, "png").folder)
    assert not left.exists()


def test_more_processes_make_the_same(tmp_path: Path) -> None:
    shelf = {f"{number:03}.png": {"a cat": blobs(number, SIZE_HW)} for number in range(100)}
    made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf", shelf), shelf, ("a cat",), part_rows=30)
    one = files(finalize(tmp_path / "out", "webdataset").folder)
    assert files(finalize(tmp_path / "out", "webdataset", workers=2).folder) == one


def test_an_unfinished_run(tmp_path: Path, shelf: Path) -> None:
    made_runs.run(tmp_path / "out", shelf, parts=1)
    with pytest.raises(DataError, match=r"3 of 5 pictures are missing.*--partial"):
        finalize(tmp_path / "out")
    done = finalize(tmp_path / "out", partial=True)
    assert (done.pictures, done.missing) == ({"": 2}, 3)


# What cannot be


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"to": "cocoa"}, "to is 'cocoa'; known are coco, yolo, voc, png, webdataset"),
        ({"pictures": "move"}, "pictures is 'move'"),
        ({"segmentation": "svg"}, "segmentation is 'svg'"),
        ({"val_share": 1.0}, "val_share is a part"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_unknown_options(out: Path, options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        finalize(out, **options)  # type: ignore[arg-type]
    assert not any(path.name.startswith(".") for path in next(out.iterdir()).iterdir() if path.is_dir())


def test_names_that_meet(tmp_path: Path) -> None:
    mask: NDArray[np.bool_] = np.ones(SIZE_HW, bool)
    shelf = {name: {"a cat": mask} for name in ("a/one.jpg", "a/one.png")}
    made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf", shelf), shelf, ("a cat",))
    for to in ("yolo", "png", "webdataset", "voc"):
        with pytest.raises(UsageError, match=r"'a(/|__)one.png' and 'a(/|__)one.jpg' would"):
            finalize(tmp_path / "out", to)
    done = finalize(tmp_path / "out", pictures="copy")  # COCO's names have suffixes
    dataset = read_coco(done.folder / "annotations" / "instances.json")
    assert sorted(dataset.image_ids) == ["a/one.jpg", "a/one.png"]
    assert len(list((done.folder / "images" / "a").iterdir())) == 2


def test_labels_that_are_one_on_one_line(tmp_path: Path) -> None:
    shelf = {"one.jpg": {"a  cat": rectangle(SIZE_HW, (0, 0, 5, 5)), "a\ncat": rectangle(SIZE_HW, (9, 9, 15, 15))}}
    made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf", shelf), shelf, tuple(shelf["one.jpg"]))
    assert finalize(tmp_path / "out").annotations == {"a cat": 2}
    folder = finalize(tmp_path / "out", "png").folder
    assert read_binary(folder / "masks" / "a-cat" / "one.png").sum() == 25 + 36


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
def test_webdataset_s_own_reader(out: Path) -> None:
    import webdataset

    folder = finalize(out, "webdataset", pictures="copy").folder
    tar = str(folder / "data-000000.tar")
    samples = list(webdataset.WebDataset(tar, shardshuffle=False, empty_check=False).decode("rgb8"))
    gc.collect()
    assert [sample["__key__"] for sample in samples] == ["a/one", "a/two", "b/one", "c/four"]
    for sample in samples:
        picture = sample["jpg"] if "jpg" in sample else sample["png"]
        assert picture.shape[:2] == (sample["json"]["height"], sample["json"]["width"]) == SIZE_HW


def test_a_run_that_is_elsewhere(out: Path, tmp_path: Path) -> None:
    files_there = fsspec.filesystem("memory")
    files_there.put(str(out), "/bucket/out", recursive=True)
    try:
        with pytest.raises(UsageError, match="say with -o where"):
            finalize("memory://bucket/out")
        there = finalize("memory://bucket/out", "png", tmp_path / "there")
        here = finalize(out, "png", tmp_path / "here")
    finally:
        files_there.rm("/bucket", recursive=True)
    assert there.annotations == here.annotations == {"a cat": 3, "the dog": 3}
    masks = {name: content for name, content in files(there.folder).items() if name.endswith(".png")}
    assert masks == {name: content for name, content in files(here.folder).items() if name.endswith(".png")}
    assert len(masks) == 8
