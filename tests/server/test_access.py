"""Who may ask: hosts, origins and tokens; and what browsers are told with every answer."""

from __future__ import annotations

import pytest

from clipseg.client import Client, ServiceError
from clipseg.server.access import HEADERS
from clipseg.server.settings import Access
from http_files import asked, connected, file_of, head, posted

TOKEN = "correct horse"
ELSEWHERE = "https://example.org"


@pytest.fixture(scope="module")
def guarded(serving):
    with serving(Access(token=TOKEN, hosts=None, origins=frozenset({ELSEWHERE}))) as found:
        yield found[1]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "localhost@evil"]
)
def test_another_host_is_not_this_one(url: str, host: str) -> None:
    status, headers, told = asked(url, "GET", "/v1/models", host=host)
    assert (status, told["error"]["kind"]) == (400, "HostError")
    assert headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:5"])
def test_names_of_this_machine(url: str, host: str) -> None:
    assert asked(url, "GET", "/health", host=host)[0] == 200


@pytest.mark.parametrize(
    "given",
    [
        {"origin": ELSEWHERE},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
    ],
)
def test_pages_elsewhere_may_not_ask(url: str, given: dict[str, str]) -> None:
    for method, body in (("GET", None), ("POST", b"{}"), ("OPTIONS", b"")):
        status, headers, told = asked(url, method, "/v1/prompts", body, **given)
        assert (status, told["error"]["kind"]) == (403, "OriginError")
        assert "access-control-allow-origin" not in headers


def test_our_own_page_may(url: str) -> None:
    assert asked(url, "GET", "/v1/models", origin=url, sec_fetch_site="same-origin")[0] == 200
    assert asked(url, "GET", "/", sec_fetch_site="cross-site")[0] == 200  # a link that leads here


def test_a_token_is_needed(guarded: Client) -> None:
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v2", "/v1/nothing"):
        status, headers, told = asked(guarded.url, "GET", path)
        assert status == 401, path
        assert headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in str(told)
    for wrong in ("Bearer wrong", "Basic x", "Bearer", "bearer correct", f"Bearer {TOKEN}x"):
        assert asked(guarded.url, "GET", "/v1/models", authorization=wrong)[0] == 401
    assert asked(guarded.url, "GET", "/static/../v1/models")[0] == 404
    assert guarded.ask("/v1/models")["models"]
    for path in ("/", "/health", "/ready", "/v2/health/live", "/v2/health/ready"):
        assert asked(guarded.url, "GET", path)[0] == 200
    with Client(guarded.url, "wrong token") as stranger, pytest.raises(ServiceError, match="token is needed"):
        stranger.upload(file_of())


def test_a_body_is_not_read_from_a_stranger(guarded: Client) -> None:
    with connected(guarded.url) as connection:
        connection.sendall(head(guarded.url, "POST", "/v1/pictures", content_type="image/png", content_length=10**7))
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")


def test_an_origin_that_is_allowed(guarded: Client) -> None:
    status, headers, _ = asked(
        guarded.url, "OPTIONS", "/v1/segment", origin=ELSEWHERE, access_control_request_method="POST"
    )
    assert status == 204
    assert headers["access-control-allow-origin"] == ELSEWHERE
    assert "Authorization" in headers["access-control-allow-headers"]
    _, headers, _ = asked(guarded.url, "GET", "/v1/models", origin=ELSEWHERE)
    assert headers["access-control-allow-origin"] == ELSEWHERE
    assert asked(guarded.url, "GET", "/health", origin="https://example.org.evil")[0] == 403


@pytest.mark.parametrize("path", ["/", "/health", "/v1/nothing", "/v1/models", "/metrics", "/static/", "/v2"])
def test_headers_of_every_answer(url: str, path: str) -> None:
    _, headers, _ = asked(url, "GET", path)
    for name, value in HEADERS.items():
        if name != "Cache-Control":
            assert headers[name.lower()] == value
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "unsafe" not in headers["content-security-policy"]
    assert "server" not in headers


def test_the_page(url: str, serving) -> None:
    status, headers, page = asked(url, "GET", "/")
    assert (status, headers["cache-control"]) == (200, "no-cache")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert b"<!doctype html>" in page.lower()
    status, headers, _ = asked(url, "GET", "/static/index.html")
    assert (status, headers["cache-control"]) == (200, "no-cache")
    again, _, _ = asked(url, "GET", "/static/index.html", if_none_match=headers["etag"])
    assert again == 304
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/x",
    ):
        assert asked(url, "GET", path)[0] == 404, path
    with serving(Access(page=False)) as (_, client):
        assert client.ask("/") == {
            "name": "clipseg",
            "version": client.ask("/v2")["version"],
            "openapi": "/openapi.json",
        }
        assert asked(client.url, "GET", "/static/index.html")[0] == 404


def test_modules_have_their_media_types(url: str) -> None:
    from clipseg.server.page import FOLDER, TYPES

    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    for path in files:
        status, headers, _ = asked(url, "GET", f"/static/{path.relative_to(FOLDER).as_posix()}")
        assert status == 200
        assert headers["content-type"].startswith(TYPES[path.suffix]), path


def test_posting_needs_no_origin(url: str) -> None:
    assert posted(url, "/v1/embed", {"prompts": ["a cat"]})[0] == 200
