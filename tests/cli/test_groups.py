"""Groups of commands: help where none is named, and a hint where none is called so."""

from __future__ import annotations

import pytest

GROUPS = ("prompt", "analyse", "data")


@pytest.mark.parametrize("name", GROUPS)
def test_alone_it_shows_its_help(call, name: str) -> None:
    outcome = call(name)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == call(name, "--help").out == call(name, "-h").out
    assert outcome.out.startswith(f"Usage: clipseg {name} ")


def test_a_name_that_is_none(call) -> None:
    outcome = call("prompt", "mkae")
    assert outcome.code == 2
    assert outcome.error == "there is no command 'mkae'; did you mean 'make'? see `clipseg prompt --help`"
    assert "known are make, mix, show;" in call("prompt", "x").error
    assert call("analyse", "nothing-such").code == 2
