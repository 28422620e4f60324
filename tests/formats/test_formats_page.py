"""docs/formats.md: its blocks run from top to bottom, its commands run, and every format has a section and a row."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from clipseg.cli.main import execute
from clipseg.formats.colormaps import ANCHORS
from clipseg.formats.table import FORMATS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def blocks(language: str, text: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty but for the examples, and without network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")  # supervision says so where that is not installed
def test_blocks_run_in_one_namespace(folder: Path) -> None:
    space: dict[str, object] = {}
    for number, code in enumerate(blocks("python"), 1):
        exec(compile(code, f"formats.md, block {number}", "exec"), space)
    assert len(list((folder / "out").rglob("*.*"))) > 25


def test_commands_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for line in lines:
        name, *arguments = shlex.split(line)
        assert name == "clipseg"
        code = execute(arguments)
        out, err = capfd.readouterr()
        assert (code, err) == (0, ""), line
        assert out.startswith("{"), line
    for made in ("coco.json", "yolo/data.yaml", "voc/ImageSets/Segmentation/val.txt", "one.npz"):
        assert (folder / "out" / "cli" / made).is_file()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_described(name: str) -> None:
    body = SECTIONS[name]
    assert len(blocks("python", body)) >= 1
    assert re.search(rf"--format \S*\b{name}\b", "".join(blocks("sh", body)))
    row = re.search(rf"^\| \[`{name}`\]\(#{name}\) \| ([\w ]+) \|", PAGE, re.MULTILINE)
    assert row is not None
    assert row[1] == ("connected part" if name == "crops" else FORMATS[name].scope)
    asked = set(FORMATS[name].options) - {"threshold"}
    assert all(re.search(rf"\b{option}\b", body) for option in asked - {"classes"})
    assert "classes" not in asked or "`classes`" in PAGE


def test_no_section_is_of_a_format_that_is_not_there() -> None:
    assert list(SECTIONS) == list(FORMATS)
    assert all(f"`{name}`" in PAGE for name in ANCHORS)


def test_the_page_of_commands_agrees() -> None:
    """Its table has every format, made once for the same, and links here."""
    assert "(formats.md)" in COMMANDS
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (mask|picture|run) \|", COMMANDS, re.MULTILINE)
    told = {name: scope for names, scope in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == {name: row.scope.replace("data set", "run") for name, row in FORMATS.items()}
