"""How far a run has come, for people who watch it: a value after every step, and TensorBoard's files where wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from clipseg.errors import MissingPackageError


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step; what is not known before something was logged is None.

    Fields
        done, total  steps of all stages
        loss, lr     loss and learning rate, as last logged
        rate         samples a second of late
        waiting      share of late time that went by waiting for batches
        left         seconds that are left at this rate, validations aside
        scores       of the last validation
    """

    done: int
    total: int
    loss: float | None = None
    lr: float | None = None
    rate: float | None = None
    waiting: float | None = None
    left: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """-> what goes beside a bar, which says how far and how fast itself."""
        parts = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        parts += [f"{name} {score:.3f}" for name, score in [*self.scores.items()][:1]]
        parts += [f"waiting {self.waiting:.0%}"] if self.waiting else []
        return "  ".join(parts) or "training"

    @classmethod
    def after(cls, done: int, total: int, logged: Mapping[str, Any]) -> Progress:
        """Steps that are done, of how many, and what was logged last, all of it in one table."""
        seconds = logged.get("seconds")
        return cls(
            done,
            total,
            logged.get("loss"),
            logged.get("lr"),
            logged.get("samples_per_second"),
            logged.get("waiting"),
            None if seconds is None else seconds * (total - done),
            logged.get("validation", {}),
        )


Watcher: TypeAlias = Callable[[Progress], None]


@dataclass
class Stopwatch:
    """Time since the last reading, and how much of it went by waiting for batches."""

    waited: float = 0.0
    steps: int = 0
    begun: float = field(default_factory=time.monotonic)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What a step spends waiting for its batch."""
        begun = time.monotonic()
        yield
        self.waited += time.monotonic() - begun
        self.steps += 1

    def read(self, batch: int) -> dict[str, float]:
        """-> `seconds` a step, `samples_per_second` and the share `waiting`; the watch starts anew."""
        seconds = max(time.monotonic() - self.begun, 1e-9)
        found = {
            "seconds": round(seconds / self.steps, 3),
            "samples_per_second": round(batch * self.steps / seconds, 2),
            "waiting": round(self.waited / seconds, 4),
        }
        self.restart()
        return found

    def restart(self) -> None:
        """Forget what was measured, for instance after a validation."""
        self.waited, self.steps, self.begun = 0.0, 0, time.monotonic()


TIMED = ("seconds", "samples_per_second", "waiting")
"""Keys of the log that say how fast it went, and differ from run to run."""


class Summary:
    """TensorBoard's files of a run. Raises MissingPackageError where the package is not installed."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingPackageError(
                "TensorBoard's files need a package that is not installed: pip install 'clipseg[train]'"
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, values: Mapping[str, Any], step: int) -> None:
        """Numbers by name, those in tables as well, and the step of all stages they belong to."""
        for name, value in values.items():
            if isinstance(value, Mapping):
                self.write({f"{name}/{inner}": number for inner, number in value.items()}, step)
            elif name not in ("stage", "step"):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Have everything written."""
        self._writer.close()
