"""Every command and snippet of the README runs, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("clipseg ")]
TARGETS = [line.split()[1] for line in SHELL if line.startswith("make ")]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder in which the README's paths hold, and what is written stays out of the repository."""
    for name in ("examples", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) >= 1
    assert len(COMMANDS) >= 2
    assert TARGETS == ["demo"]
    assert {language for language, _ in BLOCKS} <= {"python", "sh"}


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(number: int, clone: Path) -> None:
    run([sys.executable, "-W", "error", "-c", PYTHON[number]], clone)
    assert (clone / "overlay.png").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, clone: Path, request: pytest.FixtureRequest) -> None:
    arguments = shlex.split(command)[1:]
    if arguments[0] == "evaluate":
        request.getfixturevalue("installed_pictograms")
        arguments[arguments.index("--scenes") + 1] = "2"
    run([sys.executable, "-W", "error", "-m", "clipseg", *arguments], clone)
    if arguments[0] == "segment":
        names = {"one.a-cactus.mask.png", "one.an-onion.mask.png", "one.overlay.png"}
        assert {path.name for path in (clone / "out").iterdir()} == names


@pytest.mark.parametrize("target", [*TARGETS, "test", "check"])
def test_make_target(target: str) -> None:
    """The target exists; running it is what continuous integration does."""
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


def test_links_and_pictures_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name} points at {link}"
