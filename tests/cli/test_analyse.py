"""`clipseg analyse visual-prompts`: a table, its CSV and the grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def things(draw) -> Path:
    for name in ("cat_1", "cat_2", "remote_1"):
        draw(f"things/{name}.png")
        mask = np.zeros((30, 40), np.uint8)
        mask[4:20, 5:30] = 255
        Image.fromarray(mask).save(f"things/{name}.mask.png")
    return Path("things")


def test_a_table_its_csv_and_a_grid(call, model, things) -> None:
    arguments = (things, "--model", model, "--styles", "cut_out,dim:background=0.3", "-o", "out", "--sort", "style")
    outcome = call("analyse", "visual-prompts", *arguments)
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["style", "cut_out", "dim:background=0.3", "whole"]
    assert "3 things, 2 names, 2 of them" in outcome.err
    lines = Path("out/visual-prompts.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "style,gain,probability,iou,paper"
    with Image.open("out/visual-prompts.png") as grid:
        assert grid.height > 3 * 90


def test_json(call, model, things) -> None:
    outcome = call("analyse", "visual-prompts", things, "--model", model, "--styles", "cut_out", "--json")
    (record,) = (json.loads(line) for line in outcome.out.splitlines())
    assert {row["style"] for row in record["styles"]} == {"whole", "cut_out"}
    assert (record["objects"], record["names"], record["grid"]) == (3, 2, "visual-prompts.png")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 8, "is no folder"),
        (["things", "--styles", "crup"], 2, "did you mean 'crop'"),
        (["things", "--template", "one"], 4, "unknown templates"),
        (["things", "--among", "picture"], 8, "3 names each"),
    ],
)
def test_refused(call, model, things, arguments, code, message) -> None:
    outcome = call("analyse", "visual-prompts", "--model", model, *arguments)
    assert outcome.code == code
    assert message in outcome.error
