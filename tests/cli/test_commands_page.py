"""docs/commands.md: its commands run, and it names every option, format, field and exit code."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clipseg import errors
from clipseg.cli import prompt
from clipseg.cli.doctor import SECTIONS
from clipseg.cli.main import COMMANDS
from clipseg.cli.mask_options import DECIDING
from clipseg.cli.options import GroupedOption
from clipseg.masks.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
DESCRIBED = ("segment", "heatmap", "cutout")


def command(name: str) -> click.Command:
    module, attribute, _ = COMMANDS[name]
    return getattr(importlib.import_module(module), attribute)


def test_the_commands_run_in_their_order(call, folder) -> None:
    (folder / "examples").symlink_to(ROOT / "examples")
    assert len(LINES) > 10
    for line in LINES:
        assert line.startswith("clipseg ")
        if "<" in line:
            function = f'clipseg() {{ {shlex.quote(sys.executable)} -m clipseg "$@"; }}; {line}'
            done = subprocess.run(["bash", "-c", function], env={**os.environ, "HF_HUB_OFFLINE": "1"})
            assert done.returncode == 0, line
        else:
            outcome = call(*shlex.split(line)[1:])
            assert (outcome.code, outcome.err) == (0, ""), line
            assert outcome.records, line
    assert Path("cactus.png").stat().st_size > 100
    assert Path("out/one.a-cactus.cutout.png").is_file()


@pytest.mark.parametrize("name", [*DESCRIBED, "video"])
def test_every_option_is_described(name: str) -> None:
    options = [one for one in command(name).params if isinstance(one, GroupedOption) and one.group != "Model"]
    assert len(options) > 25
    for one in options:
        for flag in (*one.opts, *one.secondary_opts):
            assert f"`{flag}" in PAGE, flag


def test_commands_differ_only_in_their_results() -> None:
    flags = {name: {one.name: one for one in command(name).params} for name in DESCRIBED}
    asked = {
        name: {key for key, one in found.items() if getattr(one, "group", "Results") != "Results"}
        for name, found in flags.items()
    }
    deciding = {name for name, row in OPTIONS.items() if row.step in DECIDING}
    assert asked["segment"] == asked["cutout"] == asked["heatmap"] | deciding


def test_fields_and_codes(call, draw, model) -> None:
    draw("cat.png")
    (record,) = call("segment", "cat.png", "-p", "cat", "--model", model).records
    for field in record:
        assert f"| `{field}` |" in PAGE
    codes = {int(code) for row in re.findall(r"^\| (\d[\d, ]*) \|", PAGE, re.MULTILINE) for code in row.split(",")}
    ours = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert codes - ours == {0, 70, 130, 143}
    assert ours - codes == {5, 8, 9}  # of recipes, data sets and training, which these commands have not


def test_prompt_and_doctor_are_described() -> None:
    for part in (prompt.make, prompt.mix):
        for one in part.params:
            if isinstance(one, GroupedOption) and one.group == "Prompts":
                assert f"`{one.opts[-1]}" in PAGE or f"`{one.opts[0]}`" in PAGE, one.opts
    for section in SECTIONS:
        assert f"| `{section}` |" in PAGE
