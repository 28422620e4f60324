"""Pictures from URLs (a server on 127.0.0.1), files, base64 and memory, and what is refused."""

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ready
from clipseg.errors import PictureError, PictureNotFoundError
from clipseg.image_utils import load_image, load_images
from clipseg.processing.images import to_rgb

PICTURE = ready.picture()


def packed(picture: Image.Image = PICTURE, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode == "RGB" and np.array_equal(np.asarray(one), np.asarray(other))


class Web:
    """Answers by path: content, a redirect (str), a status (int) or silence (None)."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | str | int | None] = {}
        self.agents: list[str] = []
        self.released = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.agents.append(self.headers["User-Agent"])
                page = web.pages[self.path]
                if page is None:
                    web.released.wait(10)
                    return
                status = page if isinstance(page, int) else 302 if isinstance(page, str) else 200
                self.send_response(status)
                if isinstance(page, str):
                    self.send_header("Location", page)
                elif isinstance(page, bytes) and not self.path.startswith("/unannounced"):
                    self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                if isinstance(page, bytes):
                    self.wfile.write(page)

            def log_message(self, *args: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Web()
    yield server
    server.stop()


def refused(source: Any, *parts: str, kind: type[PictureError] = PictureError, **options: Any) -> None:
    with pytest.raises(PictureError) as caught:
        load_image(source, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for part in parts:
        assert part in message


def test_url(web: Web) -> None:
    web.pages = {"/cat.png": packed(), "/old": "/cat.png", "/a%20b%C3%BC.png?x=1": packed(), "/unannounced": packed()}
    for path in ("/cat.png", "/old", "/unannounced", "/a bü.png?x=1", "/a%20b%C3%BC.png?x=1"):
        assert same(load_image(web.url + path), PICTURE)
    assert same(load_image(web.url.replace("http", "HTTP") + "/cat.png", timeout=5), PICTURE)
    assert all(agent.startswith("clipseg/") for agent in web.agents)


def test_what_a_url_cannot_give(web: Web, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(packed())
    web.pages = {
        "/gone": 404, "/forbidden": 403, "/silent": None, "/page": b"<html>cats</html>", "/empty": b"",
        "/half": packed()[:200], "/loop": "/loop", "/file": f"file://{tmp_path}/secret.png", "/ftp": "ftp://x/y.png",
    }  # fmt: skip
    refused(web.url + "/gone", "/gone", "404", kind=PictureNotFoundError)
    refused(web.url + "/forbidden", "403")
    refused(web.url + "/silent", "silent for 0.2 s", "timeout", timeout=0.2)
    refused(web.url + "/page", "/page", "no picture")
    refused(web.url + "/empty", "empty")
    refused(web.url + "/half", "/half")
    for path in ("/loop", "/file", "/ftp"):
        refused(web.url + path)
    web.stop()
    refused(web.url + "/gone", "cannot be fetched")
    refused("http://", "cannot be fetched")
    refused("http://127.0.0.1:99999/x.png")
    refused("http://127.0.0.1:port/x.png")


def test_too_large(web: Web) -> None:
    web.pages = {"/cat": packed(), "/unannounced": packed()}
    most = len(packed())
    for path in web.pages:
        assert same(load_image(web.url + path, max_bytes=most), PICTURE)
        assert same(load_image(web.url + path, max_bytes=None), PICTURE)
        refused(web.url + path, f"more than {most - 1:,} bytes", "max_bytes", max_bytes=most - 1)


@pytest.mark.parametrize("source", ["file:///etc/hosts", "FTP://host/x.png", "s3://bucket/x.png", "data://x"])
def test_other_schemes_are_refused(source: str) -> None:
    refused(source, "not fetched", "http://")


def test_files_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PICTURE.save(path := tmp_path / "http_cat.png")  # no URL, whatever it begins with
    monkeypatch.chdir(tmp_path)
    for source in (str(path), path, "http_cat.png", packed(), io.BytesIO(packed()), np.asarray(PICTURE), PICTURE):
        assert same(load_image(source), PICTURE)
    refused("no such cat.png", "no such cat.png", "URL", kind=PictureNotFoundError)
    refused(tmp_path / "absent.png", "absent.png", kind=PictureNotFoundError)
    refused(3, "int is no picture")
    refused(None, "NoneType")


def test_upright_and_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    (tmp_path / "turned.jpg").write_bytes(packed(kind="JPEG", exif=exif, quality=95))
    turned = load_image(str(tmp_path / "turned.jpg"))
    assert turned.size == PICTURE.size[::-1]
    assert np.abs(np.asarray(turned.rotate(90, expand=True), int) - np.asarray(PICTURE, int)).mean() < 12
    for mode in ("L", "LA", "RGBA", "P", "1"):
        picture = PICTURE.convert("L").convert("P") if mode == "P" else PICTURE.convert(mode)
        assert same(load_image(picture), to_rgb(picture))


def test_base64() -> None:
    text = base64.b64encode(packed()).decode()
    assert same(load_image(text), PICTURE)
    assert same(load_image(f"data:image/png;base64,{text}"), PICTURE)
    assert same(load_image(f"DATA:image/png;charset=x;base64,{text.rstrip('=')}"), PICTURE)
    assert same(load_image("\n".join(text[i : i + 76] for i in range(0, len(text), 76)) + "\n"), PICTURE)
    refused("data:image/png," + text, "base64")
    refused("data:image/svg+xml;base64,PHN2Zy8+", "no picture")
    refused(base64.b64encode(b"no picture at all" * 99).decode(), "base64", kind=PictureNotFoundError)


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_ends_in_a_picture_error(text: str) -> None:
    if "://" not in text:
        with pytest.raises(PictureError):
            load_image(text)


def test_lists_keep_their_form(tmp_path: Path) -> None:
    PICTURE.save(path := tmp_path / "cat.png")
    one, (two, three), none = load_images([path, (PICTURE, str(path)), []])
    assert all(same(picture, PICTURE) for picture in (one, two, three))
    assert none == []
    assert same(load_images(str(path)), PICTURE)
