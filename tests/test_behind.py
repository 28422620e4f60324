"""What is done behind, in a thread of its own: in order, bounded, and ended by what ends the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from clipseg.behind import StoppedError, following
from clipseg.errors import OutputError

Stopped = Callable[[], bool]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("clipseg-")]


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    yield
    end = time.monotonic() + 5
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert threads() == []


@pytest.mark.parametrize("most", [0, 1, 3])
def test_results_come_in_order(most: int) -> None:
    done: list[int] = []

    def call(number: int, _stopped: Stopped) -> int:
        time.sleep(0.002 * (number % 3))
        done.append(number)
        return number

    assert list(following((partial(call, number) for number in range(9)), most)) == list(range(9)) == done


def test_no_more_than_so_many_wait() -> None:
    go_on, made = threading.Event(), []

    def calls() -> Iterator[Callable[[Stopped], bool]]:
        for number in range(9):
            made.append(number)
            if number == 2:  # one is under way and one waits: whoever makes a third is about to wait for the first
                threading.Timer(0.1, lambda: waited.append(len(made)) or go_on.set()).start()
            yield lambda _stopped: go_on.wait(5)

    waited: list[int] = []
    assert list(following(calls(), 2)) == [True] * 9
    assert waited == [3]


def test_after_a_failure_nothing_is_begun() -> None:
    done: list[int] = []

    def call(number: int, _stopped: Stopped) -> None:
        if number == 2:
            raise OutputError("the disk is full")
        done.append(number)

    with pytest.raises(OutputError, match="full"):
        list(following((partial(call, number) for number in range(9)), 3))
    assert done == [0, 1]


def test_what_came_before_an_error_is_done() -> None:
    done: list[int] = []

    def calls() -> Iterator[Callable[[Stopped], None]]:
        for number in range(3):
            yield lambda _stopped, number=number: done.append(number)
        raise MemoryError

    with pytest.raises(MemoryError):
        list(following(calls(), 3))
    assert done == [0, 1, 2]


def test_an_interrupt_stops_what_is_under_way() -> None:
    begun = threading.Event()

    def long(stopped: Stopped) -> None:
        begun.set()
        while not stopped():
            time.sleep(0.001)
        raise StoppedError

    def calls() -> Iterator[Callable[[Stopped], None]]:
        yield long
        begun.wait(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(following(calls(), 2))
