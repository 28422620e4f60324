"""Connections of clients that do not take what they asked for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from clipseg.server import protocol
from clipseg.server.serving import running
from clipseg.server.settings import Limits
from http_files import answer, connected, head

LARGE = bytes(40_000_000)  # more than the buffers of both ends hold


async def large(scope: Any, receive: Any, send: Any) -> None:
    """An application that has one large answer to everything."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(LARGE))]})
    await send({"type": "http.response.body", "body": LARGE})


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.4)
    with running(large, Limits()) as url:
        yield url


def test_an_answer_that_nobody_takes_is_let_go(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(url, "GET", "/"))
        time.sleep(1.5)
        assert sum(map(len, iter(lambda: connection.recv(2**20), b""))) < len(LARGE)  # what was under way, and the end


def test_an_answer_that_is_taken_slowly_arrives(url: str) -> None:
    with connected(url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
        connection.sendall(head(url, "GET", "/", connection="close"))
        taken, began = 0, time.monotonic()
        while part := connection.recv(2**18):
            taken += len(part)
            time.sleep(0.01)
    assert taken > len(LARGE)
    assert time.monotonic() - began > 0.8  # longer than anyone may take nothing


def test_a_client_that_is_quick_has_it_whole(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(url, "GET", "/", connection="close"))
        status, _, body = answer(connection)
    assert (status, body) == (200, LARGE)


def trickle(connection: socket.socket, seconds: float) -> None:
    until = time.monotonic() + seconds
    with suppress(OSError):
        while time.monotonic() < until:
            connection.sendall(b"x")
            time.sleep(0.05)


def test_a_refused_body_does_not_go_on_for_ever(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The application answers without reading it, as the server does to those who may not ask."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setitem(globals(), "LARGE", b"no")
    with connected(url) as connection:
        connection.sendall(head(url, "POST", "/", content_length=10**9))
        time.sleep(0.1)
        assert connection.recv(1000).endswith(b"no")
        sending = threading.Thread(target=trickle, args=(connection, 5))
        sending.start()
        began = time.monotonic()
        with suppress(ConnectionError):
            assert connection.recv(1000) == b""
        assert time.monotonic() < began + 4
        sending.join()


def test_after_a_refused_body_another_request_may_come(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setitem(globals(), "LARGE", b"no")
    with connected(url) as connection:
        for _ in range(2):
            connection.sendall(head(url, "POST", "/", content_length=2))
            assert answer(connection)[2] == b"no"
            connection.sendall(b"xx")
