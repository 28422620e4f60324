"""HTTP as uvicorn speaks it, but for clients that never finish asking, or never take their answer."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""For the head of a request, from a connection's first moment or from the head's first byte; and for the rest of a body
that was refused before its end, which is let in and dropped."""


TAKE_SECONDS = 30.0
"""In which a client takes some of its answer; one that takes none of it does not want it."""


class PatientProtocol(H11Protocol):
    """Closes a connection whose head does not arrive, whose refused body does not end, or whose answer is not taken."""

    _until: asyncio.TimerHandle | None = None
    _taken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; once they make a head it is no longer waited for."""
        super().data_received(data)
        if self._is_answered:
            self._wait()
        else:
            self._stop()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that nobody reads, and not for ever: who sends it may be nobody that may ask."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and self._is_answered:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        self._release()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """There is more to send than the client has room for: see that it takes some of it, now and then."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Most of it was taken."""
        self._release()
        super().resume_writing()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._until is None:
            self._until = self.loop.call_later(HEAD_SECONDS, self._close)

    def _stop(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._taken = self.loop.call_later(TAKE_SECONDS, self._check, left)

    def _check(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch()
        else:
            self.transport.abort()  # to close it would be to wait for the same

    def _release(self) -> None:
        if self._taken is not None:
            self._taken.cancel()
            self._taken = None

    def _close(self, *_: Any) -> None:
        self._until = None
        if self._is_answered:
            self.transport.close()
