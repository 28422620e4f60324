"""What outlives a run, row by row."""

from pathlib import Path

import pytest

from clipseg.errors import OutputError, UsageError
from clipseg.formats.journal import Journal


def opened(path: Path) -> Journal:
    journal = Journal(path, lambda row: row["key"])
    journal.open()
    return journal


def test_the_last_row_of_a_key_counts_in_the_place_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    one = opened(path)
    for key in (1, 2):
        one.add({"key": key, "run": 1})
    with pytest.raises(UsageError, match="2 was added before"):
        one.add({"key": 2})
    one.close(None)
    two = opened(path)
    for key in (3, 1):
        two.add({"key": key, "run": 2})
    assert two.keys == (1, 2, 3)
    assert [row["run"] for row in two.rows()] == [2, 1, 2]
    two.close(f"{row['key']}" for row in two.rows())
    assert path.read_text() == "123"
    assert list(path.parent.iterdir()) == [path]


def test_a_row_without_its_end_is_dropped(tmp_path: Path) -> None:
    (tmp_path / ".file.partial.jsonl").write_text('{"key": 1}\n{"key": 2}')
    journal = opened(tmp_path / "file")
    journal.add({"key": 3})
    journal.close(None)
    assert (tmp_path / ".file.partial.jsonl").read_text() == '{"key": 1}\n{"key": 3}\n'


def test_without_rows_nothing_is_there(tmp_path: Path) -> None:
    opened(tmp_path / "file").close(None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_the_journal(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    journal = opened(tmp_path / "file")
    journal.add({"key": 1})
    with pytest.raises(OutputError):
        journal.close(iter(["x"]))
    assert (tmp_path / ".file.partial.jsonl").read_text() == '{"key": 1}\n'
    with pytest.raises(OutputError, match="cannot be written"):
        opened(tmp_path / ".file.partial.jsonl" / "below").add({"key": 1})
