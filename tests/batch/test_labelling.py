"""A folder and a list of classes -> a data set to train on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ready
from clipseg.batch.choosing import Choice
from clipseg.batch.finalizing import finalize
from clipseg.batch.labelling import Labelled, label, read_classes
from clipseg.data.own import open_data
from clipseg.errors import DataError, UsageError
from clipseg.formats.coco import read_coco
from clipseg.formats.yolo import read_names
from clipseg.prompting.prompts import TextPrompt, parse

CLASSES = [TextPrompt("a cat"), TextPrompt("wood", "timber")]
ANY = Choice(instances=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready.folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    (folder / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "b.png", "c.jpg", "deep/a.jpg", "deep/e.jpg")):
        ready.picture(seed).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def labelled(shelf: Path, model: Path, classes: Sequence[Any] = CLASSES, **options: Any) -> Labelled:
    out = shelf.parent / "out"
    return label(shelf, classes, out, **{"choice": ANY, "model": model, "device": "cpu", "threshold": 0.5, **options})


@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_the_data_set_is_one_to_train_on(shelf: Path, model: Path, to: str) -> None:
    done = labelled(shelf, model, to=to)
    assert done.data is not None
    assert done.data.folder == shelf.parent / "out" / to
    assert done.data.failed == 1
    assert sum(done.data.pictures.values()) == 5
    assert done.data.pictures["val"] >= 1
    entries = 0
    for split, count in done.data.pictures.items():
        data = open_data(done.data.folder, split, on_problem="raise")
        assert len({entry.picture.resolve() for entry in data.entries}) == count
        assert {entry.picture.resolve().is_relative_to(shelf) for entry in data.entries} == {True}
        entries += sum(entry.thing in ("a cat", "cat", "timber") for entry in data.entries)
    assert entries > 5
    assert set(done.data.annotations) == {"a cat", "timber"}


def test_masks_are_those_of_the_segmenter(shelf: Path, model: Path) -> None:
    done = labelled(shelf, model, segmentation="rle", choice=Choice(), dtype="float32", batch_size=1)
    assert done.data is not None
    segmenter = ready.segmenter()
    for split in ("train", "val"):
        dataset = read_coco(done.data.folder / "annotations" / f"instances_{split}.json")
        for image in dataset.images:
            masks = segmenter.segment(shelf / image.file_name, CLASSES, threshold=0.5)
            found = {dataset.categories[one.category_id]: one.mask() for one in image.annotations}
            for mask in masks:
                inside = mask.binary().numpy()
                assert (found[mask.label] == inside).all() if inside.any() else mask.label not in found


def test_it_goes_on_and_may_be_chosen_again(shelf: Path, model: Path) -> None:
    before = labelled(shelf, model)
    parts = {path: path.stat().st_mtime_ns for path in Path(before.outcome.folder.path).glob("parts/*")}
    again = labelled(shelf, model, to="yolo", val_share=0.0)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert again.data is not None
    assert again.data.pictures == {"": 5}
    assert read_names(again.data.folder / "data.yaml") == ("a cat", "timber")
    fewer = finalize(shelf.parent / "out", choice=Choice(min_pixels=10**6))
    assert set(fewer.annotations.values()) == {0}


def test_a_picture_stays_on_its_side(shelf: Path, model: Path) -> None:
    done = labelled(shelf, model, to="yolo", val_share=0.5)
    assert done.data is not None
    held_out = {path.name for path in (done.data.folder / "images" / "val").rglob("*.*")}
    for name in ("x.jpg", "y.jpg"):
        ready.picture(9).save(shelf / name)
    more = label(shelf, CLASSES, shelf.parent / "more", to="yolo", val_share=0.5, choice=ANY, model=model)
    assert more.data is not None
    assert held_out <= {path.name for path in (more.data.folder / "images" / "val").rglob("*.*")}


def test_labels_are_made_here(shelf: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="name a folder here"):
        label(shelf, CLASSES, "memory://out", model=model)


# Classes


def test_classes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("cup\n\n# of glass\nglass: a drinking glass AND NOT window\nperson (adult)\n", encoding="utf-8")
    cup, glass, person = read_classes(path)
    assert (cup, person) == (TextPrompt("cup"), TextPrompt("person (adult)"))
    assert glass == parse("a drinking glass AND NOT window")
    assert [one.label for one in (cup, glass, person)] == ["cup", "glass", "person (adult)"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no classes"),
        ("# cup\n\n", "names no classes"),
        ("cup\n cup \n", "line 2: expected NAME or NAME: PROMPT, each name once; got 'cup'"),
        ("cup\n: a glass", "line 2: expected NAME"),
        ("cup: a AND AND b", "line 1: "),
        ("cup:", "line 1: "),
    ],
)
def test_classes_that_cannot_be(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(told)):
        read_classes(path)


def test_no_file_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_classes(tmp_path / "classes.txt")
