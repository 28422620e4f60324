"""What the server counts, and how Prometheus reads it (its text format, version 0.0.4)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
QUESTIONS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

Labels: TypeAlias = tuple[str, ...]


class Counter:
    """What only grows, for each combination of labels. Threads may share it."""

    kind = "counter"

    def __init__(self, name: str, help_line: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help_line, self.labels = name, help_line, tuple(labels)
        self._lock = threading.Lock()
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1, *labels: str) -> None:
        """Count so much more."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        """-> what was counted."""
        return self._values.get(labels, 0.0)

    def lines(self) -> Iterator[str]:
        """-> a line for each combination of labels."""
        with self._lock:
            values = dict(self._values)
        for labels, value in values.items():
            yield f"{self.name}{_labelled(self.labels, labels)} {value:.17g}"


class Gauge:
    """What is looked up when it is asked for."""

    kind = "gauge"

    def __init__(self, name: str, help_line: str, look: Callable[[], float]) -> None:
        self.name, self.help_line, self._look = name, help_line, look

    def lines(self) -> Iterator[str]:
        """-> its line."""
        yield f"{self.name} {self._look():.17g}"


class Histogram:
    """How often a figure was at most so large. Threads may share it."""

    kind = "histogram"

    def __init__(self, name: str, help_line: str, bounds: Sequence[float]) -> None:
        self.name, self.help_line, self._bounds = name, help_line, tuple(bounds)
        self._lock = threading.Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, figure: float) -> None:
        """Count a figure."""
        with self._lock:
            self._counts[bisect_left(self._bounds, figure)] += 1
            self._sum += figure

    def lines(self) -> Iterator[str]:
        """-> a line for each bound, the sum and the count."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            named = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'{self.name}_bucket{{le="{named}"}} {below}'
        yield f"{self.name}_sum {total:.17g}"
        yield f"{self.name}_count {below}"


class Metrics:
    """All that is counted.

    Fields
        requests  answered, by route and status
        seconds   that answers took
        encoded   pictures that went through the model
        decoded   prompts that did
        together  questions that shared one decoding
    """

    def __init__(self) -> None:
        self.requests = Counter("clipseg_requests_total", "Requests answered.", ("route", "status"))
        self.seconds = Histogram("clipseg_request_seconds", "Time from a request's head to its answer.", SECONDS)
        self.encoded = Counter("clipseg_pictures_encoded_total", "Pictures that went through the vision tower.")
        self.decoded = Counter("clipseg_prompts_decoded_total", "Maps that were decoded.")
        self.together = Histogram("clipseg_questions_together", "Questions that shared one decoding.", QUESTIONS)
        self._gauges: list[Gauge] = []

    def gauge(self, name: str, help_line: str, look: Callable[[], float]) -> None:
        """Add what is looked up each time."""
        self._gauges.append(Gauge(name, help_line, look))

    def text(self) -> str:
        """-> all of it."""
        counted = (self.requests, self.seconds, self.encoded, self.decoded, self.together)
        rows: tuple[Counter | Histogram | Gauge, ...] = (*counted, *self._gauges)
        lines: list[str] = []
        for one in rows:
            lines += [f"# HELP {one.name} {one.help_line}", f"# TYPE {one.name} {one.kind}", *one.lines()]
        return "\n".join(lines) + "\n"


def _labelled(names: Labels, values: Labels) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}" if names else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
