"""Pictures as files, and HTTP spoken byte by byte: what no well-behaved client sends."""

from __future__ import annotations

import io
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

import ready


def file_of(seed: int = 0, width: int = 40, height: int = 30, kind: str = "PNG") -> bytes:
    """-> the file of a picture of noise."""
    file = io.BytesIO()
    ready.picture(seed, width, height).save(file, kind)
    return file.getvalue()


def mask_file(width: int = 40, height: int = 30) -> bytes:
    """-> the PNG of a mask of the left half."""
    mask, file = Image.new("L", (width, height)), io.BytesIO()
    mask.paste(255, (0, 0, width // 2, height))
    mask.save(file, "PNG")
    return file.getvalue()


def connected(url: str, seconds: float = 30) -> socket.socket:
    """An address -> a connection to it."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), seconds)


def head(url: str, method: str, path: str, **headers: object) -> bytes:
    """-> the head of a request; a header `content_length` is written as Content-Length."""
    lines = [f"{method} {path} HTTP/1.1"]
    given = {"host": urlsplit(url).netloc, **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection: socket.socket, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """A connection on which all was sent -> status, headers and body."""
    from http.client import HTTPResponse

    response = HTTPResponse(connection, method=method)
    response.begin()
    body = response.read()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def asked(url: str, method: str, path: str, body: bytes | None = None, **headers: object) -> Any:
    """A request -> status, headers, and the body, read where it is JSON."""
    if body is not None and "transfer_encoding" not in headers:
        headers = {"content_length": len(body), **headers}
    with connected(url) as connection:
        connection.sendall(head(url, method, path, connection="close", **headers) + (body or b""))
        status, answered, content = answer(connection, method)
    is_json = content and answered.get("content-type", "").startswith("application/json")
    return status, answered, json.loads(content) if is_json else content


def posted(url: str, path: str, body: Any, **headers: object) -> Any:
    """A value as JSON -> status and answer."""
    status, _, content = asked(url, "POST", path, json.dumps(body).encode(), content_type="application/json", **headers)
    return status, content
