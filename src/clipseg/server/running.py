"""Requests into threads: each has its ticket, its time, and an end when its client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request

from clipseg.behind import lone_threads
from clipseg.server.refusals import GoneError
from clipseg.server.service import Service
from clipseg.server.tickets import Ticket

T = TypeVar("T")

GRACE = 1.0
"""Seconds beyond its time after which a request is answered though its work has not noticed yet."""

MOST_THREADS = 256
"""All are begun at once; requests beyond them wait for one."""


class Runner:
    """Runs what a service does in threads, as many as requests are let in, and in each torch computes alone."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = lone_threads(min(service.limits.queue, MOST_THREADS), "serve-request")

    async def run(self, request: Request, function: Callable[[Ticket], T]) -> T:
        """A request whose body is here, and what to do -> what it gives.

        Raises BusyError, TimeLimitError, and GoneError once the client has gone; work that has not begun then never
        does. The request counts until its thread is done.
        """
        ticket = self._service.enter()

        def work() -> T:
            try:
                return function(ticket)
            finally:
                self._service.gate.leave(ticket)

        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        gone = asyncio.ensure_future(_gone(request))
        try:
            either: set[asyncio.Future[Any]] = {done, gone}
            await asyncio.wait(either, timeout=ticket.left + GRACE, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                return done.result()
            done.add_done_callback(_forgotten)
            ticket.give_up()
            raise GoneError("the client has gone away") if gone.done() else ticket.over()
        finally:
            gone.cancel()

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False)


async def _gone(request: Request) -> None:
    """Wait until the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _forgotten(done: asyncio.Future[T]) -> None:
    """Look at how work ended that nobody waits for, or asyncio would complain of it."""
    if not done.cancelled():
        done.exception()
