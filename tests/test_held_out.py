"""benchmarks/held_out.py on very few scenes, and the tables it prints."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.usefixtures("installed_pictograms")


@pytest.fixture(scope="module")
def held_out() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "held_out.py"
    spec = importlib.util.spec_from_file_location("held_out", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["held_out"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_question_is_answered(held_out, capsys) -> None:
    held_out.main(["--scenes", "3", "--seed", "77", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {figure["group"] for figure in report["figures"]} == set(held_out.QUESTIONS)
    assert len(report["bars"]) == 8
    assert all(figure["count"] > 0 for figure in report["figures"])
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert figures["guided, boundary F"] > figures["bilinear, boundary F"]
    assert figures["crop_blur_highlight"] > figures["whole"]


def test_tables(held_out) -> None:
    figure, bar = held_out.Figure("select", "A | B", 0.5, 1200), held_out.Bar("A | B", "+1", "at least 2", False)
    table = held_out.markdown([figure], [bar])
    assert r"| A \| B | +1 | at least 2 | missed |" in table
    assert r"| select | A \| B | 0.5000 | 1,200 |" in table
