"""How far a run has come: counts, the rate of late, the time that is left, and when too much of it fails."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from clipseg.errors import DataError

_WINDOW = 60.0  # seconds that a rate is measured over
_MARKS = 0.5  # seconds between two measurements


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Fields
        done    pictures, those of earlier processes as well
        total   pictures
        errors  of them
        rate    pictures a second of late; None before there is one
        left    seconds that are left at that rate
    """

    done: int
    total: int
    errors: int
    rate: float | None = None
    left: float | None = None

    def __str__(self) -> str:
        """-> one line: done, rate, time left, errors so far."""
        parts = [f"{self.done:,} of {self.total:,} pictures"]
        parts += [] if self.rate is None else [f"{self.rate:.1f}/s"]
        parts += [] if self.left is None else [f"{_duration(self.left)} left"]
        return ", ".join((*parts, f"{self.errors:,} error{'' if self.errors == 1 else 's'}"))


Watcher: TypeAlias = Callable[[Progress], None]


class Meter:
    """Counts what is done, and tells a watcher."""

    def __init__(self, total: int, done: int, errors: int, watcher: Watcher | None, max_error_rate: float) -> None:
        self._total, self._done, self._errors = total, done, errors
        self._watcher = watcher
        self._rate = max_error_rate
        self._reason: str | None = None
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), done)])
        self._told = 0.0

    def add(self, rows: int, errors: int, reason: str | None = None) -> None:
        """So many more pictures are done, and of them so many failed; `reason` is why the last did, if known."""
        self._done += rows
        self._errors += errors
        self._reason = reason or self._reason
        now = time.monotonic()
        if now - self._marks[-1][0] >= _MARKS:
            self._marks.append((now, self._done))
            while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW:
                self._marks.popleft()
        if self._watcher is not None and (now - self._told >= _MARKS or self._done == self._total):
            self._told = now
            self._watcher(self.now())

    def now(self) -> Progress:
        """-> where the run is."""
        (then, before), (now, after) = self._marks[0], self._marks[-1]
        rate = (after - before) / (now - then) if now > then and after > before else None
        left = None if rate is None else (self._total - self._done) / rate
        return Progress(self._done, self._total, self._errors, rate, left)

    def check(self) -> None:
        """Raise DataError once more pictures have failed than may of all, whatever becomes of the others."""
        self.check_all(self._total, self._errors)

    def check_all(self, total: int, errors: int) -> None:
        """The same of the pictures of a whole run, of which this may count a share."""
        if errors > self._rate * total:
            # Said here, for the rows of the part that was being made are not kept.
            last = "" if self._reason is None else f"the last is {self._reason}; "
            raise DataError(
                f"{errors:,} of {total:,} pictures could not be done, and allowed are {self._rate:.1%}; {last}"
                "parts that are done are kept: mend what is wrong and run the same command again, or raise "
                "--max-error-rate"
            )


def _duration(seconds: float) -> str:
    """Seconds -> "45 s", "3:05 min", "2:10 h" or "3.2 days"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    if whole < 172_800:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole / 86_400:.1f} days"
