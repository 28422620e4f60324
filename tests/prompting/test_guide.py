"""Every Python block of docs/prompts.md runs and prints what stands beside it, and its tables are the library's own."""

import ast
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from clipseg.prompting.styles import STYLES, VisualStyle
from clipseg.prompting.templates import TEMPLATES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_blocks_run(number, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed, code = io.StringIO(), BLOCKS[number]
    with redirect_stdout(printed):
        exec(compile(code, "prompts.md", "exec"), {})
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, flags=re.MULTILINE)
    if promised:
        assert printed.getvalue().splitlines() == promised
    else:
        assert "print" not in code or printed.getvalue().splitlines() == ["column 14", "column 6", "column 4"]


def test_the_table_of_styles():
    rows = re.findall(r"^\| \**`(\w+)`.*? \| (.*?) \|", PAGE.split("`style` says")[1], flags=re.MULTILINE)
    told = {}
    for name, cell in rows:
        if name in STYLES:
            quoted = re.findall(r"`([^`]*)`", cell)
            call = ast.parse(f"f({quoted[0] if quoted else ''})", mode="eval").body
            told[name] = VisualStyle(**{word.arg: ast.literal_eval(word.value) for word in call.keywords})
    assert told == dict(STYLES)


def test_the_table_of_templates():
    for name, sentences in TEMPLATES.items():
        assert f"`{name}`" in PAGE
        assert all(f"`{sentence}`" in PAGE for sentence in sentences)
