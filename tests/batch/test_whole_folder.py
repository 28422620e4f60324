"""A folder is whole or not there, whoever writes it and however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipseg.batch.whole_folder import whole_folder
from clipseg.errors import OutputError, UsageError

MARK = "made.json"


def write(path: Path, text: str) -> None:
    with whole_folder(path, MARK) as part:
        assert not any(part.glob("*.txt"))
        (part / "deep").mkdir()
        (part / "deep" / "a.txt").write_text(text)
        (part / MARK).write_text("{}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_replaces_its_like(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write(tmp_path / "set", text)
        assert (tmp_path / "set" / "deep" / "a.txt").read_text() == text
        assert names(tmp_path) == ["set"]
        assert names(tmp_path / "set") == ["deep", MARK]


@pytest.mark.parametrize("kind", [UsageError, OSError, KeyboardInterrupt])
def test_a_failure_changes_nothing_and_passes_unchanged(tmp_path: Path, kind: type[BaseException]) -> None:
    write(tmp_path / "set", "one")

    def fail() -> None:
        with whole_folder(tmp_path / "set", MARK) as part:
            (part / "b.txt").write_text("two")
            raise kind

    with pytest.raises(kind):
        fail()
    assert names(tmp_path) == ["set"]
    assert (tmp_path / "set" / "deep" / "a.txt").read_text() == "one"


def test_what_is_somebody_else_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    (tmp_path / "file").write_text("text")
    for name in ("photos", "file"):
        with pytest.raises(OutputError, match="name another place"):
            write(tmp_path / name, "one")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "one")


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    for _ in range(2):
        with whole_folder(tmp_path / "set", MARK) as part:
            (part / "images").symlink_to(tmp_path / "photos")
            (part / MARK).write_text("{}")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"


def test_two_at_once_and_one_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from clipseg.batch.whole_folder import whole_folder\n"
        f"with whole_folder(Path(sys.argv[1]), {MARK!r}) as part:\n"
        "    (part / 'half.txt').write_text('half'); print('begun', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "set")], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(OutputError, match="being written by another process"):
            write(tmp_path / "set", "two")
        os.kill(other.pid, signal.SIGKILL)
    assert names(tmp_path) == [".set.part"]
    write(tmp_path / "set", "three")
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["deep", MARK]
