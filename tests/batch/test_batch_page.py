"""docs/batch.md: its blocks run from top to bottom, and its tables name every option, column, format and engine."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from clipseg.batch.columns import schema
from clipseg.batch.data_sets import WRITERS
from clipseg.batch.run_folder import LOG, MANIFEST, RUN_FILE, SUCCESS, SUMMARY
from clipseg.cli import batch, batch_outputs
from clipseg.cli.main import execute
from clipseg.cli.options import GroupedOption

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with seven pictures in `photos`, and without network."""
    (tmp_path / "photos").mkdir()
    for path in sorted((ROOT / "examples" / "scenes").glob("*.png")):
        if ".masks" not in path.name:
            shutil.copy(path, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")  # supervision says so where that is not installed
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # what pycocotools was compiled for
def test_the_blocks_run(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space: dict[str, object] = {}
    for language, name, text in BLOCK.findall(PAGE):
        if name:
            Path(name).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, "batch.md", "exec"), space)
        elif language == "sh":
            for line in text.splitlines():
                capfd.readouterr()
                program, *arguments = shlex.split(line)
                assert program == "clipseg"
                assert execute(arguments) == 0, f"{line}: {capfd.readouterr().err}"
    assert not Path("estimated").exists()
    assert len(list(Path("shards").glob(f"run-*/{SUCCESS}"))) == 1
    assert Path("report.html").is_file()
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.parametrize("command", [batch.begin, batch_outputs.finalize, batch_outputs.report])
def test_every_option_is_described(command: click.Command) -> None:
    for one in command.params:
        if isinstance(one, GroupedOption) and one.group not in ("Model", "Prompts", "Masks"):
            for flag in (*one.opts, *one.secondary_opts):
                assert f"`{flag}" in PAGE, flag


def test_every_column_is_described() -> None:
    table = dict(re.findall(r"^\| (`[\w`, ]+`) \| ([^|]+) \|", PAGE.split("## What comes out")[1], re.MULTILINE))
    told = {name: kind.strip() for names, kind in table.items() for name in re.findall(r"`(\w+)`", names)}
    for field in schema(heatmap=True):
        kind = str(field.type)
        assert told[field.name].startswith("P ") == kind.startswith("list")
        for width in ("string", "int32", "int64", "float", "binary"):
            assert (width in told[field.name]) == (width in kind), field.name


def test_files_and_formats_are_described() -> None:
    for name in (RUN_FILE, MANIFEST, LOG, SUMMARY, SUCCESS):
        assert re.search(rf"^  {re.escape(name)} ", PAGE, re.MULTILINE)
    for to in WRITERS:
        assert re.search(rf"^\| `{to}` \|", PAGE, re.MULTILINE)
    for engine in batch.ENGINES:
        assert f"`--engine {engine}`" in PAGE
