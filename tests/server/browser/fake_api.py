"""A small stand-in for the API: it answers the page with masks that are drawn, not computed, and with errors on order.

It keeps to the contract of the routes that the page uses, and remembers what it was asked. A phrase decides what is
found: "left" and "right" are a blob there, "two" are two, "nothing" is none, "slope" rises from left to right, and
anything else is a blob in the middle. Expressions that do not close a bracket are refused as the library does.
`FakeApi.trouble` takes statuses that the next calls of /v1/segment answer.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import clipseg

STATIC = Path(clipseg.__file__).parent / "server" / "static"
MEDIA = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SIDE = 96  # of the maps
FORMATS = [
    {
        "name": "png",
        "suffix": ".png",
        "scope": "mask",
        "summary": "black and white, 0 and 255",
        "options": ["threshold"],
    },
    {"name": "heatmap", "suffix": ".png", "scope": "mask", "summary": "colours", "options": ["colormap", "alpha"]},
    {
        "name": "overlay",
        "suffix": ".png",
        "scope": "picture",
        "summary": "masks over the picture",
        "options": ["alpha"],
    },
    {"name": "coco", "suffix": ".json", "scope": "data set", "summary": "COCO", "options": ["instances"]},
]


class FakeApi:
    """A server on a free port of this machine, until it is closed."""

    def __init__(self) -> None:
        self.pictures: dict[str, tuple[int, int]] = {}
        self.asked: list[dict[str, Any]] = []
        self.uploads = 0
        self.trouble: deque[int] = deque()
        self.loading: deque[float] = deque()
        self.token: str | None = None
        self.bytes_sent: dict[str, int] = {}
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def forget(self) -> None:
        """Let go of all pictures, as a full cache does."""
        self.pictures.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/" or path.startswith("/static/"):
            self._file("index.html" if path == "/" else path.removeprefix("/static/"))
        elif path == "/ready":
            if self.api.loading:
                share = self.api.loading.popleft()
                self._json(503, {"status": "loading", "progress": share, "message": "Downloading the model"})
            else:
                self._json(200, {"status": "ready", "model": "nano"})
        elif self._refused():
            return
        elif path == "/v1/models":
            self._json(200, {"models": [{"name": "nano", "loaded": True, "size_bytes": 1, "side": 160, "text": True}]})
        elif path == "/v1/formats":
            self._json(200, {"formats": FORMATS})
        elif path == "/v1/styles":
            self._json(200, {"styles": ["crop_blur_highlight", "cut_out", "whole"], "default": "crop_blur_highlight"})
        else:
            self._error(404, "UsageError", "there is no such route")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        if self.path == "/v1/pictures":
            self._upload(body)
        else:
            self._segment(json.loads(body))

    def _upload(self, body: bytes) -> None:
        self.api.uploads += 1
        try:
            width, height = ImageOps.exif_transpose(Image.open(io.BytesIO(body))).size
        except OSError:
            self._error(415, "PictureError", "this is no picture")
            return
        if len(body) > 30_000_000:
            self._error(413, "PictureError", "the picture has more bytes than the 30 MB that are allowed")
            return
        name = hashlib.sha256(body).hexdigest()
        self.api.pictures[name] = (width, height)
        self._json(200, {"id": name, "width": width, "height": height})

    def _segment(self, question: dict[str, Any]) -> None:
        self.api.asked.append(question)
        if self.api.trouble:
            status = self.api.trouble.popleft()
            said = {429: "the queue is full", 503: "the model is loading", 413: "the picture has too many pixels"}
            self._error(status, "Refused", said.get(status, "something went wrong"), {"Retry-After": "1"})
            return
        named = [question["picture"], *(prompt.get("picture", question["picture"]) for prompt in question["prompts"])]
        if any(name not in self.api.pictures for name in named):
            self._error(404, "PictureNotFoundError", "unknown picture; upload it again")
            return
        for prompt in question["prompts"]:
            if prompt.get("text", "").count("(") > prompt.get("text", "").count(")"):
                self._error(400, "PromptError", "column 1: '(' is never closed; add a ')'")
                return
        width, height = self.api.pictures[question["picture"]]
        if question.get("format") == "zip":
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as archive:
                for name in question["formats"]:
                    archive.writestr(f"{question.get('name', 'picture')}.{name.partition(':')[0]}.txt", name)
            self._send(200, content.getvalue(), "application/zip")
            return
        masks = [_mask(prompt, width, height) for prompt in question["prompts"]]
        self._json(
            200, {"picture": question["picture"], "width": width, "height": height, "masks": masks, "timing": {}}
        )

    def _refused(self) -> bool:
        if self.api.token is None or self.headers.get("Authorization") == f"Bearer {self.api.token}":
            return False
        self._error(401, "Unauthorized", "a token is needed: send the header Authorization: Bearer TOKEN")
        return True

    def _file(self, name: str) -> None:
        path = STATIC / name
        if not path.is_file():
            self._error(404, "UsageError", "there is no such file")
            return
        self._send(200, path.read_bytes(), MEDIA[path.suffix])

    def _json(self, status: int, content: object) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _error(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        content = json.dumps({"error": {"kind": kind, "message": message}}).encode()
        self._send(status, content, "application/json", headers)

    def _send(self, status: int, content: bytes, media: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": media,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": POLICY,
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.api.bytes_sent[self.path] = len(content)
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def soft_map(text: str, side: int = SIDE) -> np.ndarray:
    """A phrase -> the probabilities (side, side) that stand for its answer."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side

    def blob(at_x: float, at_y: float, radius: float) -> np.ndarray:
        return 1 / (1 + np.exp((np.hypot(x - at_x, y - at_y) - radius) * 60))

    if "nothing" in text:
        return np.full((side, side), 0.03)
    if "slope" in text:
        return x
    places = {"left": [(0.25, 0.5)], "right": [(0.75, 0.5)], "two": [(0.25, 0.35), (0.7, 0.65)]}
    found = next((value for name, value in places.items() if name in text), [(0.5, 0.5)])
    return np.maximum.reduce([blob(at_x, at_y, 0.16) for at_x, at_y in found])


def _mask(prompt: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    label = prompt.get("label") or prompt.get("text", "example")
    probabilities = soft_map(label)
    png = io.BytesIO()
    Image.fromarray(np.rint(255 * probabilities).astype(np.uint8)).save(png, "PNG")
    halves = [
        {"number": 1, "box": [0, 0, width // 2, height], "centroid": [width / 4, height / 3]},
        {"number": 2, "box": [width // 2, 0, width, height], "centroid": [0.7 * width, 0.6 * height]},
    ]
    return {
        "label": label,
        "score": float(probabilities.max()),
        "presence": 0.87,
        "threshold": 0.4,
        "map": {"width": SIDE, "height": SIDE, "png": base64.b64encode(png.getvalue()).decode()},
        "instances": halves,
    }
