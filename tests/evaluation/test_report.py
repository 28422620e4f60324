"""Reports: what is in the files, and that they are whole or not there."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

import ready
from asked_samples import AskedSamples, LabelledNoise
from clipseg.errors import OutputError
from clipseg.evaluation import report as reports
from clipseg.evaluation.options import options_for
from clipseg.evaluation.report import Table
from clipseg.evaluation.tasks import evaluate, reported, tallied


@pytest.fixture(scope="module")
def report():
    dataset = AskedSamples(10, classes=True)
    dataset.problems = ["refer.json:7: no polygons", "x.jpg: cut off"]
    options = options_for("one-shot", worst=3)
    tally = tallied("one-shot", ready.segmenter(), dataset, options)
    return reported("one-shot", tally, dataset, options, "tiny | model", {"data": "noise"})


def test_the_files(report, tmp_path):
    paths = report.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in paths)
    assert {path.name for path in paths} == {
        "report.json", "report.md", "samples.csv", "labels.csv", "sizes.csv", "curves.csv", "curves.png", "worst.png",
    }  # fmt: skip
    record = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert record == report.to_dict()
    assert record["iou_per_class_mean"] == round(report.metrics["iou_per_class_mean"], 6)
    assert (record["samples"], record["skipped"], record["paper"], record["threshold"]) == (10, 2, False, 0.4)
    assert record["settings"]["data"] == "noise"
    assert record["settings"]["style"] == "crop_blur_highlight"
    assert set(record["versions"]) == {"clipseg", "python", "torch", "numpy"}
    assert len(record["worst"]) == 3
    with (tmp_path / "out" / "samples.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == pytest.approx([row.score for row in report.rows], abs=1e-6)
    assert rows[3]["name"] == "sample 3"
    page = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "| cat |" in page
    assert "tiny \\| model" in page
    assert "![worst](worst.png)" in page
    assert "- refer.json:7: no polygons" in page
    with Image.open(tmp_path / "out" / "worst.png") as sheet:
        assert sheet.width > 4 * reports.CELL_HW[1]
        assert sheet.height > 3 * reports.CELL_HW[0]


def test_the_line_and_the_table(report):
    summary = report.summary()
    assert list(summary)[:6] == ["task", "model", "samples", "skipped", "threshold", "paper"]
    assert dict(report.table())["iou cumulative"] == f"{summary['iou_cumulative']:.4f}"


def test_curves_are_drawn(report):
    pixels = np.asarray(report.curves_picture())
    white = np.asarray(reports.line_chart({"a": [(0, 0)]}, title="", across="")).size
    assert pixels.size > white
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_report_of_classes(tmp_path):
    report = evaluate("zero-shot", ready.segmenter(), LabelledNoise())
    names = {path.name for path in report.save(tmp_path)}
    assert names == {"report.json", "report.md", "samples.csv", "labels.csv", "worst.png"}
    assert "exchanged" in (tmp_path / "report.md").read_text("utf-8")
    assert math.isnan(report.labels.rows[3][2]) or report.labels.rows[3][3] == 0
    assert len(report.worst) == 3


def test_what_is_not_known_is_empty():
    table = Table(("name", "value"), (("a", float("nan")), ("b", 0.1234567)))
    assert table.to_csv() == "name,value\na,\nb,0.123457\n"
    assert table.to_dicts() == [{"name": "a", "value": None}, {"name": "b", "value": 0.123457}]
    assert "| a | – |" in table.to_markdown()


def test_an_output_that_cannot_be_written(report, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError):
        report.save(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
