"""What follows the model in a thread of its own: in order, bounded, and ended by what ends the command."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from clipseg.behind import StoppedError, following, lone_threads
from clipseg.errors import OutputError

pytestmark = pytest.mark.usefixtures("threads_end")

Stopped = Callable[[], bool]


@pytest.mark.parametrize("most", [0, 1, 3])
def test_results_come_in_order(most: int) -> None:
    done: list[int] = []

    def call(number: int, _stopped: Stopped) -> int:
        time.sleep(0.002 * (number % 3))
        done.append(number)
        return number

    assert list(following((partial(call, number) for number in range(9)), most)) == list(range(9)) == done


def test_several_threads_run_at_once_and_results_keep_their_order() -> None:
    there = threading.Barrier(3)

    def call(number: int, _stopped: Stopped) -> int:
        there.wait(5)
        time.sleep(0.002 * (number % 3))
        return number

    assert list(following((partial(call, number) for number in range(9)), 4, threads=3)) == list(range(9))


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


def test_threads_that_compute_alone() -> None:
    """Each has one thread of torch's for itself, whoever else has how many, and whenever it began."""
    everywhere = torch.get_num_threads()
    found: list[int] = []
    with lone_threads(3, "clipseg-alone") as pool:
        there = threading.Barrier(3)

        def ask() -> int:
            there.wait(5)  # so that all three are asked
            torch.randn(300, 300) @ torch.randn(300, 300)
            return torch.get_num_threads()

        assert [asked.result() for asked in [pool.submit(ask) for _ in range(3)]] == [1, 1, 1]
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert [torch.get_num_threads(), *found] == [everywhere, everywhere]
