"""A function in several processes: the order of its values, few of them ahead, errors in their turn."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from clipseg.batch.processes import TOGETHER, in_order


def _square(number: int) -> int:
    if number == 70:
        raise ValueError("seventy")
    return number * number


def _process(_number: int) -> int:
    return os.getpid()


def counted(most: int, taken: list[int]) -> Iterator[int]:
    for number in range(most):
        taken.append(number)
        yield number


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_errors(workers: int) -> None:
    results = in_order(_square, counted(100, []), workers)
    for number in range(TOGETHER * 2):  # 64: what comes before the error's own lot
        assert next(results) == number * number
    with pytest.raises(ValueError, match="seventy"):
        list(results)


def test_processes_are_others_and_memory_is_flat() -> None:
    taken: list[int] = []
    results = in_order(_process, counted(10_000, taken), 2)
    assert next(results) != os.getpid()
    assert len(taken) <= 6 * TOGETHER
    results.close()  # type: ignore[attr-defined]
    assert list(in_order(_process, [1, 2])) == [os.getpid()] * 2
