"""`clipseg models`: what is here, without a network; fetching and removing; what a model has learned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from clipseg.checkpoints import hub
from clipseg.cli import models

WORDS = [{"name": "cat face", "synonyms": ["cat", "kitty"], "character": "🐱"}, {"name": "door", "synonyms": []}]


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A stand-in for the bundled model's folder."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setitem(hub.BUNDLED, "nano", folder)
    return folder


def test_nothing_is_here_and_nothing_is_asked(call, hub_server, bundled) -> None:
    outcome = call("models")
    assert (outcome.code, outcome.err) == (0, "")
    assert [record["name"] for record in outcome.records] == list(models.KNOWN)
    assert [record["where"] for record in outcome.records] == ["missing", "hub", "hub", "hub"]
    assert [record["megabytes"] for record in outcome.records] == [None, 603, 603, 600]
    assert not [path for _, path in hub_server.requests if "/resolve/" in path]


def test_the_command_asks_the_network_for_nothing(hub_server, tmp_path) -> None:
    environment = {**os.environ, **hub_server.environment(tmp_path)}
    del environment["HF_HUB_DISABLE_TELEMETRY"]
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "clipseg", "models"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(models.KNOWN)
    assert hub_server.requests == []


def test_what_is_here_is_told_with_its_size(call, hub_server, bundled) -> None:
    (bundled / "model.safetensors").write_bytes(bytes(1_500_000))
    hub_server.repositories["CIDAS/clipseg-rd64"] = {"model.safetensors": bytes(2_600_000)}
    hub.find_file("CIDAS/clipseg-rd64", "model.safetensors")
    asked = len(hub_server.requests)
    rows = {record["name"]: (record["where"], record["megabytes"]) for record in call("models", "--json").records}
    assert rows["nano"] == ("bundled", 1.5)
    assert rows["CIDAS/clipseg-rd64"] == ("cached", 2.6)
    assert rows["CIDAS/clipseg-rd16"] == ("hub", 600)
    assert len(hub_server.requests) == asked


def test_only_older_weights_are_cached(call, hub_server) -> None:
    hub_server.repositories["CIDAS/clipseg-rd16"] = {"pytorch_model.bin": bytes(10)}
    hub.find_file("CIDAS/clipseg-rd16", "pytorch_model.bin")
    assert call("models").records[-1]["where"] == "cached"


def test_table_on_a_terminal(call, hub_server, terminal_out) -> None:
    outcome = call("models")
    assert outcome.out.splitlines()[0].split() == ["model", "for", "size", "where"]
    assert "603 MB" in outcome.out


def test_without_a_command_it_lists(call, hub_server) -> None:
    assert call("models", "ls").out == call("models").out == call("models", "--json").out
    assert call("models", "--help").out.startswith("Usage: clipseg models [OPTIONS] COMMAND")


def test_own_models_of_the_hub_are_listed_and_other_kinds_are_not(call, hub_server) -> None:
    for name, kind in (("friend/own", "clipseg"), ("friend/other", "bert")):
        hub_server.repositories[name] = {
            "config.json": json.dumps({"model_type": kind}).encode(),
            "model.safetensors": bytes(700_000),
        }
        hub.find_file(name, "config.json")
        hub.find_file(name, "model.safetensors")
    last = call("models", "ls").records[-1]
    assert (last["name"], last["where"], last["megabytes"]) == ("friend/own", "cached", 0.7)
    assert len(call("models", "ls").records) == len(models.KNOWN) + 1


# -- fetching and removing ---------------------------------------------------------------------------------------------


@pytest.fixture
def published(hub_server, model):
    """The name under which the hub has the small model."""
    hub_server.repositories["friend/small"] = {path.name: path.read_bytes() for path in model.iterdir()}
    return "friend/small"


def test_what_was_fetched_works_offline(call, hub_server, published, draw, monkeypatch) -> None:
    outcome = call("models", "pull", published)
    assert (outcome.code, outcome.err) == (0, "")
    (record,) = outcome.records
    assert (record["name"], record["where"]) == (published, "cached")
    hub_server.requests.clear()
    draw("cat.png")
    assert call("segment", "cat.png", "-p", "cat", "--model", published, "--offline").code == 0
    assert hub_server.requests == []


def test_nothing_is_fetched_for_a_folder(call, hub_server, model) -> None:
    (record,) = call("models", "pull", model).records
    assert record["where"] == "folder"
    assert hub_server.requests == []


def test_fetching_proves_that_it_loads(call, hub_server, published) -> None:
    hub_server.repositories[published]["model.safetensors"] = b"no weights"
    outcome = call("models", "pull", published)
    assert outcome.code == 6
    assert "model.safetensors" in outcome.error
    assert outcome.out == ""


@pytest.mark.parametrize("name", ["friend/nothing", "no model at all"])
def test_what_cannot_be_fetched(call, hub_server, name) -> None:
    outcome = call("models", "pull", name)
    assert outcome.code == 6
    assert name in outcome.error


def test_what_is_removed_is_gone_and_can_be_fetched_again(call, hub_server, published, tmp_path) -> None:
    call("models", "pull", published)
    cache = tmp_path / "hub"
    before = sum(path.lstat().st_size for path in cache.rglob("*") if path.is_file() and not path.is_symlink())
    (planned,) = call("models", "rm", published, "--dry-run").records
    assert planned == {"name": published, "megabytes": round(before / 1e6, 1), "removed": False}
    assert published in {record["name"] for record in call("models").records}
    outcome = call("models", "rm", published)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.records == [{**planned, "removed": True}]
    assert not list(cache.rglob("*small*"))
    assert published not in {record["name"] for record in call("models").records}
    assert call("models", "pull", published).code == 0


def test_a_line_to_read_of_what_was_removed(call, hub_server, published, terminal_out) -> None:
    call("models", "pull", published)
    assert re.fullmatch(r"friend/small: \d+\.\d MB are free\n", call("models", "rm", published).out)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("nano", 2, "nano comes with clipseg"),
        (".", 2, "is the folder ."),
        ("friend/nothing", 6, "friend/nothing is not in the cache"),
        ("../outside", 6, "cannot be a hub id"),
        ("friend/..", 6, "friend/.."),
        ("", 6, "cannot be a hub id"),
    ],
)
def test_what_is_not_removed(call, hub_server, published, name, code, message) -> None:
    call("models", "pull", published)
    outcome = call("models", "rm", published, name)
    assert outcome.code == code
    assert message in outcome.error
    assert published in {record["name"] for record in call("models").records}  # all or none


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nano"], "there is no command 'nano'"), (["pul", "x"], "did you mean 'pull'?"), (["rm"], "Missing argument")],
)
def test_commands_that_there_are_not(call, hub_server, arguments, message) -> None:
    outcome = call("models", *arguments)
    assert outcome.code == 2
    assert message in outcome.error


# -- names -------------------------------------------------------------------------------------------------------------


def test_vocabulary(call, bundled) -> None:
    (bundled / "vocabulary.json").write_text(json.dumps(WORDS), encoding="utf-8")
    outcome = call("models", "names", "nano")
    assert outcome.records == [WORDS[0], {**WORDS[1], "character": ""}]


def test_vocabulary_as_a_table(call, bundled, terminal_out) -> None:
    (bundled / "vocabulary.json").write_text(json.dumps(WORDS), encoding="utf-8")
    assert "cat, kitty" in call("models", "names", "nano").out
    assert call("models", "names", "nano", "--json").records[0] == WORDS[0]


def test_a_folder_without_a_vocabulary(call, model) -> None:
    outcome = call("models", "names", model)
    assert outcome.code == 6
    assert "has no vocabulary.json that can be read (No such file or directory)" in outcome.error


def test_a_model_of_the_hub_has_none(call, hub_server) -> None:
    outcome = call("models", "names", "CIDAS/clipseg-rd64-refined")
    assert outcome.code == 6
    assert "free phrases" in outcome.error
    assert hub_server.requests == []


@pytest.mark.parametrize("content", ["{", "[1]", '{"name": 3}', '[{"name": "x"}]', "7", '[["name", "synonyms"]]'])
def test_a_broken_vocabulary(call, bundled, content: str) -> None:
    (bundled / "vocabulary.json").write_text(content)
    outcome = call("models", "names", "nano")
    assert outcome.code == 6
    assert "is no list of" in outcome.error
