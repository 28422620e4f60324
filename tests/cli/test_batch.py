"""`clipseg batch` and its commands, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from clipseg.batch import engine
from clipseg.batch.progress import Progress
from clipseg.cli import batch
from clipseg.cli.options import GroupedCommand
from clipseg.prompting.prompt_files import save_prompts
from clipseg.prompting.prompts import EmbeddingPrompt


@pytest.fixture
def photos(draw) -> Path:
    for number in range(5):
        draw(f"in/{number}.png", (40 + number, 30))
    return Path("in")


@pytest.fixture
def begin(call, photos, model):
    """`begin(*options)` -> what `clipseg batch in -o out …` did."""
    return lambda *options: call("batch", photos, "-o", "out", "--model", model, "--min-free", 0, *options)


def test_it_runs_and_goes_on_and_tells_a_line(begin):
    first, again = begin("-p", "a cat", "-p", "NOT a cat"), begin("-p", "a cat", "-p", "NOT a cat")
    assert (first.code, first.err) == (again.code, again.err) == (0, "")
    (record,) = first.records
    assert record == {**record, "finished": True, "pictures": 5, "done": 5, "errors": 0}
    assert Path(record["run"], "_SUCCESS").is_file()
    assert again.records == [record]


def test_pictures_that_are_not_there_are_told_before_a_model_is_sought(call, tmp_path):
    outcome = call("batch", "nowhere", "-o", "out", "--model", "neither-here", "-p", "a cat")
    assert outcome.code == 8
    assert "there is no folder or file" in outcome.error


def test_other_prompts_are_refused_by_name(begin):
    begin("-p", "a cat")
    outcome = begin("-p", "a remote control")
    assert outcome.code == 5
    assert "differing are prompts ('a cat' there, 'a remote control' here)" in outcome.error


def test_options_of_masks_and_prompts_reach_the_run(begin, model):
    save_prompts("own.safetensors", [EmbeddingPrompt([0.1] * 8, "own")])
    outcome = begin(
        *("-p", "a cat", "--prompt-file", "own.safetensors", "-n", "a remote", "--threshold", "0.6", "--fill-holes"),
        *("--combine", "mean", "--fit", "tile", "--tile", "60%", "--limit", 3, "--heatmap", "--rows-per-part", 2),
        *("--batch-size", 1, "--dtype", "float32"),
    )
    assert outcome.code == 0
    settings = json.loads(Path(outcome.records[0]["run"], "run.json").read_text())["settings"]
    expected = {
        "combine": "mean", "fit": "tile", "tile": "60%", "limit": 3, "heatmap": True, "rows_per_part": 2,
        "batch_size": 1, "dtype": "float32", "mask": {"threshold": 0.6, "fill_holes": True}, "model": str(model),
    }  # fmt: skip
    assert expected.items() <= settings.items()
    assert [one["label"] for one in settings["prompts"]] == ["a cat", "own"]
    assert [one["label"] for one in settings["negative"]] == ["a remote"]


def test_status(begin, call):
    begin("-p", "a cat", "--rows-per-part", 2, "--shard", "1/2")
    outcome = call("batch", "status", "out")
    assert outcome.code == 0
    (record,) = outcome.records
    assert (record["pictures"], record["done"], record["parts_done"], record["finished"]) == (5, 2, 1, False)
    assert call("batch", "status", "nowhere").code == 8


def test_retry(begin, call, photos):
    whole = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(b"")
    assert begin("-p", "a cat").records[0]["errors"] == 1
    (photos / "2.png").write_bytes(whole)
    outcome = call("batch", "retry", "out", "--min-free", 0)
    assert (outcome.code, outcome.records[0]["errors"]) == (0, 0)


def test_too_many_errors(begin, photos):
    for number in range(3):
        (photos / f"{number}.png").write_bytes(b"")
    outcome = begin("-p", "a cat")
    assert outcome.code == 8
    assert "3 of 5 pictures could not be done, and allowed are 50.0%" in outcome.error
    assert begin("-p", "a cat", "--max-error-rate", "0.6").records[0]["errors"] == 3


def test_a_dry_run_estimates_and_writes_nothing(begin):
    outcome = begin("-p", "a cat", "--dry-run", "--workers", 2)
    assert outcome.code == 0
    (record,) = outcome.records
    assert (record["pictures"], record["parts"], record["sample"], record["errors"]) == (5, 1, 5, 0)
    assert record["seconds"] == pytest.approx(5 / (2 * record["per_second"]), abs=0.1)
    assert 1000 < record["bytes"] < 100_000
    assert not Path("out").exists()


def test_for_a_person(begin, call, terminal_out):
    outcome = begin("-p", "a cat")
    assert outcome.out.endswith(": finished, 5 of 5 pictures, 0 errors\n")
    table = call("batch", "status", "out").out
    assert "prompts" in table
    assert "a cat" in table


def test_progress_is_said_now_and_then(monkeypatch, capsys):
    now = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr(batch.time, "monotonic", lambda: next(now))
    with batch.watching("segmenting") as watcher:
        for done in (1, 2, 3):
            watcher(Progress(1000 * done, 4000, 1, 12.34, 3661.0))
    assert capsys.readouterr().err == "2,000 of 4,000 pictures, 12.3/s, 1:01 h left, 1 error\n"


def test_a_stopped_run_ends_with_the_signals_code(begin, monkeypatch):
    from clipseg.batch import running

    monkeypatch.setattr(running.Stop, "__enter__", lambda stop: stop._ask(15, None) or stop)
    outcome = begin("-p", "a cat")
    assert outcome.code == 143
    assert outcome.records[0] == {**outcome.records[0], "finished": False, "done": 0}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("batch", "in", "-p", "cat"), 2, "Missing option '-o'"),
        (("batch", "in", "-o", "out"), 2, "no prompt given"),
        (("batch", "nothing", "-o", "out", "-p", "cat"), 8, "there is no folder or file"),
        (("batch", "in", "-o", "out", "-p", "cat", "--shard", "4"), 2, "expected i/n"),
        (("batch", "in", "-o", "out", "-p", "cat", "--threshold", "none"), 2, "needs a threshold"),
        (("batch", "in", "-o", "out", "-p", "cat", "--engine", "spark"), 2, "'spark'"),
    ],
)
def test_what_is_refused(call, photos, model, arguments, code, told):
    outcome = call(*arguments, *(("--model", model) if "-o" in arguments else ()))
    assert outcome.code == code
    assert told in outcome.error


def test_help_lists_the_commands_and_all_of_them_are_there(call):
    outcome = call("batch", "--help")
    for name in batch.COMMANDS:
        assert f"\n  {name} " in outcome.out
        command = batch.batch.get_command(click.Context(batch.batch), name)
        assert isinstance(command, GroupedCommand)
        assert call("batch", name, "--help").code == 0
    assert call("batch").out == outcome.out


def test_the_defaults_are_the_librarys():
    assert (batch.ENGINES, batch.MAX_ERROR_RATE, batch.MIN_FREE) == (
        engine.ENGINES,
        engine.MAX_ERROR_RATE,
        engine.MIN_FREE,
    )
