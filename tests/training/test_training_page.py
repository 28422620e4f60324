"""docs/training.md says what there is: every key of a recipe with its default, every recipe, every kind of data."""

import dataclasses
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from clipseg.data.table import DATASETS
from clipseg.training.recipes import (
    DataRecipe,
    ModelRecipe,
    Recipe,
    Settings,
    StartModel,
    TowerRecipe,
    read_recipe,
    shipped_recipes,
)
from clipseg.training.stages import Optimisation, PromptedStage, Stage

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
TABLES = [
    re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", table, flags=re.MULTILINE)
    for table in re.findall(r"^\| Key \| Default \| Meaning \|\n(?:\|.*\n)+", PAGE, flags=re.MULTILINE)
]
RECORDS = {  # in the order of the page; without what a base has
    Settings: object, Recipe: Settings, StartModel: object, ModelRecipe: object, TowerRecipe: object,
    Optimisation: object, PromptedStage: Optimisation, Stage: Optimisation, DataRecipe: object,
}  # fmt: skip


def shown(field):
    """A field -> its default as the page writes it."""
    if field.default is dataclasses.MISSING:
        return "needed" if field.default_factory is dataclasses.MISSING else ""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return "" if value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize(
    ("record", "table"), list(zip(RECORDS, TABLES, strict=True)), ids=lambda x: getattr(x, "__name__", "")
)
def test_every_key_is_there_with_its_default(record, table):
    base = RECORDS[record]
    above = {field.name for field in dataclasses.fields(base)} if base is not object else set()
    expected = {field.name: shown(field) for field in dataclasses.fields(record) if field.name not in above}
    assert {name: default.strip() for name, default, _ in table} == expected
    assert all(meaning.strip("? ") for _, _, meaning in table)


def test_every_recipe_and_every_kind_of_data():
    recipes = dict(re.findall(r"^\| \[`([\w-]+)`\]\(\.\./recipes/\1\.toml\) \| (.*) \|$", PAGE, flags=re.MULTILINE))
    assert recipes == shipped_recipes()
    kinds = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]*) \|$", PAGE, flags=re.MULTILINE))
    assert kinds == {kind: row.about for kind, row in DATASETS.items()}


def test_its_commands_name_recipes_and_keys():
    commands = re.findall(r"clipseg train (\w[\w.-]*)((?: [\w.]+=\S+)*)", PAGE)
    assert len(commands) >= 5
    for name, overrides in commands:
        if name not in ("my.toml",):
            read_recipe(name, overrides.split())


def test_its_python_runs(monkeypatch, tmp_path, installed_pictograms):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, flags=re.MULTILINE)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    printed = io.StringIO()
    with torch.random.fork_rng(), redirect_stdout(printed):
        exec(compile(code, "training.md", "exec"), {})
    assert printed.getvalue().splitlines() == promised
