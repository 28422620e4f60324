"""What the server refuses, and what an error of the library means to a client: a status, a kind and a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from clipseg.errors import CheckpointError, ClipsegError, DataError, MissingPackageError, OutputError

INTERNAL = "something went wrong in the server; its log tells what"


class RefusedError(ClipsegError):
    """A request that is not carried out; `status` is that of HTTP, `retry_after` seconds to wait before another try."""

    status: ClassVar[int] = 400

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says beside its body."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class HostError(RefusedError):
    """A request for another host's name: a page elsewhere may have had its name lead here."""


class TokenError(RefusedError):
    """A request without the token, or with another."""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says beside its body."""
        return {"WWW-Authenticate": 'Bearer realm="clipseg"'}


class OriginError(RefusedError):
    """A request that a page of another origin makes."""

    status = 403


class UnknownError(RefusedError):
    """A picture, prompt or model that is not known here, or not any more."""

    status = 404


class MethodError(RefusedError):
    """A path that is there, asked by a method that it has not."""

    status = 405


class SlowError(RefusedError):
    """A request whose body does not arrive."""

    status = 408


class LengthError(RefusedError):
    """A body without its length."""

    status = 411


class TooLargeError(RefusedError):
    """A body, or what it asks for, beyond a limit."""

    status = 413


class MediaError(RefusedError):
    """A body of a kind that this route does not read."""

    status = 415


class RequestError(RefusedError):
    """A body that is not as documented."""

    status = 422


class BusyError(RefusedError):
    """More requests than the server takes at once."""

    status = 429


class TimeLimitError(RefusedError):
    """A request that took longer than the server allows."""

    status = 503


class NotReadyError(RefusedError):
    """A model that is not loaded yet, or a server that is about to end."""

    status = 503


class GoneError(RefusedError):
    """A request whose client has gone away; nobody reads this."""

    status = 503


_OWN_FAULT: Mapping[type[ClipsegError], int] = {
    CheckpointError: 503,
    MissingPackageError: 503,
    OutputError: 503,
    DataError: 400,
}
"""Errors of the library -> their status, where it is not 400; the first that fits."""


def status_of(error: Exception) -> int:
    """An error -> the status of its answer; 500 for one that was never meant."""
    if isinstance(error, RefusedError):
        return error.status
    if isinstance(error, ClipsegError):
        return next((status for kind, status in _OWN_FAULT.items() if isinstance(error, kind)), 400)
    return 500


def told(error: Exception) -> dict[str, dict[str, str]]:
    """An error -> the body of its answer. What is not the client's fault is told by its kind alone: paths stay here."""
    own_fault = not isinstance(error, RefusedError) and status_of(error) >= 500
    kind = type(error).__name__ if isinstance(error, ClipsegError) else "UnexpectedError"
    return {"error": {"kind": kind, "message": INTERNAL if own_fault else str(error)}}
