"""`clipseg batch finalize` and `clipseg batch report`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import made_runs
from clipseg.batch.data_sets import PICTURES, WRITERS
from clipseg.cli import batch_outputs
from clipseg.formats.coco import SEGMENTATIONS


@pytest.fixture
def out(folder: Path) -> Path:
    made_runs.run(folder / "out", made_runs.pictures(folder / "shelf"))
    return folder / "out"


def test_names_are_the_library_s() -> None:
    assert tuple(WRITERS) == batch_outputs.FORMATS
    assert PICTURES == batch_outputs.PICTURES
    assert tuple(SEGMENTATIONS) == batch_outputs.SEGMENTATIONS


def test_finalize(call, out: Path) -> None:
    outcome = call("batch", "finalize", "out")
    assert (outcome.code, outcome.err) == (0, "")
    (record,) = outcome.records
    assert record["pictures"] == {"": 4}
    assert record["annotations"] == {"a cat": 3, "the dog": 3}
    assert record["failed"] == 1
    assert (Path(record["folder"]) / "annotations" / "instances.json").is_file()


def test_every_option_arrives(call, out: Path) -> None:
    arguments = "--to coco --val 0.5 --pictures copy --segmentation polygons --min-presence 0.9 --min-score 0.9"
    outcome = call("batch", "finalize", "out", *arguments.split(), "--min-pixels", 30, "--instances", "-o", "mine")
    assert outcome.code == 0, outcome.err
    said = json.loads(Path("mine/finalized.json").read_text())
    assert said["choice"] == {"min_score": 0.9, "min_presence": 0.9, "min_pixels": 30, "instances": True}
    assert said["val_share"] == 0.5
    content = json.loads(Path("mine/annotations/instances_train.json").read_text())
    content["annotations"] += json.loads(Path("mine/annotations/instances_val.json").read_text())["annotations"]
    assert len(content["annotations"]) == 6  # of the seven parts one has 16 pixels
    assert isinstance(content["annotations"][0]["segmentation"], list)
    assert len(list(Path("mine/images").rglob("*.*"))) == 4


def test_on_a_terminal(call, out: Path, terminal_out: None) -> None:
    text = call("batch", "finalize", "out", "--to", "png").out
    assert "found: the dog" in text
    assert "left out: failed" in text
    assert str(out) in text
    assert call("batch", "report", "out").out.strip().endswith("report.html")


def test_an_unfinished_run(call, folder: Path) -> None:
    made_runs.run(folder / "out", made_runs.pictures(folder / "shelf"), parts=1)
    outcome = call("batch", "finalize", "out")
    assert outcome.code == 8
    assert "is not finished" in outcome.err
    assert call("batch", "finalize", "out", "--partial").code == 0


def test_report(call, out: Path) -> None:
    outcome = call("batch", "report", "out", "--sample", 2, "--each", 1, "-o", "page.html")
    assert (outcome.code, outcome.records) == (0, [{"report": "page.html"}])
    assert Path("page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_where_nothing_is(call, folder: Path) -> None:
    for command in ("finalize", "report"):
        outcome = call("batch", command, "nowhere")
        assert outcome.code == 8
        assert "there is no run" in outcome.err


def test_a_folder_of_pictures_stays(call, out: Path) -> None:
    outcome = call("batch", "finalize", "out", "-o", "shelf")
    assert outcome.code == 7
    assert "name another place with -o" in outcome.err
    shutil.rmtree("shelf")
