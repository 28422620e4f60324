"""Bodies, read whole before anything is done with them: so large, so fast, and so many at once.

They lie in memory and nowhere else. What is too much is refused as soon as that shows, by its length or while it comes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipseg.server.refusals import BusyError, GoneError, LengthError, RefusedError, SlowError, TooLargeError
from clipseg.server.replies import failure
from clipseg.server.settings import Limits

WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})

DRAIN_SECONDS = 2.0
"""For so long the rest of a body that is refused is let in, and dropped: many clients read no answer before its end."""


class BodyLimit:
    """ASGI middleware: the application below gets whole bodies within the limits, and no others."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._held = 0  # bytes of all bodies that are here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, and hand it on in one piece."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            try:
                await self._read(scope, receive, body)
            except RefusedError as error:
                await self._drain(scope, receive, error)
                await failure(error, scope["path"])(scope, receive, send)
                return
            await self._app(scope, _replayed(bytes(body), receive), send)
        finally:
            self._held -= len(body)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        """Everything that comes into `body`. Raises RefusedError."""
        headers = Headers(scope=scope)
        stated = headers.get("content-length")
        if stated is None and "transfer-encoding" not in headers:
            if scope["method"] in WITH_BODY:
                raise LengthError("a request with a body needs Content-Length, or Transfer-Encoding: chunked")
            return
        if stated is not None and int(stated) > self._limits.bytes:  # digits: others never come so far
            raise self._too_large()
        until = asyncio.get_running_loop().time() + self._limits.body_seconds
        more = True
        while more:
            left = until - asyncio.get_running_loop().time()
            try:
                message = await asyncio.wait_for(receive(), min(left, self._limits.idle_seconds))
            except asyncio.TimeoutError:
                raise SlowError("the body did not arrive in time; try again") from None
            if message["type"] == "http.disconnect":
                raise GoneError("the client has gone away")
            more = self._take(message, body)

    def _take(self, message: Message, body: bytearray) -> bool:
        """A part of a body -> whether more is to come."""
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > self._limits.bytes:
            raise self._too_large()
        if self._held + len(part) > self._limits.bodies_bytes:
            raise BusyError("too much is being sent at once; try again", 1)
        body += part
        self._held += len(part)
        return bool(message.get("more_body", False))

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"a body has {self._limits.bytes} bytes at most; send a smaller picture")

    async def _drain(self, scope: Scope, receive: Receive, error: RefusedError) -> None:
        """Let in what else is coming, for a moment; but not from a client that waits to be asked for it."""
        if isinstance(error, GoneError | SlowError | LengthError) or "expect" in Headers(scope=scope):
            return

        async def rest() -> None:
            more = True
            while more:
                message = await receive()
                more = message["type"] != "http.disconnect" and message.get("more_body", False)

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(rest(), DRAIN_SECONDS)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read, and what comes after it -> a `receive` that gives both."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
