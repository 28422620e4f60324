"""What is said where: nothing but plain lines unless it is a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from clipseg.cli import terminal


def test_result_is_one_ascii_line(capfd) -> None:
    terminal.result({"label": "eine\nTür 🚪", "box": None})
    out, err = capfd.readouterr()
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out) == {"label": "eine\nTür 🚪", "box": None}
    assert err == ""


def test_lines_on_stderr(capfd) -> None:
    terminal.error("a\nb")
    terminal.warning("  c \r\n d ")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "error: a b\nwarning: c d\n")


def test_no_decoration_off_a_terminal(capfd) -> None:
    with terminal.working("thinking"), terminal.progress("steps") as moved:
        moved(1, 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("block", ["working('[thinking]')", "progress('thinking')"])
def test_decoration_on_a_terminal_stays_off_stdout(block: str) -> None:
    """Both ends of a process: stdout into a pipe, stderr onto a terminal."""
    code = (
        "from clipseg.cli import terminal\n"
        f"with terminal.{block} as moved:\n"
        "    moved and moved(1, 2)\n"
        "    terminal.result({})\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.stdout == "{}\n"
    assert "thinking" in shown


def test_table(capsys) -> None:
    terminal.table(("name", "what"), [("nano", "[bold]small[/bold]")])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "what"]
    assert row.split() == ["nano", "[bold]small[/bold]"]


@pytest.mark.parametrize(
    ("is_terminal", "as_json", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_wants_table(monkeypatch, is_terminal: bool, as_json: bool, expected: bool) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert terminal.wants_table(as_json) is expected
