"""`clipseg models`: what is here, without a network; what a model has learned."""

from __future__ import annotations

import json
import os
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


def test_vocabulary(call, bundled) -> None:
    (bundled / "vocabulary.json").write_text(json.dumps(WORDS), encoding="utf-8")
    outcome = call("models", "nano")
    assert outcome.records == [WORDS[0], {**WORDS[1], "character": ""}]


def test_vocabulary_as_a_table(call, bundled, terminal_out) -> None:
    (bundled / "vocabulary.json").write_text(json.dumps(WORDS), encoding="utf-8")
    assert "cat, kitty" in call("models", "nano").out
    assert call("models", "nano", "--json").records[0] == WORDS[0]


def test_a_folder_without_a_vocabulary(call, model) -> None:
    outcome = call("models", model)
    assert outcome.code == 6
    assert "has no vocabulary.json that can be read (No such file or directory)" in outcome.error


def test_a_model_of_the_hub_has_none(call, hub_server) -> None:
    outcome = call("models", "CIDAS/clipseg-rd64-refined")
    assert outcome.code == 6
    assert "free phrases" in outcome.error
    assert hub_server.requests == []


@pytest.mark.parametrize("content", ["{", "[1]", '{"name": 3}', '[{"name": "x"}]', "7", '[["name", "synonyms"]]'])
def test_a_broken_vocabulary(call, bundled, content: str) -> None:
    (bundled / "vocabulary.json").write_text(content)
    outcome = call("models", "nano")
    assert outcome.code == 6
    assert "is no list of" in outcome.error
