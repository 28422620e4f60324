"""Bodies that are too large, too slow, too many, or broken off; what is refused is refused while it comes."""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import ExitStack

import pytest

from clipseg.errors import UsageError
from clipseg.server import protocol
from clipseg.server.settings import Access, Limits
from http_files import answer, asked, connected, file_of, head, posted

SMALL = {"bytes": 100_000, "bodies_bytes": 250_000, "idle_seconds": 0.3, "body_seconds": 0.8}
PLAIN = "application/octet-stream"


@pytest.fixture(scope="module")
def small(serving):

    with serving(**SMALL) as found:
        yield found


def test_too_large_by_its_length(small) -> None:
    _, client = small
    status, _, told = asked(client.url, "POST", "/v1/pictures", bytes(100_001), content_type=PLAIN)
    assert (status, told["error"]["kind"]) == (413, "TooLargeError")
    assert "100000 bytes at most" in told["error"]["message"]
    with connected(client.url) as connection:  # one that waits to be told is told at once
        lines = head(
            client.url, "POST", "/v1/pictures", content_type=PLAIN, content_length=10**12, expect="100-continue"
        )
        connection.sendall(lines)
        assert answer(connection)[0] == 413


def test_too_large_while_it_comes(small) -> None:
    _, client = small
    with connected(client.url) as connection:
        connection.sendall(head(client.url, "POST", "/v1/pictures", content_type=PLAIN, transfer_encoding="chunked"))
        for _ in range(11):
            connection.sendall(b"2710\r\n" + bytes(10_000) + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert answer(connection)[0] == 413


def test_a_body_in_chunks_is_as_good(small) -> None:
    _, client = small
    content = file_of()
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    status, _, _ = asked(client.url, "POST", "/v1/pictures", body, content_type=PLAIN, transfer_encoding="chunked")
    assert status == 200


def test_a_body_without_its_length(small) -> None:
    _, client = small
    status, _, told = asked(client.url, "POST", "/v1/segment")
    assert (status, told["error"]["kind"]) == (411, "LengthError")


@pytest.mark.parametrize("pause", [1.0, 0.2])
def test_too_slow(small, pause: float) -> None:
    """Nothing comes for too long; or something always comes, but never all of it."""
    _, client = small
    with connected(client.url) as connection:
        connection.sendall(head(client.url, "POST", "/v1/pictures", content_type=PLAIN, content_length=50))
        begun = time.monotonic()

        def trickle() -> None:
            while time.monotonic() < begun + 1.5:
                time.sleep(pause)
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        assert answer(connection)[0] == 408
        thread.join()


def test_broken_off(small) -> None:
    service, client = small
    for cut in (0, 10, 900):
        with connected(client.url) as connection:
            connection.sendall(
                head(client.url, "POST", "/v1/pictures", content_type=PLAIN, content_length=1000) + bytes(cut)
            )
    assert client.ask("/health") == {"status": "ok"}
    assert service.gate.inside == 0


def test_bodies_together_are_bounded(serving) -> None:
    with serving(bytes=100_000, bodies_bytes=250_000) as (_, client), ExitStack() as stack:
        waiting = [stack.enter_context(connected(client.url)) for _ in range(3)]
        for connection in waiting:
            lines = head(client.url, "POST", "/v1/pictures", content_type=PLAIN, content_length=100_000)
            connection.sendall(lines + bytes(90_000))
        time.sleep(0.5)  # all of that has come; the third is refused already, but its rest is let in first
        for connection in waiting:
            connection.sendall(bytes(10_000))
        assert sorted(answer(connection)[0] for connection in waiting) == [400, 400, 429]
        assert asked(client.url, "POST", "/v1/pictures", file_of(), content_type=PLAIN)[0] == 200  # nothing is held


def test_a_head_that_does_not_come(small, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client = small
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with connected(client.url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
        assert connection.recv(100) == b""
    with connected(client.url) as connection:
        assert connection.recv(100) == b""
    with connected(client.url) as connection:  # one that has asked before as well
        connection.sendall(head(client.url, "GET", "/health"))
        assert answer(connection)[0] == 200
        connection.sendall(b"GET /health HT")
        assert connection.recv(100) == b""


@pytest.mark.parametrize(
    "content",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
     b"POST /v1/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
     b"POST /v1/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
     b"POST /v1/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_what_is_no_http(small, content: bytes, caplog) -> None:
    _, client = small
    with connected(client.url) as connection:
        connection.sendall(content)
        said = connection.recv(1000)
    assert not said or said.startswith(b"HTTP/1.1 4")
    assert client.ask("/health") == {"status": "ok"}


def test_uploads_never_touch_a_disk(client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was made")

    large = file_of(3, 1500, 1200, "BMP")
    assert len(large) > 5 * 2**20
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bmp"\r\n\r\n' + large + b"\r\n--x--\r\n"
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    status, _, picture = asked(url, "POST", "/v1/pictures", form, content_type="multipart/form-data; boundary=x")
    assert (status, picture["width"]) == (200, 1500)
    assert posted(url, "/v1/segment", {"picture": picture["id"], "prompts": ["a"], "results": ["masks"]})[0] == 200


def test_limits_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="queue is 0"):
        Limits(queue=0)
    with pytest.raises(UsageError, match="as many at least"):
        Limits(bytes=2**40)
    with pytest.raises(UsageError, match="8 letters"):
        Access(token="short")
    with pytest.raises(UsageError, match="needs a token"):
        Access(hosts=None)
