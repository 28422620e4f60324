"""Folders and stores answer alike; what is written is there whole or not at all."""

from __future__ import annotations

import fsspec
import pytest

from clipseg.batch import storage
from clipseg.batch.storage import LocalStorage, RemoteStorage, storage_of
from clipseg.errors import DataError, OutputError, UsageError


@pytest.fixture(params=["local", "remote"])
def place(request, tmp_path):
    if request.param == "local":
        yield storage_of(tmp_path / "out")
        return
    yield storage_of("memory://bucket/out")
    fsspec.filesystem("memory").rm("/", recursive=True)


def test_a_folder_and_a_store_answer_alike(place):
    assert place.names() == []
    assert not place.exists("run/parts")
    place.write("run/parts/b", b"first")
    place.write("run/parts/b", b"second")
    place.write("run/parts/a", b"other")
    place.write("run/c", b"")
    assert place.names("run/parts") == ["a", "b"]
    assert place.names("run") == ["c", "parts"]
    inside = place.below("run")
    assert inside.root == place.at("run")
    assert (inside.read("parts/b"), inside.exists("c"), inside.exists("d")) == (b"second", True, False)
    with inside.open("parts/b") as file:
        file.seek(3)
        assert file.read() == b"ond"
    with pytest.raises(DataError, match="cannot be read"):
        inside.read("parts/none")


def test_lines_are_appended(place):
    place.write("there", b"")
    place.append("log", "one\n")
    place.append("log", "two\n")
    place.flush()
    assert place.read("log") == b"one\ntwo\n"


def test_lines_of_a_store_are_written_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(storage.time, "monotonic", lambda: now[0])
    place = RemoteStorage("memory://bucket/out")
    place.append("log", "one\n")
    assert not place.exists("log")
    now[0] = 31
    place.append("log", "two\n")
    assert place.read("log") == b"one\ntwo\n"
    fsspec.filesystem("memory").rm("/", recursive=True)


def test_a_folder_knows_how_much_is_free_and_a_store_does_not(tmp_path):
    assert (LocalStorage(tmp_path).free() or 0) > 0
    assert LocalStorage(tmp_path / "none").free() is None
    assert RemoteStorage("memory://bucket").free() is None


def test_unfinished_files_are_tidied_away_and_no_others(tmp_path):
    for name in (".part-1.parquet.abc.tmp", "part-1.parquet", ".keep"):
        (tmp_path / name).touch()
    LocalStorage(tmp_path).tidy("")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".keep", "part-1.parquet"]


def test_what_cannot_be_written_or_opened(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        LocalStorage(tmp_path / "file").write("a", b"")
    with pytest.raises(OutputError, match="cannot be written"):
        LocalStorage(tmp_path / "none").append("log", "line")
    with pytest.raises(UsageError, match="nosuchstore://bucket cannot be opened"):
        storage_of("nosuchstore://bucket")
    place = RemoteStorage("memory://bucket")

    def refuse(*_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(place._files, "pipe_file", refuse)
    with pytest.raises(OutputError, match=r"memory://bucket/a cannot be written \(Access Denied\)"):
        place.write("a", b"")
