"""How far a run is, how fast, and when it has failed too often."""

from __future__ import annotations

import pytest

from clipseg.batch import progress
from clipseg.batch.progress import Meter, Progress
from clipseg.errors import DataError


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_are_of_late(clock):
    told: list[Progress] = []
    meter = Meter(1000, 100, 0, told.append, 1)
    for _ in range(10):  # 20 a second
        clock[0] += 1
        meter.add(20, 0)
    assert (told[-1].done, told[-1].rate, told[-1].left) == (300, 20, 35)
    for _ in range(130):  # one a second: what was before is forgotten
        clock[0] += 1
        meter.add(1, 0)
    assert told[-1].rate == pytest.approx(1, abs=0.05)


def test_a_watcher_is_told_now_and_then_and_at_the_end(clock):
    told: list[Progress] = []
    meter = Meter(100, 0, 0, told.append, 1)
    for _ in range(100):
        clock[0] += 0.1
        meter.add(1, 0)
    assert told[-1].done == 100
    assert 15 < len(told) < 25


@pytest.mark.parametrize(("rate", "fails_at"), [(0, 1), (0.1, 2), (0.5, 6), (1, None)])
def test_it_has_failed_as_soon_as_too_many_of_all_have(rate, fails_at):
    meter = Meter(10, 0, 0, None, rate)
    for errors in range(1, 11):
        meter.add(1, 1)
        if errors == fails_at:
            with pytest.raises(DataError, match=f"{errors} of 10 pictures could not be done"):
                meter.check()
            return
        meter.check()
    assert fails_at is None


def test_it_says_why_the_last_failed():
    meter = Meter(2, 0, 0, None, 0)
    meter.add(1, 1, "a.png: PictureError: a.png is empty")
    meter.add(1, 0)
    with pytest.raises(DataError, match=r"the last is a\.png: PictureError: a\.png is empty; "):
        meter.check()


@pytest.mark.parametrize(
    ("left", "text"), [(5, "5 s"), (65, "1:05 min"), (3600, "1:00 h"), (86_400, "24:00 h"), (400_000, "4.6 days")]
)
def test_it_reads_as_a_line(left, text):
    assert str(Progress(5, 1234, 1, 2.5, left)) == f"5 of 1,234 pictures, 2.5/s, {text} left, 1 error"
    assert str(Progress(0, 2, 0)) == "0 of 2 pictures, 0 errors"
