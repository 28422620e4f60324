"""Many pictures, some of them broken; names, results on standard output, dry runs, and what is said."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipseg import Segmenter
from clipseg.cli import terminal
from clipseg.cli.options import MODEL
from clipseg.formats.coco import read_coco
from clipseg.formats.outputs import MASK
from clipseg.formats.table import FORMATS
from clipseg.segmenter import DEFAULT_MODEL, PICTURE_BATCH


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_defaults_are_the_library_s(call) -> None:
    assert MODEL == DEFAULT_MODEL
    assert f"[default: {PICTURE_BATCH};" in " ".join(call("segment", "--help").out.split())


def test_ten_broken_among_a_hundred(call, draw, folder, model) -> None:
    for number in range(90):
        draw(f"in/{number:03}.png", (12, 12))
    broken = [f"in/broken{number}.png" for number in range(10)]
    for name in broken:
        Path(name).write_bytes(b"\x89PNG\r\n\x1a\nI am not whole")
    outcome = call("segment", "in", "-p", "cat", "--model", model, "-o", "out", "--no-overlay")
    assert outcome.code == 3
    assert len(outcome.records) == 90
    assert len(files_in(folder / "out")) == 90
    *errors, summary = outcome.err.splitlines()
    assert [any(name in line for line in errors) for name in broken] == [True] * 10
    assert summary == f"error: 10 of 100 pictures could not be done, the other 90 are: {', '.join(broken)}"


def test_the_tree_of_folders_is_kept(call, draw, folder, model) -> None:
    for name in ("in/a.png", "in/x/a.jpg", "in/x/a.png", "in/x/y/a.png"):
        draw(name)
    outcome = call("segment", "in", "-r", "-p", "cat", "--model", model, "-o", "out", "--no-overlay")
    names = ["a.cat", "x/a.cat", "x/a-2.cat", "x/y/a.cat"]
    assert [record["file"] for record in outcome.records] == [f"out/{name}.mask.png" for name in names]
    assert files_in(folder / "out") == {f"{name}.mask.png" for name in names}


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{stem}", ["a.png", "b.png"]),
        ("{picture:03}-{index}_{prompt}.{kind}", ["001-1_cat.mask.png", "002-1_cat.mask.png"]),
        ("{folder}/{prompt}/{stem}.png", ["in/cat/a.png", "in/cat/b.png"]),
    ],
)
def test_names(call, draw, folder, model, template, names) -> None:
    draw("in/a.png")
    draw("in/b.jpg")
    outcome = call("segment", "in", "-p", "cat", "--model", model, "-o", "out", "--no-overlay", "--name", template)
    assert [record["file"] for record in outcome.records] == [f"out/{name}" for name in names]
    assert files_in(folder / "out") == set(names)


def test_skip_existing(call, draw, folder, model) -> None:
    for name in "abc":
        draw(f"{name}.png")
    arguments = ("-p", "cat", "-p", "dog", "--model", model, "-o", "out", "--skip-existing")
    assert len(call("segment", "a.png", *arguments).records) == 2
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert {record["picture"] for record in call("segment", "a.png", "b.png", "c.png", *arguments).records} == {
        "b.png", "c.png",
    }  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in before} == before
    Path("out/b.dog.mask.png").unlink()
    assert {record["picture"] for record in call("segment", "a.png", "b.png", "c.png", *arguments).records} == {"b.png"}
    outcome = call("segment", "a.png", "b.png", "c.png", *arguments, "--fail-if-empty")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_skip_existing_instances(call, draw, folder, model) -> None:
    draw("a.png")
    arguments = (
        "-p",
        "cat",
        "--model",
        model,
        "-o",
        "out",
        "--skip-existing",
        "--instances",
        "--threshold",
        "area:0.3",
    )
    assert call("segment", "a.png", *arguments).records
    assert call("segment", "a.png", *arguments).out == ""
    assert call("segment", "a.png", *arguments, "--no-overlay").out == ""


def test_dry_run(call, draw, folder, monkeypatch) -> None:
    monkeypatch.setattr(Segmenter, "from_pretrained", None)
    draw("in/a.png")
    draw("in/x/b.png")
    outcome = call("segment", "in", "-r", "-p", "a cat", "-p", "wood", "-o", "out", "--dry-run")
    assert outcome.code == 0
    assert outcome.records[0] == {
        "picture": "in/a.png",
        "label": "a cat",
        "files": {MASK: ["out/a.a-cat.mask.png"], "overlay": ["out/a.overlay.png"]},
    }  # fmt: skip
    assert outcome.records[3]["files"][MASK] == ["out/x/b.wood.mask.png"]
    assert call("segment", "-", "-p", "a cat", "--dry-run").records[0]["files"] == {MASK: ["-"]}
    assert not Path("out").exists()


def test_every_format_at_once(call, draw, folder, model) -> None:
    draw("in/a.png")
    draw("in/x/a.jpg")
    arguments = ("-p", "a cat", "-p", "wood", "--model", model, "-o", "out", "--threshold", "area:0.2")
    outcome = call("segment", "in", "-r", *arguments, "--format", ",".join(FORMATS))
    assert (outcome.code, outcome.err) == (0, "")
    told = {name for record in outcome.records for names in record["files"].values() for name in names}
    assert all(Path(name).is_file() for name in told)
    sets = {"coco.json", "yolo/data.yaml", "yolo/labels/a.txt", "yolo/labels/a-2.txt", "voc/SegmentationClass/a-2.png"}
    assert sets <= files_in(folder / "out")
    assert told <= {f"out/{name}" for name in files_in(folder / "out")}
    for record in outcome.records:
        assert list(record["files"]) == [name for name, row in FORMATS.items() if row.scope != "data set"]
    images = {image.file_name: image.size_hw for image in read_coco("out/coco.json").images}
    assert images == {"a.png": (30, 40), "x/a.jpg": (30, 40)}


def test_data_sets_are_extended_and_pictures_of_one_name_kept_apart(call, draw, folder, model) -> None:
    for name in ("a/cat.png", "b/cat.png", "c/dog.png"):
        draw(name)
    arguments = ("-p", "a cat", "--model", model, "-o", "out", "--threshold", "area:0.2", "--format", "coco,yolo,voc")
    assert call("segment", "a/cat.png", "b/cat.png", *arguments).code == 0
    first = Path("out/coco.json").read_bytes()
    assert [image.file_name for image in read_coco("out/coco.json").images] == ["a/cat.png", "b/cat.png"]
    assert call("segment", "a/cat.png", "b/cat.png", *arguments).code == 0
    assert Path("out/coco.json").read_bytes() == first
    assert call("segment", "c/dog.png", *arguments).code == 0
    assert [len(image.annotations) for image in read_coco("out/coco.json").images] == [1, 1, 1]
    assert Path("out/voc/ImageSets/Segmentation/train.txt").read_text().split() == ["cat", "cat-2", "dog"]
    assert {f"yolo/labels/{stem}.txt" for stem in ("cat", "cat-2", "dog")} <= files_in(folder / "out")


def test_instances(call, draw, model) -> None:
    draw("cat.png")
    arguments = ("-p", "a cat", "--model", model, "--threshold", "area:0.3", "--keep", "big-to-small")
    outcome = call("segment", "cat.png", *arguments, "--instances", "--format", f"{MASK},cutout")
    masks = Segmenter.from_pretrained(model).segment("cat.png", "a cat")
    parts = masks.with_options(threshold="area:0.3", keep="big-to-small").instances()
    assert len(outcome.records) == len(parts) > 0
    for record, part in zip(outcome.records, parts, strict=True):
        assert (record["instance"], record["area"], record["box"]) == (part.number, part.area, list(part.box_xyxy))
        assert record["score"] == round(part.score, 4)
        assert record["file"] == f"cat.a-cat.{part.number}.mask.png"
        with Image.open(record["file"]) as mask, Image.open(record["files"]["cutout"][0]) as cut:
            assert (np.asarray(mask) == part.mask().numpy() * 255).all()
            assert (np.asarray(cut)[..., 3] == part.mask().numpy() * 255).all()
        assert record["files"]["preview"] == ["cat.preview.png"]
    both = call("segment", "cat.png", *arguments, "--instances", "--format", f"{MASK},overlay").records[0]["files"]
    assert list(both) == [MASK, "overlay", "preview"]
    assert Path("cat.preview.png").is_file()


def test_soft_results(call, draw, model) -> None:
    draw("cat.png")
    outcome = call("segment", "cat.png", "-p", "a cat", "--model", model, "--threshold", "none")
    (record,) = outcome.records
    assert (record["area"], record["box"], record["file"]) == (None, None, "cat.a-cat.soft.png")
    soft = Segmenter.from_pretrained(model).segment("cat.png", "a cat").soft()[0]
    with Image.open(record["file"]) as picture:
        assert (np.asarray(picture) == (soft * 255).round().numpy()).all()


def test_nothing_found(call, draw, model) -> None:
    draw("cat.png")
    arguments = ("segment", "cat.png", "-p", "a cat", "--model", model)
    assert call(*arguments, "--threshold", 1).code == 0
    outcome = call(*arguments, "--threshold", 1, "--fail-if-empty")
    assert outcome.code == 11
    assert outcome.error.startswith("nothing was found in 1 picture;")
    assert outcome.records[0]["area"] == 0
    assert call(*arguments, "--threshold", "0", "--fail-if-empty").code == 0


def test_a_list_of_pictures_some_of_them_gone(call, draw, model) -> None:
    draw("a.png")
    Path("list.txt").write_text("gone.png\na.png\n")
    outcome = call("segment", "--from-file", "list.txt", "-p", "cat", "--model", model)
    assert outcome.code == 3
    assert outcome.err.startswith("error: there is no picture file gone.png\n")
    assert [record["picture"] for record in outcome.records] == ["a.png"]


# -- one result on standard output -----------------------------------------------------------------------------------


def test_from_standard_input_to_standard_output(draw, folder, model) -> None:
    path = draw("cat.png")
    command = [sys.executable, "-m", "clipseg", "segment", "-", "-p", "a cat", "--threshold", "area:0.3"]
    done = subprocess.run([*command, "--model", str(model)], input=path.read_bytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    with Image.open(io.BytesIO(done.stdout)) as picture:
        inside = Segmenter.from_pretrained(model).segment("cat.png", "a cat").binary("area:0.3")[0]
        assert (np.asarray(picture) == inside.numpy() * 255).all()
    assert files_in(folder) == {"cat.png"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-", "-p", "a", "-p", "b"],
        ["-", "-p", "a", "--format", f"{MASK},soft"],
        ["-", "-p", "a", "--format", "coco"],
        ["-", "-p", "a", "--instances"],
        ["cat.png", "dog.png", "-p", "a", "-o", "-"],
    ],
)
def test_more_than_one_result_on_standard_output(call, draw, folder, arguments) -> None:
    draw("cat.png")
    draw("dog.png")
    outcome = call("segment", *arguments)
    assert outcome.code == 2
    assert "standard output takes one result of one picture" in outcome.error
    assert files_in(folder) == {"cat.png", "dog.png"}


# -- for a person ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("terminal_out")
def test_lines_for_a_person(call, draw, model) -> None:
    draw("cat.png")
    arguments = ("segment", "cat.png", "-p", "a cat", "--model", model)
    outcome = call(*arguments, "--threshold", "0")
    assert outcome.out.startswith("cat.png: a cat: score 0.")
    assert outcome.out.endswith(", 1200 pixels -> cat.a-cat.mask.png\n")
    assert outcome.err == "1 picture, 1 mask, 1 of them not empty\n"
    assert "nothing found" in call(*arguments, "--threshold", "1").out
    assert call(*arguments, "--json").records[0]["label"] == "a cat"
    assert call(*arguments, "--dry-run").out == "cat.png: a cat -> cat.a-cat.mask.png, cat.overlay.png\n"
    assert "1 skipped" in call(*arguments, "--skip-existing").err


def test_progress_counts_broken_pictures_as_well(call, draw, model, monkeypatch) -> None:
    moves: list[tuple[int, int]] = []

    class Bar:
        def __init__(self, _what: str) -> None: ...
        def __enter__(self):
            return lambda done, total: moves.append((done, total))

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(terminal, "progress", Bar)
    draw("a.png")
    draw("c.png")
    Path("b.png").write_text("no picture")
    call("segment", "a.png", "b.png", "c.png", "-p", "x", "--model", model, "--batch-size", 1)
    assert moves[0] == (0, 3)
    assert moves[-1] == (3, 3)
