"""Turns, peaks of memory and of matrix products."""

from __future__ import annotations

import os
import random
import sys

import pytest
import torch

from clipseg.benchmark import memory, peaks
from clipseg.benchmark.memory import in_own_process, peak_megabytes
from clipseg.benchmark.peaks import matrix_peaks
from clipseg.benchmark.timing import interleaved, summary, timed


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # slow where as much is loaded as in a test run


def test_all_take_their_turn_in_every_round() -> None:
    seen: list[str] = []
    state = random.getstate()
    taken = interleaved({name: lambda name=name: seen.append(name) for name in "abc"}, 40)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 40, "b": 40, "c": 40}
    rounds = [tuple(seen[start : start + 3]) for start in range(0, 120, 3)]
    assert all(set(each) == set("abc") for each in rounds)
    assert len(set(rounds)) > 1  # the order is drawn anew
    assert random.getstate() == state


@pytest.mark.parametrize(("least", "most", "seconds", "rounds"), [(2, 9, 0.0, 2), (2, 5, 60.0, 5), (3, None, 0.0, 3)])
def test_rounds_end_with_the_time(least: int, most: int | None, seconds: float, rounds: int) -> None:
    assert len(interleaved({"it": lambda: None}, least, most, seconds)["it"]) == rounds


def test_giving_an_answer_back_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((1.0, 3.5))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert timed(lambda: None) == 2.5


def test_a_summary_has_the_median_and_the_spread() -> None:
    assert summary([3.0, 1.0, 2.0]) == {"median": 2.0, "lowest": 1.0, "highest": 3.0, "seconds": [3.0, 1.0, 2.0]}


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that tells")
def test_the_peak_counts_what_is_gone_at_the_end() -> None:
    def call() -> int:
        return len(bytearray(os.urandom(1) * 80_000_000)) and 0

    assert 70 < (peak_megabytes(call) or 0) < 250
    assert (peak_megabytes(lambda: None) or 0) < 20  # the one before is forgotten


def test_without_linux_there_is_a_growth_or_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "REFERENCES", tmp_path / "nothing")
    found = peak_megabytes(lambda: None)
    assert found is None or found >= 0
    assert not (tmp_path / "nothing").exists()
    monkeypatch.setattr(memory, "_highest", lambda: None)
    assert peak_megabytes(lambda: None) is None


def test_a_process_of_its_own() -> None:
    assert in_own_process(os.getpid) != os.getpid()


def test_matrix_products_are_counted_by_two() -> None:
    found = matrix_peaks(torch.device("cpu"), ("float32", "bfloat16", "int8"), sides=(64,), times=1)
    assert {"float32", "bfloat16"} <= set(found)
    assert all(speed > 0 for speed in found.values())


def test_a_peak_is_the_best_of_all_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {64: [2.0, 1.0, 3.0, 3.0], 128: [5.0, 6.0, 4.0, 4.0]}  # of torch's own product, and of the packed one
    monkeypatch.setattr(peaks, "_working", lambda way, device, precision, side: lambda: side)
    monkeypatch.setattr(peaks, "_seconds", lambda multiply: seconds[multiply()].pop(0))
    monkeypatch.setattr(peaks, "LONG", 9.0)
    assert peaks.matrix_peaks(torch.device("cpu"), ("float32",), (64, 128), 2) == {"float32": 2 * 128**3 / 4 / 1e9}


def test_what_a_device_cannot_multiply_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_int_mm")
    monkeypatch.setattr(peaks, "native_int8", lambda device: False)
    assert set(matrix_peaks(torch.device("cpu"), ("float32", "int8"), sides=(32,), times=1)) == {"float32"}
