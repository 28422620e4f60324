"""Pictures prepared ahead: in order, by whom, how far, and what ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg import ahead
from clipseg.ahead import ReadAhead, content_of
from clipseg.processing.images import FileContent

MAIN = threading.main_thread()


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("clipseg-ahead")}


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """No thread outlives a test by more than what it is doing just then."""
    yield
    for thread in threads():
        thread.join(5)
    assert not threads()


def taken(coming: ReadAhead[Any]) -> list[Any]:
    found = []
    while (one := coming.take()) is not None:
        found.append(one)
        coming.handed_out()
    return found


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4), st.booleans())
def test_all_come_in_their_order(deferred: list[bool], batch_size: int, listed: bool) -> None:
    sources = [str(n).encode() if is_deferred else n for n, is_deferred in enumerate(deferred)]
    with ReadAhead(sources if listed else iter(sources), int, batch_size) as coming:
        assert taken(coming) == list(range(len(sources)))
        assert coming.take() is None


def test_files_are_prepared_by_other_threads_and_what_is_in_memory_by_this_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes of a")
    seen: dict[str, Any] = {}

    def prepare(source: Any) -> str:
        seen[type(source).__name__] = threading.current_thread()
        return str(source)

    with ReadAhead(iter([str(tmp_path / "a"), bytearray(b"1"), "no such file"]), prepare, 3) as coming:
        content, number, missing = taken(coming)
    assert content == str(FileContent(b"bytes of a", str(tmp_path / "a")))
    assert (number, missing) == ("bytearray(b'1')", "no such file")
    assert seen["FileContent"] is not MAIN
    assert seen["bytearray"] is seen["str"] is MAIN
    with ReadAhead([str(tmp_path / "a"), b"1"], prepare, 3) as coming:
        assert taken(coming) == [str(tmp_path / "a"), "b'1'"], "of a list a thread reads the file as well"
    assert seen["str"] is not MAIN


def test_one_picture_costs_no_thread() -> None:
    with ReadAhead([b"1"], lambda _: threading.current_thread(), 8) as coming:
        assert taken(coming) == [MAIN]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_how_far_it_reads(batch_size: int) -> None:
    pulled, by = [], set()

    def sources() -> Iterator[bytes]:
        for number in range(100):
            pulled.append(number)
            by.add(threading.current_thread())
            yield b"%d" % number

    with ReadAhead(sources(), int, batch_size) as coming:
        assert not pulled
        for number in range(5):
            assert coming.take() == number
            assert len(pulled) == batch_size + 1 + number
            coming.handed_out()
    assert by == {MAIN}
    assert len(pulled) == batch_size + 1 + 5

    begun = []
    with ReadAhead([b"%d" % number for number in range(100)], lambda one: begun.append(one) or one, 3) as coming:
        assert coming.take() == b"0"
        time.sleep(0.05)
        assert len(begun) <= 6, "those that are worked on, and as many again"


def test_files_that_are_written_anew_for_each_picture(tmp_path: Path) -> None:
    path = tmp_path / "frame"

    def frames() -> Iterator[Path]:
        for number in range(6):
            path.write_text(str(number))
            yield path
            path.unlink()

    def prepare(source: FileContent) -> bytes:
        time.sleep(0.01)
        return source.content

    with ReadAhead(frames(), prepare, 2) as coming:
        assert taken(coming) == [b"%d" % number for number in range(6)]


def test_what_is_no_small_file_is_left_to_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert content_of(tmp_path / "a") == FileContent(b"12345", str(tmp_path / "a"))
    monkeypatch.setattr(ahead, "LARGEST_FILE", 4)
    for path in (tmp_path / "a", tmp_path, tmp_path / "none", "a\0b", "http://127.0.0.1/a.jpg"):
        assert content_of(path) is None


def test_errors_come_in_their_turn() -> None:
    def sources() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise LookupError("the third")

    with ReadAhead(sources(), int, 8) as coming:
        assert coming.take() == 1
        assert coming.take_if(lambda one: one == 1) is None
        assert coming.take_if(lambda one: one == 2) == 2
        assert coming.take_if(lambda _: True) is None
        with pytest.raises(LookupError, match="the third"):
            coming.take()
    with ReadAhead([b"1", b"no number", b"3"], int, 8) as coming:
        assert coming.take() == 1
        with pytest.raises(ValueError, match="no number"):
            coming.take()


def test_leaving_waits_for_nobody() -> None:
    go_on, begun = threading.Event(), []

    def prepare(source: bytes) -> bytes:
        begun.append(source)
        go_on.wait(10)
        return source

    before = time.monotonic()
    with ReadAhead([b"%d" % number for number in range(50)], prepare, 8) as coming:
        coming._fill()
    assert time.monotonic() - before < 5
    go_on.set()
    for thread in threads():
        thread.join(5)
    assert len(begun) <= ahead.MOST_THREADS, "none was begun after that"


def test_what_a_list_has_in_memory_is_prepared_in_its_turn() -> None:
    begun = []
    with ReadAhead(list(range(1, 9)), lambda one: begun.append(one) or one, 2) as coming:
        assert coming.take() == 1
        assert begun == [1]
        assert coming.take_if(lambda one: one == 3) is None
        assert begun == [1, 2]
        assert taken(coming) == list(range(2, 9))
        assert begun == list(range(1, 9)), "each once"
