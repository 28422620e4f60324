"""A run's folder on its own: checkpoints that are whole or not there, whatever happens while they are written."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from clipseg.errors import ConfigurationError, OutputError
from clipseg.training import run_folder
from clipseg.training.curves import draw_curves
from clipseg.training.run_folder import Checkpoint, Position, RunFolder
from clipseg.training.sheets import Shown, sheet
from small_runs import environment

CONFIGURATION = {"seed": 1, "workers": 2, "stages": [{"lr": 0.1}], "data": {"root": "a", "options": {}}}


def checkpoint(total, stage=0, value=0.0, size=4):
    optimizer = {"optimizer": {"state": {}, "param_groups": []}, "scaler": {}}
    return Checkpoint(Position(stage, total, total), {"w": torch.full((size,), value)}, optimizer, frozen=7)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_what_is_written_is_read(folder):
    folder.save(checkpoint(3, value=0.5), CONFIGURATION)
    found = folder.latest()
    assert (found.position, found.frozen) == (Position(0, 3, 3), 7)
    assert found.weights["w"].tolist() == [0.5] * 4
    assert found.optimizer == checkpoint(3).optimizer
    state = json.loads((folder.checkpoints / "step-0000003" / "state.json").read_text())
    assert state["configuration"] == CONFIGURATION
    assert set(state["versions"]) == {"clipseg", "torch", "python"}


def test_the_last_ones_and_the_best_are_kept(folder):
    for total in (2, 10, 9_999_999, 10_000_000):
        path = folder.save(checkpoint(total), CONFIGURATION)
        if total == 2:
            folder.mark_best(path, Position(0, 2, 2), 0.5)
    folder.prune(2)
    assert [path.name for path in folder.found()] == ["step-0000002", "step-9999999", "step-10000000"]
    assert folder.best().name == "step-0000002"
    assert not folder.is_best(Position(0, 3, 3), 0.5)
    assert folder.is_best(Position(0, 3, 3), 0.6)
    assert folder.is_best(Position(1, 1, 4), 0.1), "another stage has scores of its own"
    assert folder.is_best(Position(0, 1, 1), 0.1), "a run that goes on before it has not seen it"


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["cut short", "a bit", "gone"])
def test_damage_is_noticed(folder, caplog, name, damage):
    folder.save(checkpoint(1, value=1.0), CONFIGURATION)
    path = folder.save(checkpoint(2, value=2.0), CONFIGURATION) / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-7] if damage == "cut short" else bytes([data[0] ^ 64]) + data[1:])
    assert folder.latest().weights["w"].tolist() == [1.0] * 4
    assert "step-0000002 is damaged and passed over" in caplog.text


def test_what_is_under_another_name_is_no_checkpoint(folder):
    folder.save(checkpoint(1), CONFIGURATION)
    folder.checkpoints.joinpath(".step-0000002.part").mkdir()
    assert [path.name for path in folder.found()] == ["step-0000001"]
    folder.save(checkpoint(2), CONFIGURATION)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["step-0000001", "step-0000002"]


def test_a_file_that_may_not_grow_so_large(tmp_path):
    """The system refuses to write on, as on a full disk: the checkpoint before stays, nothing half-written does."""
    code = f"""
import resource, signal, pathlib, torch
from clipseg.errors import OutputError
from clipseg.training.run_folder import Checkpoint, Position, RunFolder
folder = RunFolder(pathlib.Path({str(tmp_path)!r}))
folder.save(Checkpoint(Position(0, 1, 1), {{"w": torch.ones(4)}}, None), {{}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for weights, optimizer in [({{"w": torch.ones(99_999)}}, None), ({{"w": torch.ones(4)}}, {{"m": torch.ones(99_999)}})]:
    try:
        folder.save(Checkpoint(Position(0, 2, 2), weights, optimizer), {{}})
    except OutputError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout.count("step-0000002 cannot be written (") == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000001"]
    assert RunFolder(tmp_path).latest().weights["w"].tolist() == [1.0] * 4


def test_a_file_in_the_place_of_the_folder(folder):
    folder.checkpoints.write_text("in the way")
    with pytest.raises(OutputError, match="step-0000001 cannot be written"):
        folder.save(checkpoint(1), CONFIGURATION)


def test_the_configuration(folder):
    folder.check(CONFIGURATION)  # there is none yet
    folder.claim(CONFIGURATION)
    folder.check({**CONFIGURATION, "workers": 0, "data": {"root": "b", "options": {}}})
    with pytest.raises(ConfigurationError, match=r"differing are seed \(1 there, 2 here\); give another folder"):
        folder.check({**CONFIGURATION, "seed": 2})
    with pytest.raises(ConfigurationError, match=r"stages.0.lr \(0.1 there, 0.2 here\)"):
        folder.check({**CONFIGURATION, "stages": [{"lr": 0.2}]})
    with pytest.raises(ConfigurationError, match=r"stages.1.lr \(None there, 0.1 here\)"):
        folder.check({**CONFIGURATION, "stages": [{"lr": 0.1}] * 2})
    (folder.path / "recipe.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"recipe.json cannot be read"):
        folder.check(CONFIGURATION)


def test_the_log_goes_back_to_where_a_run_goes_on(folder):
    for stage, step in [(0, 1), (0, 2), (1, 1), (1, 2)]:
        folder.write_log({"stage": stage, "step": step})
    with folder.log.open("a") as file:
        file.write('{"stage": 1, "ste')
    folder.rewind_log(Position(1, 1, 3))
    assert folder.entries() == [{"stage": 0, "step": 1}, {"stage": 0, "step": 2}, {"stage": 1, "step": 1}]
    before = folder.log.stat().st_mtime_ns
    folder.rewind_log(Position(1, 1, 3))
    assert folder.log.stat().st_mtime_ns == before, "nothing to drop, nothing is written"


def test_clearing(folder):
    folder.claim(CONFIGURATION)
    folder.save(checkpoint(1), CONFIGURATION)
    (folder.path / "mine.txt").write_text("not of the run")
    folder.clear()
    assert [path.name for path in folder.path.iterdir()] == ["mine.txt"]


def test_sums_are_of_length_and_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abd")
    first, second = run_folder._sum_of(tmp_path / "a"), run_folder._sum_of(tmp_path / "b")
    assert first[0] == second[0] == 3
    assert first[1] != second[1]


# -- pictures of a run -------------------------------------------------------------------------------------------------


def test_curves():
    entries = [{"stage": 0, "step": step, "loss": 1 / step} for step in range(1, 30)]
    entries += [{"stage": 1, "step": 5, "validation": {"iou": 0.5, "bce": 0.1}}]
    drawn = draw_curves(entries, [30, 10])
    assert drawn.size == (720, 520)
    inside = np.asarray(drawn.crop((60, 28, 704, 230)))
    assert (inside == (0x1F, 0x6F, 0xB4)).all(-1).sum() > 100
    assert draw_curves([], [1]).size == drawn.size, "a run without a line"
    draw_curves([{"stage": 0, "step": 1, "loss": float("nan")}, {"stage": 0, "step": 2, "loss": 0.0}], [2])


def test_a_sheet_shows_truth_and_answer():
    truth = torch.zeros(16, 16, dtype=torch.bool)
    truth[:8] = True
    drawn = sheet([Shown("a cup", torch.zeros(3, 16, 16), truth, torch.zeros(16, 16))] * 2)
    assert drawn.size == (400, 20 + 2 * 148)
    picture, true, answered = (drawn.getpixel((4 + column * 132 + 60, 36 + 30)) for column in range(3))
    assert picture == answered
    assert true != picture
    assert true[1] > true[0]
