"""Every snippet of docs/migrating.md runs and prints what its comments say; both columns of a pair do the same."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

import ready
import released_layout
from hub_server import HubServer
from released_layout import CLIP, CLIPSEG
from twins import quiet

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
DOCUMENTED = [code for code in SNIPPETS if "transformers" in code]
PAIRS = [(code, SNIPPETS[SNIPPETS.index(code) + 1]) for code in DOCUMENTED]
BETTER = [code for code in SNIPPETS if code not in {part for pair in PAIRS for part in pair}]


def run(code: str) -> dict[str, Any]:
    """Run a snippet and hold what it prints to the comments beside its prints -> its variables."""
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "migrating.md", "exec"), names)
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, flags=re.MULTILINE)
    assert printed.getvalue().splitlines() == promised
    return names


def test_there_is_something_to_run() -> None:
    assert len(PAIRS) == 6
    assert len(BETTER) == 8
    assert PAGE.count("```") == 2 * len(SNIPPETS)


@pytest.mark.parametrize(("documented", "ours"), PAIRS)
def test_only_the_import_changes(documented: str, ours: str) -> None:
    assert ours == re.sub(r"^from transformers\b", "from clipseg", documented, flags=re.MULTILINE)


@pytest.fixture
def kitchen(hub_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures that the page names, and a hub with the models."""
    for seed, name in enumerate(("kitchen.jpg", "jar.jpg")):
        ready.picture(seed, 320, 240).save(tmp_path / name)
    for name in (CLIPSEG, CLIP):
        hub_server.repositories[name] = dict(released_layout.files(name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("documented", "ours"), PAIRS)
def test_both_columns_agree(documented: str, ours: str, kitchen: Path) -> None:
    for name in (CLIPSEG, CLIP):
        documented = documented.replace(name, str(released_layout.write(name, kitchen / name)))
    found = run(ours)
    with quiet():
        expected = run(documented)
    compared = {name: value for name, value in expected.items() if isinstance(value, torch.Tensor)}
    for name, value in compared.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)
    if "answer" in expected:
        assert [entry["label"] for entry in found["answer"]] == [entry["label"] for entry in expected["answer"]]
        scores = [entry["score"] for entry in expected["answer"]]
        assert [entry["score"] for entry in found["answer"]] == pytest.approx(scores, abs=1e-5)
    assert compared or "answer" in expected


@pytest.mark.parametrize("number", range(len(BETTER)))
def test_what_gets_better(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run(BETTER[number])
