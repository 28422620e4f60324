import json
from pathlib import Path

import pytest

from clipseg.errors import DataError, OutputError
from clipseg.formats.files import WholeFile, append_line, json_text, read_json, read_text, write_text


def test_a_file_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with WholeFile(path) as file:
        assert file.write(b"one") == 3
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_nothing_changes_where_a_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), WholeFile(path) as file:  # noqa: PT012 - what was written must be gone
        file.write(b"new")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [write_text, append_line])
def test_places_that_hold_no_file(tmp_path: Path, write) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "folder", tmp_path / "a\0b"):
        with pytest.raises(OutputError, match="cannot be written"):
            write(path, "text")


def test_lines_are_added(tmp_path: Path) -> None:
    for line in ("one", "zwölf"):
        append_line(tmp_path / "new" / "list", line)
    assert read_text(tmp_path / "new" / "list") == "one\nzwölf\n"


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(DataError, match="cannot be read"):
        read_text(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_text(path)
    path.write_text('{"a":\n1,}')
    with pytest.raises(DataError, match=r"file is not readable as JSON \(.*line 2"):
        read_json(path)
    path.write_bytes('\ufeff{"ä": 1}'.encode())
    assert read_json(path) == {"ä": 1}


def test_json_of_odd_names() -> None:
    assert json_text({"a": "ä\n"}) == '{"a": "ä\\n"}'
    odd = "caf\udce9.jpg"  # what Python makes of a name that is no UTF-8
    assert json.loads(json_text([odd]).encode()) == [odd]
