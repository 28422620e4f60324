"""The hub's cache, filled by a hub of our own: what it holds, and how it is let go of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clipseg.checkpoints import hub
from clipseg.checkpoints.hub_cache import cache_folder, cached_bytes, cached_names, is_offline, remove_cached
from clipseg.errors import CheckpointNotFoundError, OutputError, UsageError

CONFIG = json.dumps({"model_type": "clipseg"}).encode()


def fetch(hub_server, name: str, config: bytes = CONFIG) -> None:
    hub_server.repositories[name] = {"config.json": config, "model.safetensors": bytes(1000)}
    hub.find_file(name, "config.json")
    hub.find_file(name, "model.safetensors")


def test_an_empty_cache(hub_server, tmp_path) -> None:
    assert cache_folder() == tmp_path / "hub"
    assert cached_names() == []
    assert not is_offline()
    with pytest.raises(CheckpointNotFoundError, match="a/b is not in the cache"):
        cached_bytes("a/b")


@pytest.mark.parametrize("config", [b"{", b"[]", b"{}", b'{"model_type": 3}', b'{"model_type": "clip"}', b"\xff"])
def test_only_models_of_this_kind_are_named(hub_server, config: bytes) -> None:
    fetch(hub_server, "me/other", config)
    fetch(hub_server, "me/mine-x")
    fetch(hub_server, "alone")
    assert cached_names() == ["alone", "me/mine-x"]


def test_all_revisions_go(hub_server, tmp_path) -> None:
    fetch(hub_server, "a/b")
    fetch(hub_server, "a/b", CONFIG + b" ")  # another commit
    fetch(hub_server, "a/c")
    assert cached_bytes("a/b") >= 1000 + 2 * len(CONFIG) + 1
    assert remove_cached("a/b") > 0
    assert cached_names() == ["a/c"]
    assert not list((tmp_path / "hub").rglob("*a--b*"))
    with pytest.raises(CheckpointNotFoundError, match="not in the cache"):
        remove_cached("a/b")
    fetch(hub_server, "a/b")
    assert cached_names() == ["a/b", "a/c"]


def test_only_what_was_fetched_is_removed(hub_server, tmp_path) -> None:
    with pytest.raises(UsageError, match="nano comes with clipseg"):
        remove_cached("nano")
    with pytest.raises(UsageError, match="is the folder"):
        remove_cached(str(tmp_path))
    for name in ("..", "../x", "a/../b", "", "/etc"):
        with pytest.raises((CheckpointNotFoundError, UsageError)):
            remove_cached(name)
    assert tmp_path.is_dir()


def test_what_cannot_be_removed(hub_server, monkeypatch) -> None:
    fetch(hub_server, "a/b")

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OutputError, match=r"cannot be removed \(Permission denied\); remove it by hand"):
        remove_cached("a/b")
