"""Embeddings kept between runs: found again by the same model alone, and never in anyone's way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ready
from clipseg import Segmenter
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.prompting import prompt_cache
from clipseg.prompting.conditioning import Conditioner
from clipseg.prompting.prompt_cache import VARIABLE, PromptCache, cache_file

PHRASES = ["a cat", "wood", "a red cup"]
WIDTH = 3


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where embeddings are kept in this test."""
    path = tmp_path / "cache" / "prompts.sqlite"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return ready.folder(tmp_path / "model")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The phrases that went through a text encoder."""
    seen: list[str] = []
    encode = Conditioner._encode_texts
    monkeypatch.setattr(Conditioner, "_encode_texts", lambda self, texts: (seen.extend(texts), encode(self, texts))[1])
    return seen


def row(number: float) -> np.ndarray:
    return np.full(WIDTH, number, np.float32)


# -- the file --------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(
        st.lists(st.integers(0, 50_000), min_size=1, max_size=6).map(tuple),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        max_size=8,
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, kept: dict[tuple[int, ...], float]) -> None:
    path = tmp_path_factory.mktemp("cache") / "prompts.sqlite"
    cache = PromptCache(path, b"one")
    assert cache.read(list(kept), WIDTH) == {}
    cache.write({tokens: row(number) for tokens, number in kept.items()})
    found = PromptCache(path, b"one").read([*kept, (60_000,)], WIDTH)
    assert {tokens: vector.tolist() for tokens, vector in found.items()} == {
        t: row(n).tolist() for t, n in kept.items()
    }
    assert PromptCache(path, b"two").read(list(kept), WIDTH) == {}
    assert PromptCache(path, b"one").read(list(kept), WIDTH + 1) == {}


def test_what_is_used_least_makes_room(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 0
    monkeypatch.setattr(prompt_cache, "_hour", lambda: hour)
    monkeypatch.setattr(prompt_cache, "MOST_ROWS", 4)
    cache = PromptCache(file, b"one")
    for number in range(4):
        hour = 100 * number
        cache.write({(number,): row(number)})
    hour = 1000
    assert list(cache.read([(0,)], WIDTH)) == [(0,)]
    cache.write({(4,): row(4), (5,): row(5)})
    assert set(cache.read([(number,) for number in range(6)], WIDTH)) == {(0,), (3,), (4,), (5,)}


def test_the_file_stays_small(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_cache, "MOST_BYTES", 2**18)
    cache = PromptCache(file, b"one")
    for number in range(40):
        cache.write({(number, place): np.zeros(512, np.float32) for place in range(10)})
    assert 2**17 < file.stat().st_size < 2**19
    assert cache.read([(39, 9)], 512)


def test_a_row_that_was_mixed_up_is_not_believed(file: Path) -> None:
    cache = PromptCache(file, b"one")
    cache.write({(1,): row(1), (2,): row(2)})
    with sqlite3.connect(file) as connection:
        connection.execute("update embeddings set vector = (select vector from embeddings order by rowid limit 1)")
    connection.close()
    assert list(cache.read([(1,), (2,)], WIDTH)) == [(1,)]


@pytest.mark.parametrize("damage", ["text", "folder", "cut", "rows", "schema", "busy"])
def test_whatever_is_wrong_it_goes_without(file: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = PromptCache(file, b"one")
    cache.write({(number,): row(number) for number in range(200)})
    if damage == "text":
        file.write_text("no database" * 1000)
    elif damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        with sqlite3.connect(file) as connection:
            if damage == "rows":
                connection.execute("update embeddings set vector = 'x'")
            elif damage == "schema":
                connection.execute("drop table embeddings")
                connection.execute("create table embeddings (other)")
        connection.close()
    busy = sqlite3.connect(file, isolation_level=None) if damage == "busy" else None
    if busy is not None:
        busy.execute("begin exclusive")
    with caplog.at_level(logging.DEBUG, "clipseg"):
        before = time.monotonic()
        found = cache.read([(1,)], WIDTH)
        cache.write({(1,): row(1)})
        assert time.monotonic() - before < 3
    if busy is not None:
        busy.close()
        assert found, "readers do not wait for a writer"
    else:
        assert found == {}
    assert "prompts are not kept in" in caplog.text
    assert all(record.levelno == logging.DEBUG for record in caplog.records)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = PromptCache(tmp_path / "file" / "prompts.sqlite", b"one")
    cache.write({(1,): row(1)})
    assert cache.read([(1,)], WIDTH) == {}


def test_many_at_once(file: Path) -> None:
    code = (
        "import sys, numpy, pathlib\n"
        "from clipseg.prompting.prompt_cache import PromptCache\n"
        "cache = PromptCache(pathlib.Path(sys.argv[1]), b'one')\n"
        "for number in range(30): cache.write({(int(sys.argv[2]), number): numpy.ones(3, numpy.float32)})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(file), str(who)]) for who in range(2)]
    cache = PromptCache(file, b"one")
    threads = [
        threading.Thread(target=lambda who=who: [cache.write({(who, number): row(1)}) for number in range(30)])
        for who in (2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in running] == [0, 0]
    with sqlite3.connect(file) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
        assert connection.execute("select count(*) from embeddings").fetchone()[0] > 0
    connection.close()


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("off", "OFF", "0", "no", "false", " off "):
        monkeypatch.setenv(VARIABLE, word)
        assert cache_file() is None
    monkeypatch.setenv(VARIABLE, "/somewhere/else.sqlite")
    assert cache_file() == Path("/somewhere/else.sqlite")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_file() == Path("/caches/clipseg/prompts.sqlite")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_file() == Path("/home/me/.cache/clipseg/prompts.sqlite")


# -- a segmenter with it ---------------------------------------------------------------------------------------------


def test_the_next_run_needs_no_text_encoder(file: Path, model: Path, encoded: list[str]) -> None:
    first = Segmenter.from_pretrained(model).embed(PHRASES)
    assert encoded == PHRASES
    again = Segmenter.from_pretrained(model)
    again.model.clip.text_model.forward = None  # type: ignore[assignment]
    assert torch.equal(again.embed(["a red cup", *PHRASES]), first[[2, 0, 1, 2]])
    assert encoded == PHRASES
    Segmenter.from_pretrained(model).embed(["wood", "the dog"])
    assert encoded == [*PHRASES, "the dog"]
    assert file.parent.stat().st_mode & 0o777 == 0o700
    data = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert b"a red cup" not in data, "what was asked is nobody's business"


def test_off_nothing_is_kept(model: Path, encoded: list[str]) -> None:
    for _ in range(2):
        Segmenter.from_pretrained(model).embed("wood")
    assert encoded == ["wood", "wood"]


def test_a_model_made_here_keeps_nothing(file: Path, encoded: list[str]) -> None:
    for _ in range(2):
        ready.segmenter().embed("wood")
    assert encoded == ["wood", "wood"]
    assert not file.exists()


@pytest.mark.parametrize("change", ["seed", "edit", "config", "dtype", "tokenizer"])
def test_another_model_is_another(file: Path, model: Path, tmp_path: Path, encoded: list[str], change: str) -> None:
    Segmenter.from_pretrained(model).embed("wood")
    other, options = shutil.copytree(model, tmp_path / "other"), {}
    if change == "seed":
        ready.model(seed=1).save_pretrained(other)
        os.utime(other / "model.safetensors", ns=(0, (model / "model.safetensors").stat().st_mtime_ns))
    elif change == "edit":  # which no sample sees; the file's time does
        edited = ready.model()
        with torch.no_grad():
            edited.clip.text_model.embeddings.token_embedding.weight[300] += 1
        edited.save_pretrained(other)
    elif change == "config":
        text = (other / "config.json").read_text()
        assert '"hidden_act": "quick_gelu"' in text
        (other / "config.json").write_text(text.replace('"hidden_act": "quick_gelu"', '"hidden_act": "gelu"'))
    elif change == "dtype":
        options["dtype"] = "float16"
    loaded = Segmenter.from_pretrained(other, **options)
    if change == "tokenizer":
        vocabulary, merges = json.loads((model / "vocab.json").read_text()), model / "merges.txt"
        vocabulary["w"], vocabulary["x"] = vocabulary["x"], vocabulary["w"]
        loaded.processor.tokenizer = CLIPTokenizer(vocabulary, str(merges), model_max_length=ready.LONGEST)
    loaded.embed("wood")
    assert encoded == ["wood", "wood"]


def test_a_folder_that_was_moved_is_the_same(file: Path, model: Path, tmp_path: Path, encoded: list[str]) -> None:
    Segmenter.from_pretrained(model).embed("wood")
    Segmenter.from_pretrained(model.rename(tmp_path / "moved")).embed("wood")
    assert encoded == ["wood"]


def test_changed_weights_are_kept_nowhere(file: Path, model: Path, encoded: list[str]) -> None:
    Segmenter.from_pretrained(model).embed("wood")
    changed = Segmenter.from_pretrained(model)
    before = changed.embed("wood")
    with torch.no_grad():
        changed.model.clip.text_projection.weight.mul_(2)
    torch.testing.assert_close(changed.embed("wood"), 2 * before)
    changed.embed("the dog")
    Segmenter.from_pretrained(model).embed("the dog")
    assert encoded == ["wood", "wood", "the dog", "the dog"]


def test_weights_that_count_no_writes_are_kept_nowhere(file: Path, model: Path, encoded: list[str]) -> None:
    for _ in range(2):
        with torch.inference_mode():
            made = Segmenter.from_pretrained(model)
        made.embed("wood")
    assert encoded == ["wood", "wood"]


def test_a_phrase_that_is_cut_off_is_told_of_every_time(file: Path, model: Path) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="the rest is cut off"):
            Segmenter.from_pretrained(model).embed(["wood", "a red cup " * 20])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Segmenter.from_pretrained(model).embed("wood")
