"""Options of evaluation: what each task has by itself, what the paper's protocol changes, what is refused."""

from __future__ import annotations

import pytest

from clipseg.errors import PromptError, UsageError
from clipseg.evaluation.options import TASKS, EvaluationOptions, options_for


def test_tasks():
    assert list(TASKS) == ["referring", "one-shot", "zero-shot", "generalised"]
    assert options_for("one-shot").prompt == "example"
    assert options_for("referring") == EvaluationOptions()
    paper = options_for("one-shot", paper=True, threshold=0.1, limit=None)
    assert (paper.geometry, paper.threshold, paper.templates, paper.paper) == ("squash", 0.1, "photo", True)
    assert options_for("referring", paper=True).threshold == 0.3
    assert [options_for("referring", limit=limit).samples(5) for limit in (None, 3, 9)] == [5, 3, 5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "tekst"}, "did you mean 'text'"),
        ({"geometry": "crop"}, "known are own, squash, placed"),
        ({"threshold": 1.5}, "probability from 0 to 1"),
        ({"threshold": float("nan")}, "probability from 0 to 1"),
        ({"background": -1}, "at least 0"),
        ({"limit": 0}, "at least 1"),
        ({"worst": -1}, "at least 0"),
        ({"thresold": 0.3}, "no option 'thresold'"),
    ],
)
def test_refused(given, message):
    with pytest.raises(UsageError, match=message):
        options_for("referring", **given)


def test_other_names_are_refused():
    with pytest.raises(UsageError, match="did you mean 'referring'"):
        options_for("refering")
    with pytest.raises(PromptError, match="unknown visual-prompt style"):
        options_for("one-shot", style="crup")
    with pytest.raises(PromptError, match="unknown templates"):
        options_for("referring", templates="fotos")
