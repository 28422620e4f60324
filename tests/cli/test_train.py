"""`clipseg train`: recipe, overrides and folder reach the trainer; its log is the progress."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import ready
from clipseg.errors import TrainingError
from clipseg.training import distributed, loop, run
from clipseg.training.stepping import NotFiniteError
from ready import RECIPE
from small_runs import weights
from square_samples import Squares


@pytest.fixture
def recipe(folder) -> Path:
    path = folder / "pebble.toml"
    path.write_text(RECIPE)
    return path


class FakeTrainer:
    """A trainer that logs a line and is done."""

    calls: list[dict[str, Any]]
    result: Any = None

    def __init__(self, recipe: Any, out: Path, **options: Any) -> None:
        self.out = Path(out)
        self.calls.append({"recipe": recipe, "out": self.out, **options})

    def fit(self, resume: Any) -> Path | None:
        self.calls[-1]["resume"] = resume
        if isinstance(self.result, Exception):
            raise self.result
        loop.log.info('{"step": 20}')
        (self.out / "checkpoints").mkdir(parents=True)
        return None if self.result == "stopped" else self.out / "model"


@pytest.fixture
def trained(monkeypatch) -> list[dict[str, Any]]:
    """Calls of a trainer that does nothing."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(FakeTrainer, "calls", calls, raising=False)
    monkeypatch.setattr(run, "trainer_of", FakeTrainer)
    return calls


def test_train(call, recipe, trained) -> None:
    level = loop.log.level
    outcome = call("train", recipe, "seed=7", "stages.0.steps=9")
    assert outcome.code == 0
    assert outcome.records == [{"model": "runs/pebble/model"}]
    assert outcome.err == '{"step": 20}\n'
    (made,) = trained
    assert (made["recipe"].seed, made["recipe"].stages[0].steps) == (7, 9)
    assert (made["out"], made["resume"], made["device"]) == (Path("runs/pebble"), "auto", "auto")
    assert (made["tensorboard"], made["watcher"]) == (False, None)
    assert loop.log.level == level == logging.NOTSET


def test_options(call, recipe, trained) -> None:
    call("train", recipe, "-o", "a", "--no-resume", "--device", "cpu", "--tensorboard")
    call("train", recipe, "-o", "b", "--resume")
    assert [made["resume"] for made in trained] == [False, True]
    assert (trained[0]["device"], trained[0]["tensorboard"]) == ("cpu", True)
    assert trained[1]["out"] == Path("b")


def test_a_run_that_was_told_to_stop(call, recipe, trained, monkeypatch) -> None:
    monkeypatch.setattr(FakeTrainer, "result", "stopped")
    outcome = call("train", recipe)
    assert (outcome.code, outcome.records) == (0, [{"stopped": "runs/pebble"}])


def test_a_failing_run(call, recipe, trained, monkeypatch) -> None:
    monkeypatch.setattr(FakeTrainer, "result", TrainingError("the loss is nan"))
    outcome = call("train", recipe)
    assert (outcome.code, outcome.error) == (9, "the loss is nan")
    assert not Path("runs").exists()
    assert loop.log.level == logging.NOTSET


def test_several_processes(call, recipe, trained, monkeypatch) -> None:
    """They are started with the same command; beginning anew is done once, and not at every restart."""
    launched = []
    monkeypatch.setattr(distributed, "launch", lambda *arguments: launched.append(arguments) or 0)
    (old := Path("out/checkpoints/step-0000003")).mkdir(parents=True)
    outcome = call("train", recipe, "seed=1", "-o", "out", "--processes", "2", "--max-restarts", "5", "--no-resume")
    assert outcome.code == 0
    expected = ["-m", "clipseg", "train", str(recipe), "seed=1", "-o", "out", "--device", "auto"]
    assert launched == [(expected, 2, 5)]
    assert not trained
    assert not old.exists()
    monkeypatch.setattr(distributed, "launch", lambda *_: 9)
    assert call("train", recipe, "--processes", "2").code == 9


def test_only_the_first_process_speaks(call, recipe, trained, monkeypatch) -> None:
    from contextlib import nullcontext

    second = distributed.Processes(1, 2, 1)
    monkeypatch.setattr(distributed, "joined", lambda: nullcontext(second))
    outcome = call("train", recipe)
    assert (outcome.code, outcome.records, outcome.err) == (0, [], "")
    monkeypatch.setattr(FakeTrainer, "result", NotFiniteError("the loss is nan", []))
    outcome = call("train", recipe, "-o", "again")
    assert (outcome.code, outcome.err) == (9, "")


def test_the_list(call) -> None:
    names = {record["recipe"] for record in call("train", "--list").records}
    assert names >= {"rd64", "rd64-refined", "rd16", "nano"}


def test_a_dry_run(call, recipe, trained) -> None:
    (record,) = call("train", recipe, "--dry-run", "seed=5").records
    assert record["recipe"]["seed"] == 5
    assert record["recipe"]["stages"][1]["batch"] == 2
    assert record["cost"]["steps"] == 11
    assert record["cost"]["samples"] == 22
    assert record["cost"]["multiply_adds"] > 1e5
    assert not trained
    assert not Path("runs").exists()


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a recipe; `clipseg train --list` shows"),
        (["nowhere.toml"], 5, "no recipe at nowhere.toml"),
        (["rd46"], 5, "no recipe is named 'rd46'; did you mean 'rd64'?"),
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


def test_from_data_to_a_model(call, folder, monkeypatch) -> None:
    """The whole way: a recipe that starts from a folder, a data set by its kind, a model folder."""
    ready.folder(folder / "begin")
    monkeypatch.setattr(run, "open_dataset", lambda kind, root, options: Squares(6, **options))
    Path("mine.toml").write_text(
        'name = "mine"\nsaved_as = "float32"\nworkers = 0\n[model]\nstart = "begin"\ndecoder = "kept"\n'
        "[[stages]]\ntask = 'prompted'\nsteps = 2\nbatch = 2\nlr = 1e-3\nsize = 32\n[data]\nkind = 'own'\nroot = 'x'\n"
    )
    outcome = call("train", "mine.toml", "steps=3", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.records == [{"model": "runs/mine/model"}]
    assert json.loads(outcome.err.splitlines()[-1])["step"] == 3
    assert weights(Path("runs/mine")).keys() == ready.model().state_dict().keys()
