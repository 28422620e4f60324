"""Names with parameters in one word."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.cli.values import named_values, near
from clipseg.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [("a", {})]),
        ("a,b", [("a", {}), ("b", {})]),
        ("a:x=1,y=yes,b, c:z=none", [("a", {"x": 1.0, "y": True}), ("b", {}), ("c", {"z": None})]),
        ("a:x=1/0.5/2", [("a", {"x": (1.0, 0.5, 2.0)})]),
        ("a:x=5%", [("a", {"x": "5%"})]),
        ("a:x=b=c:d", [("a", {"x": "b=c:d"})]),
    ],
)
def test_named_values(text: str, expected: list[tuple[str, dict[str, object]]]) -> None:
    assert named_values("--format", text) == expected


@pytest.mark.parametrize("text", ["x=1", "a:", "a:=1", "a:x"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--format .* is not to be read at"):
        named_values("--format", text)


@given(st.text("ab:=,/1.", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert named_values("--x", text)


def test_near() -> None:
    assert near("sofd", ("soft", "hard")) == "did you mean 'soft'?"
    assert near("zzz", ("soft", "hard")) == "known are soft, hard"
