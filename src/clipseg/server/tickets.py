"""How many requests are taken at once, how long each may take, and whether anybody still waits for it."""

from __future__ import annotations

import math
import threading
import time

from clipseg.server.refusals import BusyError, GoneError, TimeLimitError

LONGEST_WAIT = 60
"""Seconds that a client is told to wait, at most."""


class Ticket:
    """One request's right to be worked on, until its time is over or its client has gone."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = time.monotonic()
        self._gone = threading.Event()

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self.begun + self.seconds - time.monotonic())

    @property
    def spent_ms(self) -> float:
        """Milliseconds since it was taken."""
        return round(1000 * (time.monotonic() - self.begun), 2)

    def give_up(self) -> None:
        """Its client has gone: `check` tells so from now on."""
        self._gone.set()

    def check(self) -> None:
        """Raises GoneError and TimeLimitError once there is no point in going on; long work asks between its steps."""
        if self._gone.is_set():
            raise GoneError("the client has gone away")
        if not self.left:
            raise self.over()

    def over(self) -> TimeLimitError:
        """-> the error of a request that took too long."""
        return TimeLimitError(f"this took longer than {self.seconds:g} seconds; ask for less at once", 1)


class Gate:
    """Lets so many requests in at once, and tells others when to come again. Threads may share it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0
        self._mean = 0.1  # seconds a request, of late
        self._empty = threading.Condition()

    def enter(self, seconds: float) -> Ticket:
        """-> a ticket, to be handed back by `leave`. Raises BusyError."""
        with self._empty:
            if self.inside >= self.most:
                wait = min(LONGEST_WAIT, max(1, math.ceil(self._mean)))
                raise BusyError(f"{self.most} requests are being answered, which is all at once; try again", wait)
            self.inside += 1
        return Ticket(seconds)

    def leave(self, ticket: Ticket) -> None:
        """A ticket's work is over, whatever came of it."""
        with self._empty:
            self.inside -= 1
            self._mean += 0.1 * (ticket.seconds - ticket.left - self._mean)
            self._empty.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait so long at most -> whether nobody is inside any more."""
        with self._empty:
            return self._empty.wait_for(lambda: self.inside == 0, seconds)
