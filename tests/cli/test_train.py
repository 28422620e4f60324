"""`clipseg train`: recipe, overrides and folder reach the loop; its log is the progress."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from clipseg.errors import TrainingError
from clipseg.training import loop
from clipseg.training.config import Recipe
from ready import RECIPE


@pytest.fixture
def recipe(folder) -> Path:
    path = folder / "pebble.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def trained(monkeypatch) -> list[tuple[Recipe, Path]]:
    """Calls of a loop that logs a line and is done."""
    calls: list[tuple[Recipe, Path]] = []

    def train(recipe: Recipe, out: Path) -> Path:
        calls.append((recipe, out))
        loop.log.info('{"step": 20}')
        (out / "model").mkdir(parents=True)
        return out / "model"

    monkeypatch.setattr(loop, "train", train)
    return calls


def test_train(call, recipe, trained) -> None:
    level = loop.log.level
    outcome = call("train", recipe, "seed=7", "stages.0.steps=9")
    assert outcome.code == 0
    assert outcome.records == [{"model": "runs/pebble/model"}]
    assert outcome.err == '{"step": 20}\n'
    ((chosen, out),) = trained
    assert (chosen.seed, chosen.stages[0].steps, out) == (7, 9, Path("runs/pebble"))
    assert loop.log.level == level == logging.NOTSET


def test_out(call, recipe, trained) -> None:
    assert call("train", recipe, "-o", "elsewhere").records == [{"model": "elsewhere/model"}]
    assert Path("elsewhere/model").is_dir()


def test_a_failing_run(call, recipe, monkeypatch) -> None:
    def train(recipe: Recipe, out: Path) -> Path:
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(loop, "train", train)
    outcome = call("train", recipe)
    assert (outcome.code, outcome.error) == (9, "the loss is nan")
    assert not Path("runs").exists()
    assert loop.log.level == logging.NOTSET


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.toml"], 5, "no recipe at nowhere.toml"),
        (["pebble.toml", "seeds=3"], 5, "unknown key 'seeds'; did you mean 'seed'?"),
        (["pebble.toml", "seed"], 5, "has no '='"),
        (["pebble.toml", "-o", "pebble.toml"], 7, "is no folder that can be written into"),
    ],
)
def test_refused(call, recipe, arguments, code, message) -> None:
    outcome = call("train", *arguments)
    assert outcome.code == code
    assert message in outcome.error
    assert not Path("runs").exists()
