"""Being told to stop: a signal sets a flag, the loop looks at it where it can save, and ends well."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Within its block, the first SIGTERM or SIGINT sets `asked`; a second one does what it did before.

    `number` is that of the signal. Only the main thread can be told so; in others the flag is never set.
    """

    def __init__(self) -> None:
        self.asked = False
        self.number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in CAUGHT}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.asked, self.number = True, number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
