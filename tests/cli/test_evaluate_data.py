"""`clipseg evaluate --task …` on every data set as it lies on disk, and docs/evaluation.md."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import class_set_files
import own_data_files
from clipseg.cli import evaluate as command
from clipseg.data.lvis import GROUPS
from clipseg.data.pascal import UNSEEN
from clipseg.evaluation import options, tallies
from clipseg.evaluation.data_sets import PROTOCOLS
from phrasecut_files import write_all_splits

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = re.search(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1].splitlines()
MODEL = "CIDAS/clipseg-rd64-refined"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the page names."""
    root = tmp_path_factory.mktemp("data")
    write_all_splits(root / "PhraseCut")
    class_set_files.write_pascal5i(root / "Pascal5i")
    class_set_files.write_coco20i(root / "COCO20i", fold=3)
    class_set_files.write_voc(root / "VOC2012")
    class_set_files.write_lvis(root / "LVIS")
    own_data_files.csv(root / "mine")
    return root


@pytest.fixture
def here(data: Path, folder: Path) -> Path:
    for place in data.iterdir():
        (folder / place.name).symlink_to(place)
    return folder


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_page(line: str, call, here: Path, model: Path, request) -> None:
    if "scenes" in line:
        request.getfixturevalue("installed_pictograms")
    outcome = call(*shlex.split(line.replace(MODEL, str(model)))[1:], "--limit", "20")
    assert outcome.code == 0, outcome.err
    (record,) = outcome.records
    out = here / record.pop("report")
    saved = json.loads((out / "report.json").read_text("utf-8"))
    assert record["samples"] > 0
    assert {name: saved[name] for name in record} == record
    assert saved["settings"]["paper"] is ("--paper" in line)
    for name in record:
        if name not in ("task", "model", "samples", "skipped", "threshold", "paper"):
            bare = re.sub(r"(_best(_threshold)?|_unseen|_harmonic)$", "", name)
            assert f"`{bare}" in PAGE or f"`{name}" in PAGE, f"{name} is not defined"
    for path in out.iterdir():
        assert f"`{path.name}`" in PAGE


def test_python_on_the_page(here: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "evaluation.md", "exec"), names)
    assert (here / "out" / "mine" / "report.md").is_file()


def test_the_page_names_what_there_is() -> None:
    assert tuple(options.TASKS) == command.TASKS
    assert set(command.KINDS) == set(PROTOCOLS)
    assert tuple(map(str, UNSEEN)) == command.UNSEEN
    assert tuple(GROUPS) == command.GROUPS
    for name in options.TASKS:
        assert f"| `{name}` |" in PAGE
    assert str(len(tallies.FINE_THRESHOLDS) + 1) in PAGE


def test_a_table_on_a_terminal(call, here: Path, model: Path, terminal_out) -> None:
    outcome = call("evaluate", model, "--task", "referring", "--data", "mine")
    assert outcome.out.splitlines()[0].split() == ["figure", "value"]
    assert "iou per sample mean" in outcome.out
    assert "evaluation/referring" in outcome.err


def test_words_or_examples(call, here: Path, model: Path) -> None:
    asked = {}
    for flags in ((), ("--text",), ("--example",)):
        call("evaluate", model, "--task", "one-shot", "--data", "Pascal5i", *flags, "-o", "out", "--seed", 3)
        asked[flags] = json.loads(Path("out/report.json").read_text("utf-8"))
    assert asked[()]["iou_cumulative"] == asked["--example",]["iou_cumulative"]
    assert {flags: report["settings"]["prompt"] for flags, report in asked.items()} == {
        (): "example", ("--text",): "text", ("--example",): "example",
    }  # fmt: skip
    assert asked["--text",]["settings"]["templates"] == "photo"
    assert asked["--text",]["settings"]["seed"] == 3


def test_two_processes_of_torchrun(call, here: Path, model: Path, monkeypatch) -> None:
    """One of them in this process; torchrun would start both with these variables."""
    arguments = ("evaluate", str(model), "--task", "referring", "--data", "PhraseCut", "--split", "train")
    (alone,) = call(*arguments, "-o", "alone").records
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    command_line = [sys.executable, "-m", "clipseg", *arguments, "-o", "together"]
    other = subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    monkeypatch.setenv("RANK", "0")
    outcome = call(*arguments, "-o", "together")
    said = other.communicate(timeout=120)
    assert (outcome.code, other.returncode) == (0, 0), (outcome.err, said)
    assert outcome.records == [{**alone, "report": "together"}]
    assert said[0] == "", "one tells for all"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--task", "referring"], 2, "name its folder with --data"),
        (["--task", "referring", "--data", "nowhere"], 8, "there is no folder nowhere"),
        (["--data", "PhraseCut", "--fold", "1"], 2, "--data, --fold has no meaning for synthetic scenes"),
        (["--paper", "-o", "out"], 2, "--paper, --out has no meaning"),
        (["--task", "zero-shot", "--data", "PhraseCut", "--format", "phrasecut"], 2, "voc-zero-shot have"),
        (["--task", "referring", "--data", "PhraseCut", "--fold", "1"], 2, "unknown option 'fold'"),
        (["--task", "referring", "--data", "PhraseCut", "--split", "tset"], 2, "split is 'tset'"),
        (["--task", "one-shot", "--data", "Pascal5i", "--style", "crup"], 2, "did you mean 'crop'"),
        (["--task", "referring", "--data", "mine", "--template", "one"], 2, "'one' is no sentence"),
        (["--task", "referring", "--data", "mine", "-o", "mine/data.csv"], 7, "mine/data.csv"),
    ],
)
def test_refused(call, here: Path, model: Path, arguments, code, message) -> None:
    outcome = call("evaluate", model, *arguments)
    assert outcome.code == code
    assert message in outcome.error
    assert not Path("evaluation").exists()
