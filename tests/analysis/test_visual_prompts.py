"""The comparison of styles: its arithmetic, and on two small folders under a random model."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ready
from clipseg.analysis.marked_objects import read_objects
from clipseg.analysis.picture_grid import CELL, labelled_grid, style_grid
from clipseg.analysis.visual_prompts import StyleReport, StyleResult, compare_styles, name_probabilities
from clipseg.errors import DataError, PromptError, UsageError
from clipseg.prompting.styles import STYLES, VisualStyle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of noise; each has a cat, a dog and a cup."""
    rng = np.random.default_rng(0)
    for stem in ("one", "two"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(tmp_path / f"{stem}.png")
        for place, name in enumerate(("cat", "dog", "cup")):
            mask = np.zeros((40, 48), np.uint8)
            mask[5:30, 16 * place : 16 * place + 12] = 255
            Image.fromarray(mask).save(tmp_path / f"{stem}.{name}.mask.png")
    return tmp_path


def test_probabilities_are_a_softmax_over_names():
    examples, names = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    found = name_probabilities(examples, names, 2.0)
    torch.testing.assert_close(found[0, 0], torch.tensor(1 / (1 + np.exp(-2.0)), dtype=torch.float32))
    torch.testing.assert_close(found[1], torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("among", ["folder", "picture"])
def test_the_whole_picture_gains_nothing_and_others_something(folder, among):
    moved: list[tuple[int, int]] = []
    report = compare_styles(
        ready.segmenter(), read_objects(folder), ["cut_out"], among=among, progress=lambda *at: moved.append(at)
    )
    whole, cut_out = report.rows
    assert (whole.style, whole.gain, cut_out.style, cut_out.paper) == ("whole", 0.0, "cut_out", 23.40)
    assert cut_out.gain == pytest.approx(100 * (cut_out.probability - whole.probability), abs=1e-3)
    assert cut_out.gain != 0
    assert whole.iou is not None
    assert 0 <= whole.iou <= 1
    assert (report.objects, report.names, report.pairs, moved[-1]) == (6, 3, 6, (6, 6))


def test_styles_of_ones_own(folder):
    styles = {"mine": VisualStyle(background=0.0), "theirs": "cut_out"}
    _, mine, theirs = compare_styles(ready.segmenter(), read_objects(folder), styles).rows
    assert (mine.gain, mine.iou) == pytest.approx((theirs.gain, theirs.iou), abs=1e-3)


def test_refused(folder):
    objects, segmenter = read_objects(folder), ready.segmenter()
    with pytest.raises(UsageError, match="known are folder, picture"):
        compare_styles(segmenter, objects, among="hub")
    with pytest.raises(PromptError, match="nonsense"):
        compare_styles(segmenter, objects, ["nonsense"])
    with pytest.raises(DataError, match="1 names to choose from"):
        compare_styles(segmenter, objects[:1])
    with pytest.raises(DataError, match="3 names each"):
        compare_styles(segmenter, [one for one in objects if one.name != "cup"], among="picture")
    with pytest.raises(DataError, match="at least one picture"):
        style_grid(segmenter, [], ["whole"])


def test_orders_and_csv():
    rows = (StyleResult("b", 1.0, 0.5, None, None), StyleResult("a", 2.0, 0.4, 0.25, 3.0))
    report = StyleReport(rows, 2, 2, 1, "folder", 0)
    assert [row.style for row in report.sorted_by("gain")] == ["a", "b"]
    assert [row.style for row in StyleReport(rows[::-1], 2, 2, 1, "folder", 0).sorted_by("iou")] == ["a", "b"]
    assert report.table()[1] == ("b", "+1.00", "0.500", "–", "–")
    read = list(csv.DictReader(io.StringIO(report.to_csv("style"))))
    assert [(row["style"], row["iou"], row["paper"]) for row in read] == [("a", "0.25", "3.0"), ("b", "", "")]
    with pytest.raises(UsageError, match="known are gain"):
        report.sorted_by("size")


def test_the_grid_has_a_cell_for_each_thing_and_style(folder):
    objects = read_objects(folder)
    one = style_grid(ready.segmenter(), objects[:1], ["whole"])
    grid = style_grid(ready.segmenter(), objects[:3], tuple(STYLES))
    assert (grid.height - one.height) % 2 == 0
    assert grid.height - one.height >= 2 * CELL
    assert grid.width - one.width >= (len(STYLES) - 1) * CELL


def test_cells_lie_in_rows_and_columns():
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    grid = np.asarray(labelled_grid(["a", "b"], [("x", [red, blue]), ("y", [blue, red])]))
    assert (grid == (255, 0, 0)).all(2).sum() == 2 * CELL * CELL
    middle = (grid[grid.shape[0] // 4 + 8, -CELL // 2], grid[-CELL // 2, -CELL // 2])
    assert [tuple(map(int, colour)) for colour in middle] == [(0, 0, 255), (255, 0, 0)]
