"""The gate and its tickets."""

from __future__ import annotations

import threading
import time

import pytest

from clipseg.server.refusals import BusyError, GoneError, TimeLimitError
from clipseg.server.tickets import Gate, Ticket


def test_so_many_and_no_more() -> None:
    gate = Gate(2)
    first, _ = gate.enter(10), gate.enter(10)
    with pytest.raises(BusyError, match="2 requests") as caught:
        gate.enter(10)
    assert int(caught.value.headers["Retry-After"]) >= 1
    gate.leave(first)
    gate.enter(10)


def test_time_runs_out_and_clients_leave() -> None:
    ticket = Ticket(0.01)
    ticket.check()
    time.sleep(0.02)
    assert ticket.left == 0
    with pytest.raises(TimeLimitError):
        ticket.check()
    ticket = Ticket(10)
    ticket.give_up()
    with pytest.raises(GoneError):
        ticket.check()


def test_waiting_for_the_last() -> None:
    gate = Gate(1)
    ticket = gate.enter(10)
    assert not gate.wait_until_empty(0.01)
    threading.Timer(0.02, gate.leave, [ticket]).start()
    assert gate.wait_until_empty(10)
