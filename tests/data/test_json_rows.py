"""Rows of JSON with their lines, and where a broken file is broken."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg.data.json_rows import json_lines, json_rows, read_utf8
from clipseg.data.problems import Problems
from clipseg.errors import DataError

LIST = """[
  {"id": 1},
  {"id": 2,
   "of": "[{"}, {"id": 3}

  ,
  {"id": 4}
]
"""


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(path: Path, key: str | None = None) -> list[tuple[int, Any]]:
    return list(json_rows(path, Problems("raise"), key))


def test_a_list(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", LIST)
    assert rows(path) == [(2, {"id": 1}), (3, {"id": 2, "of": "[{"}), (4, {"id": 3}), (7, {"id": 4})]


def test_a_list_under_a_key(tmp_path: Path) -> None:
    text = '{"info": {"rows": [1]}, "other": [[{}], {}],\n "rows":\n[{"id": 1},\n{"id": 2}], "last": [], "end": 1e3}'
    path = written(tmp_path / "a.json", text)
    assert rows(path, "rows") == [(3, {"id": 1}), (4, {"id": 2})]
    assert rows(path, "last") == []
    for key in ("info", "nothing", None):
        with pytest.raises(DataError, match="expected a"):
            rows(path, key)


@pytest.mark.parametrize("text", ["[]", " [ ]\n", "\ufeff[]"])
def test_nothing_in_it(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path / "a.json", text)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("[\n{},\n", 3),
        ("[\n{}\n{}]", 3),
        ("[\n{},\n]", 3),
        ("[\n{}]\n\n[]", 4),
        ('[\n{"a":\n"open}]', 3),
        ('{"rows": [{}],\n"more" 1}', 2),
        ('{"rows": [{}],\nmore: 1}', 2),
        ('{"rows": [{}]\n', 2),
        ('{"rows": [{}],\n}', 2),
    ],
)
def test_broken(tmp_path: Path, text: str, line: int) -> None:
    path = written(tmp_path / "a.json", text)
    with pytest.raises(DataError, match=rf"^{path}:{line}: no JSON at column \d+ \(.+\)$"):
        rows(path, "rows" if text.startswith("{") else None)


def test_rows_before_the_break_are_given(tmp_path: Path) -> None:
    found = json_rows(written(tmp_path / "a.json", "[{},\n{},\n"), Problems())
    assert [next(found), next(found)] == [(1, {}), (2, {})]
    with pytest.raises(DataError, match=r"a\.json:3"):
        next(found)


def test_no_utf8_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json:2: byte 0xe9 is no UTF-8"):
        rows(written(tmp_path / "a.json", '[\n"caf\u00e9"]'.encode("latin-1")))
    with pytest.raises(DataError, match=r"a\.json:1: byte 0xff is no UTF-8"):
        rows(written(tmp_path / "a.json", "[]".encode("utf-16")))
    with pytest.raises(DataError, match="cannot be read"):
        rows(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="cannot be read"):
        list(json_lines(tmp_path, Problems()))
    assert read_utf8(written(tmp_path / "a.txt", b"\xef\xbb\xbfcaf\xc3\xa9\n")) == "caf\u00e9\n"


def test_lists_beyond_all_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="beyond all reason"):
        rows(written(tmp_path / "a.json", "[" + "[" * 200_000))
    problems = Problems()
    assert list(json_lines(written(tmp_path / "a.jsonl", "[" * 200_000), problems)) == []
    assert "beyond all reason" in problems[0].message


def test_what_is_no_object(tmp_path: Path) -> None:
    problems = Problems()
    path = written(tmp_path / "a.json", '[{},\n7,\n"a", {}]')
    assert list(json_rows(path, problems)) == [(1, {}), (3, {})]
    assert [str(problem) for problem in problems] == [
        f"{path}:2: expected an object, got 7",
        f'{path}:3: expected an object, got "a"',
    ]


def test_lines(tmp_path: Path) -> None:
    problems = Problems()
    text = b'\xef\xbb\xbf{"id": 1}\n\n{"id": 2,}\r\n{"id": "\xe2\x80\xa8"}\r\n[3]\n{"id": "\xff"}\n{"id": 6}'
    path = written(tmp_path / "a.jsonl", text)
    assert list(json_lines(path, problems)) == [(1, {"id": 1}), (4, {"id": "\u2028"}), (7, {"id": 6})]
    assert [problem.line for problem in problems] == [3, 5, 6]
    with pytest.raises(DataError, match=rf"^{path}:3: no JSON"):
        list(json_lines(path, Problems("raise")))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(), TREES, max_size=3), max_size=4), st.sampled_from([None, 1]))
def test_anything_comes_back(tmp_path: Path, items: list[Any], indent: int | None) -> None:
    path = written(tmp_path / "a.json", json.dumps(items, indent=indent))
    assert [row for _, row in rows(path)] == items
    wrapped = written(tmp_path / "b.json", json.dumps({"other": items, "rows": items}, indent=indent))
    assert [row for _, row in rows(wrapped, "rows")] == items
    lines = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, items)))
    assert [row for _, row in json_lines(lines, Problems("raise"))] == items


def test_many_rows_are_fast_and_are_not_held(tmp_path: Path) -> None:
    row = json.dumps({"task": "123__4", "phrase": "the small red apple", "Polygons": [[[[1.5, 2.0]] * 8]]})
    path = written(tmp_path / "a.json", "[" + ",\n".join([row] * 100_000) + "]")
    begin = time.perf_counter()
    last = 0
    for line, _ in json_rows(path, Problems()):
        last = line
    assert last == 100_000
    assert time.perf_counter() - begin < 7  # 0.5 s on an idle machine
    small = written(tmp_path / "b.json", "[" + ",\n".join([row] * 4_000) + "]")
    tracemalloc.start()
    for _ in json_rows(small, Problems()):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * small.stat().st_size
