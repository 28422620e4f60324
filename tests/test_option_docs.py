"""docs/options.md and docs/troubleshooting.md: examples run, facts are the library's own, strips are not stale."""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipseg.cli.main import execute
from clipseg.masks.options import OPTIONS
from clipseg.prompting.styles import STYLES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
STRIPS = ROOT / "docs" / "images" / "options"
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

HEAD, *PARTS = re.split(r"^### `(\w+)`\n", PAGE, flags=re.MULTILINE)
SECTIONS = {
    name: re.split(r"^## ", part, flags=re.MULTILINE)[0] for name, part in zip(PARTS[::2], PARTS[1::2], strict=True)
}
TROUBLES = {part.split("\n")[0]: part for part in re.split(r"^## ", TROUBLE, flags=re.MULTILINE)[1:]}

MOST_BYTES, MOST_BYTES_IN_ALL = 60_000, 1_500_000
REDRAWN = ("threshold", "keep", "grow", "upsample")
"""Strips that are drawn again here: few cells, and a map, a mask, its shape and its parts between them."""

pytestmark = pytest.mark.usefixtures("at_the_root")


@pytest.fixture
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def blocks(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run(code: str, names: dict[str, Any]) -> None:
    """Run a block and hold what it prints to the comments beside its prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "a page of docs", "exec"), names)
    assert printed.getvalue().splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", code, flags=re.MULTILINE)


@cache
def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the page of options ---------------------------------------------------------------------------------------------


def test_every_option_has_a_section_in_the_order_of_the_table() -> None:
    assert [name for name in SECTIONS if name in OPTIONS] == list(OPTIONS)
    assert set(SECTIONS) == set(script("make_option_facts").facts())


def test_facts_are_the_library_s_own() -> None:
    assert script("make_option_facts").with_facts(PAGE) == PAGE, "run python examples/make_option_facts.py"
    for name, option in OPTIONS.items():
        line = SECTIONS[name].strip().splitlines()[0]
        assert option.step in line
        assert option.values in line
        assert f"`{script('make_option_facts').said(option.default)}`" in line


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_paragraph_a_strip_and_examples(name: str) -> None:
    text = SECTIONS[name]
    _, paragraph, *_ = text.strip().split("\n\n")
    assert 150 < len(paragraph) < 1000
    images = re.findall(r"!\[.{10,}\]\((images/options/\w+\.png)\)", text)
    assert images
    assert all((ROOT / "docs" / image).is_file() for image in images)
    assert name not in OPTIONS or f"images/options/{name}.png" in images
    assert len(blocks(text)) == len(blocks(text, "sh")) == 1
    assert name not in OPTIONS or re.search(rf"\b{name}=|\bonto\(", blocks(text)[0])
    assert name not in OPTIONS or f"--{name.replace('_', '-')}" in blocks(text, "sh")[0]


def test_words_of_an_option_are_explained() -> None:
    for name, option in OPTIONS.items():
        assert all(f"`{word}`" in SECTIONS[name] for word in option.choices if word not in ("none", "minmax"))
    assert sum(style.attention != "free" for style in STYLES.values()) == 3  # "the last three styles"


@pytest.fixture(scope="module")
def beginning() -> dict[str, Any]:
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for code in blocks(HEAD):
            run(code, names)
    return names


@pytest.mark.parametrize("name", SECTIONS)
def test_python_examples_run(name: str, beginning: dict[str, Any]) -> None:
    for code in blocks(SECTIONS[name]):
        run(code, dict(beginning))


def test_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for line in "".join(blocks(PAGE, "sh")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "clipseg"
        assert execute(arguments) == 0, line
        told, errors = capfd.readouterr()
        assert told, line
        assert errors == "", line


# -- the strips ------------------------------------------------------------------------------------------------------


def test_strips_are_all_shown_and_small() -> None:
    files = sorted(STRIPS.iterdir())
    assert [file.stem for file in files] == sorted(script("make_option_strips").STRIPS)
    assert set(re.findall(r"images/options/(\w+)\.png", PAGE)) == {file.stem for file in files}
    assert max(file.stat().st_size for file in files) < MOST_BYTES
    assert sum(file.stat().st_size for file in files) < MOST_BYTES_IN_ALL
    for file in files:
        with Image.open(file) as strip:
            assert strip.mode == "P"
            assert 600 < strip.width <= 900


@pytest.mark.parametrize("name", REDRAWN)
def test_strips_are_not_stale(name: str) -> None:
    """Drawn again they are the same, a few pixels along the edges of masks aside."""
    drawn = np.asarray(script("make_option_strips").drawn(name).convert("RGB"), np.int16)
    kept = np.asarray(Image.open(STRIPS / f"{name}.png").convert("RGB"), np.int16)
    assert drawn.shape == kept.shape, "run python examples/make_option_strips.py"
    differing = (np.abs(drawn - kept).max(axis=2) > 48).mean()
    assert differing < 0.003, f"{differing:.2%} of {name}.png differ; run python examples/make_option_strips.py"


def test_a_strip_would_be_seen_to_be_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    strips = script("make_option_strips")
    row = next(row for row in strips.ROWS if row.option == "grow")
    kept = np.asarray(Image.open(STRIPS / "grow.png").convert("RGB"), np.int16)
    changed = strips.Row(row.option, row.picture, row.prompts, (0, 8, 20, 36))
    monkeypatch.setitem(strips.STRIPS, "grow", strips.Strip(changed.columns, changed.cells))
    drawn = np.asarray(strips.drawn("grow").convert("RGB"), np.int16)
    below = kept.shape[0] // 8  # without the captions
    assert (np.abs(drawn - kept).max(axis=2) > 48)[below:].mean() > 0.003


# -- troubleshooting -------------------------------------------------------------------------------------------------


def test_every_trouble_has_a_row_and_a_snippet() -> None:
    anchors = re.findall(r"\]\(#([\w-]+)\)", TROUBLE)
    assert anchors == [title.lower().replace(" ", "-") for title in TROUBLES]
    assert all(blocks(text) for text in TROUBLES.values())
    assert len(TROUBLES) == 7


@pytest.mark.parametrize("title", TROUBLES)
def test_troubleshooting_snippets_run(title: str) -> None:
    for code in blocks(TROUBLES[title]):
        run(code, {})


def test_options_that_help_exist() -> None:
    for name, value in re.findall(r"`(\w+)=\"([^\"]+)\"`", TROUBLE):
        if name in OPTIONS:
            OPTIONS[name].read(name, value)
    assert len(re.findall(r"`(\w+)=", TROUBLE)) > 15


@pytest.mark.parametrize("page", ["options", "troubleshooting"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\(([\w/.]*)#?([\w-]*)\)", text):
        target = ROOT / "docs" / (path or f"{page}.md")
        assert target.is_file(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, anchor
