"""`clipseg label`."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from clipseg.batch.labelling import LABEL_CHOICE
from clipseg.batch.labelling import label as make
from clipseg.cli import label as command
from clipseg.formats.yolo import read_names


@pytest.fixture
def shelf(draw, folder: Path) -> Path:
    for name in ("shelf/a.png", "shelf/b.jpg", "shelf/deep/c.png"):
        draw(name)
    Path("classes.txt").write_text("cat\ndog: a dog\n", encoding="utf-8")
    return folder / "shelf"


def test_defaults_are_the_library_s() -> None:
    assert LABEL_CHOICE.min_presence == command.MIN_PRESENCE
    defaults = {name: one.default for name, one in inspect.signature(make).parameters.items()}
    flags = {one.name: one.default for one in command.label.params}
    for name in ("to", "val_share", "pictures", "segmentation"):
        assert flags[name] == defaults[name]
    for name in ("min_score", "min_presence", "min_pixels", "instances"):
        assert flags[name] == getattr(LABEL_CHOICE, name)


def test_a_data_set_comes_out(call, shelf: Path, model: Path) -> None:
    line = ("label", "shelf", "--classes", "classes.txt", "-o", "out", "--model", model, "--min-presence", 0)
    outcome = call(*line, "--to", "yolo", "--threshold", 0.5)
    assert outcome.code == 0, outcome.err
    (record,) = outcome.records
    assert sum(record["pictures"].values()) == 3
    assert set(record["annotations"]) == {"cat", "dog"}
    assert read_names("out/yolo/data.yaml") == ("cat", "dog")
    assert len(list(Path("out/yolo/images").rglob("*.*"))) == len(list(Path("out/yolo/labels").rglob("*.txt"))) == 3
    parts = list(Path("out").glob("run-*/parts/*"))
    again = call(*line, "--threshold", 0.5)  # coco now, of the same run
    assert again.code == 0
    assert list(Path("out").glob("run-*/parts/*")) == parts
    assert Path("out/coco/annotations/instances_val.json").is_file()


def test_other_masks_are_another_run(call, shelf: Path, model: Path) -> None:
    line = ("label", "shelf", "--classes", "classes.txt", "-o", "out", "--model", model)
    assert call(*line, "--threshold", 0.5).code == 0
    outcome = call(*line, "--threshold", 0.6)
    assert outcome.code == 5
    assert "threshold" in outcome.err


def test_no_classes(call, shelf: Path) -> None:
    Path("classes.txt").write_text("")
    outcome = call("label", "shelf", "--classes", "classes.txt", "-o", "out", "--model", "nano")
    assert outcome.code == 8
    assert "names no classes" in outcome.err
    assert not Path("out").exists()


def test_shards_are_labelled_together(call, shelf: Path, model: Path) -> None:
    line = ("label", "shelf", "--classes", "classes.txt", "-o", "out", "--model", model, "--rows-per-part", 1)
    first = call(*line, "--shard", "0/2")
    assert first.code == 0, first.err
    (record,) = first.records
    assert record["finished"] is False
    assert not Path("out/coco").exists()
    (record,) = call(*line, "--shard", "1/2").records
    assert sum(record["pictures"].values()) == 3
