"""`clipseg evaluate`: the options reach the measurement, and its report is printed."""

from __future__ import annotations

from typing import Any

import pytest

from clipseg import Segmenter
from clipseg.evaluation import scenes as evaluation
from clipseg.evaluation.scenes import SceneReport

REPORT = SceneReport(
    iou_text_per_object_mean=0.51239,
    iou_example_per_object_mean=0.4,
    iou_unseen_example_per_object_mean=0.3,
    iou_described_per_object_mean=0.2,
    auroc_presence=0.9,
    boundary_f1_text_per_object_mean=0.7,
    threshold=0.5,
    scenes=3,
    objects=9,
    names=5,
    unseen_objects=4,
    unseen_kinds=2,
    described_objects=6,
    absent_names=15,
    seed=2,
)


@pytest.fixture
def measured(monkeypatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def evaluate_scenes(segmenter: Segmenter, *, progress, **options: Any) -> SceneReport:
        assert isinstance(segmenter, Segmenter)
        progress(1, 3)
        calls.append(options)
        return REPORT

    monkeypatch.setattr(evaluation, "evaluate_scenes", evaluate_scenes)
    return calls


def test_a_json_line(call, model, measured) -> None:
    outcome = call("evaluate", model, "--scenes", 3, "--seed", 2)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.records == [{"model": str(model), **REPORT.to_dict()}]
    assert measured == [{"scenes": 3, "seed": 2}]


def test_a_table_on_a_terminal(call, model, measured, terminal_out) -> None:
    outcome = call("evaluate", model)
    assert outcome.out.splitlines()[0].split() == ["figure", "value"]
    assert "0.5124" in outcome.out
    assert measured == [{"scenes": 300, "seed": 0}]
    assert call("evaluate", model, "--json").records[0]["scenes"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["{model}", "--scenes", "0"], 2, "--scenes"), (["a/b/c"], 6, "a/b/c"), ([], 2, "MODEL")],
)
def test_refused(call, folder, model, arguments, code, message) -> None:
    outcome = call("evaluate", *(argument.format(model=model) for argument in arguments))
    assert outcome.code == code
    assert message in outcome.error
