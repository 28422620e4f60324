"""The client: what it sends again by itself, and which errors it raises."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clipseg.client import Client, ServiceError
from clipseg.errors import PictureNotFoundError, PromptError, UsageError

PICTURE = {"id": "a" * 64, "width": 4, "height": 3}
MASK = {"label": "a cat", "score": 0.5, "presence": None, "threshold": 0.4, "area": 2, "box": [0, 0, 2, 1]}
MASKS = {"picture": PICTURE["id"], "width": 4, "height": 3, "masks": [MASK], "timing": {"encoded": True}}


class Scripted(ThreadingHTTPServer):
    """Gives the answers it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def will(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, body, headers))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body, dict(self.headers)))
        status, content, headers = self.server.answers.pop(0)
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(sent)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(sent)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with Client(server.url, token="a secret") as client:
        yield client


def refusal(kind: str, message: str = "no") -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message}}


def test_a_question(server: Scripted, client: Client, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    server.will(200, PICTURE)
    server.will(200, MASKS)
    found = client.segment(tmp_path / "a.png", "a cat", options={"smooth": 1})
    assert found["a cat"].box == (0, 0, 2, 1)
    with pytest.raises(KeyError):
        found["a dog"]
    (_, path, body, headers), (_, _, question, _) = server.asked
    assert (path, body, headers["Authorization"]) == ("/v1/pictures", b"pixels", "Bearer a secret")
    assert json.loads(question) == {
        "picture": PICTURE["id"], "prompts": ["a cat"], "results": ["rle"], "options": {"smooth": 1},
    }  # fmt: skip


def test_a_picture_that_was_forgotten_is_sent_again(server: Scripted, client: Client) -> None:
    server.will(200, PICTURE)
    server.will(404, refusal("UnknownError"))
    server.will(200, PICTURE)
    server.will(200, MASKS)
    assert client.segment(b"pixels", "a cat").masks
    assert [path for _, path, _, _ in server.asked] == ["/v1/pictures", "/v1/segment", "/v1/pictures", "/v1/segment"]


def test_so_it_is_for_similarity(server: Scripted, client: Client) -> None:
    server.will(200, PICTURE)
    server.will(404, refusal("UnknownError"))
    server.will(200, PICTURE)
    server.will(200, {"labels": ["a cat"], "cosines": [0.5]})
    assert client.similarity(b"pixels", "a cat") == {"a cat": 0.5}


def test_a_silent_server_is_not_asked_twice(server: Scripted) -> None:
    server.will(200, {})
    server.will(200, {}, **{"Content-Length": "99"})  # of which little comes
    with Client(server.url, seconds=0.2) as client:
        client.ask("/health")
        with pytest.raises(ServiceError, match="timed out"):
            client.ask("/v1/embed", {"prompts": ["a"]})
    assert len(server.asked) == 2


def test_when_to_come_again_may_be_a_date(server: Scripted, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("clipseg.client.time.sleep", slept.append)
    for told in ("Wed, 21 Oct 2026 07:28:00 GMT", "nan", "7", "9" * 30):
        server.will(429, refusal("BusyError"), Retry_After=told)
    server.will(200, {"status": "ok"})
    assert client.ask("/health") == {"status": "ok"}
    assert slept == [1, 1, 7, 60]


def test_a_busy_server_is_asked_again(server: Scripted, client: Client) -> None:
    for _ in range(3):
        server.will(429, refusal("BusyError"), Retry_After="0")
    server.will(200, {"status": "ok"})
    assert client.ask("/health") == {"status": "ok"}
    for _ in range(5):
        server.will(429, refusal("BusyError", "come back"), Retry_After="0")
    with pytest.raises(ServiceError, match="come back") as caught:
        client.ask("/health")
    assert (caught.value.status, caught.value.kind) == (429, "BusyError")


def test_errors_are_the_library_s_own(server: Scripted, client: Client) -> None:
    server.will(400, refusal("PromptError", "empty"))
    with pytest.raises(PromptError, match="empty"):
        client.ask("/v1/embed", {})
    for status, body in ((400, refusal("NoSuchKind")), (500, refusal("PromptError")), (502, b"<html>"), (400, [])):
        server.will(status, body)
        with pytest.raises(ServiceError) as caught:
            client.ask("/health")
        assert caught.value.status == status
    server.will(200, b"<html>")
    with pytest.raises(ServiceError, match="no JSON"):
        client.ask("/health")


def test_a_connection_that_was_closed_is_opened_again(server: Scripted, client: Client) -> None:
    server.will(200, {}, Connection="close")
    server.will(200, {"status": "ok"})
    client.ask("/health")
    assert client.ask("/health") == {"status": "ok"}


def test_no_server(server: Scripted) -> None:
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(ServiceError, match="is `clipseg serve` running") as caught,
    ):
        client.ready()
    assert caught.value.status is None
    for url in ("127.0.0.1:8000", "ftp://127.0.0.1", "", "http://[::1", "http://a:b", "http://a:99999"):
        with pytest.raises(UsageError, match="no address"):
            Client(url)
    with Client(server.url) as client, pytest.raises(PictureNotFoundError, match=r"nothing\.png"):
        client.upload("nothing.png")


def test_it_stands_on_the_standard_library_alone() -> None:
    code = "import sys, clipseg.client; assert not {'torch', 'numpy', 'fastapi', 'PIL', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
