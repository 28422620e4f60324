"""Problems: kept in order, told, or fatal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from clipseg.data.problems import LOGGED, Problem, Problems
from clipseg.errors import DataError, UsageError

TABLE = Path("set/table.csv")


def test_where_and_what() -> None:
    assert str(Problem(TABLE, 3, "no phrase")) == f"{TABLE}:3: no phrase"
    assert str(Problem(TABLE, None, "not there")) == f"{TABLE}: not there"


def test_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    problems = Problems()
    problems.report(TABLE, 3, "no phrase")
    problems.report(TABLE, None, "not there")
    assert problems == [Problem(TABLE, 3, "no phrase"), Problem(TABLE, None, "not there")]
    assert [record.message for record in caplog.records] == [
        f"{TABLE}:3: no phrase; passed over",
        f"{TABLE}: not there; passed over",
    ]


def test_fatal() -> None:
    with pytest.raises(DataError, match=rf"^{TABLE}:3: no phrase$"):
        Problems("raise").report(TABLE, 3, "no phrase")


def test_of_many_the_first_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "clipseg")
    problems = Problems()
    for line in range(1000):
        problems.report(TABLE, line, "no phrase")
    assert len(problems) == 1000
    assert len(caplog.records) == LOGGED + 1
    assert "clipseg data check" in caplog.records[-1].message


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="known are skip, raise"):
        Problems("ignore")  # type: ignore[arg-type]


def test_an_entry_is_told_once() -> None:
    problems = Problems()
    for _ in range(3):
        problems.report(TABLE, 3, "no phrase")
    assert problems == [Problem(TABLE, 3, "no phrase")]
