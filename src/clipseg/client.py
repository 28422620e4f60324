"""A client of `clipseg serve`, on the standard library alone.

    client = Client("http://127.0.0.1:8000")
    picture = client.upload("kitchen.jpg")
    for mask in client.segment(picture, ["a glass", "wood"]).masks:
        print(mask.label, mask.score, mask.box)

A picture is sent once; if the server has forgotten it, it is sent again unasked.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from clipseg import errors
from clipseg.errors import ClipsegError, PictureNotFoundError, UsageError

PictureFile: TypeAlias = "str | os.PathLike[str] | bytes"
PromptSource: TypeAlias = "str | Mapping[str, Any]"
"""A phrase or expression, or a prompt as docs/http.md describes it."""

SECONDS = 120.0
TRIES = 5
"""At a server that is busy, which says when to come again."""


LONGEST_WAIT = 60.0
"""Seconds before another try, whatever is told."""


class ServiceError(ClipsegError):
    """A server that cannot be reached, or that refuses for a reason of its own.

    Fields
        status  of HTTP; None where there was no answer
        kind    what the server calls it, such as "BusyError"
    """

    def __init__(self, message: str, status: int | None = None, kind: str = "ServiceError") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Picture:
    """A picture that the server knows; `content` is its file."""

    id: str
    width: int
    height: int
    content: bytes = field(repr=False, compare=False)


@dataclass(frozen=True)
class FoundMask:
    """One mask; what was not asked for is None.

    Fields
        label      of its prompt
        score      how sure the model is that it is there at all, 0 to 1
        presence   the probability of that, where the model was calibrated
        threshold  that decided it
        area       pixels
        box        x0, y0, x1, y1, half-open; None for an empty mask
        more       everything the answer says of it: "rle", "polygons", "png", "map", "instances"
    """

    label: str
    score: float
    presence: float | None
    threshold: float | str | None
    area: int | None
    box: tuple[int, int, int, int] | None
    more: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Segmentation:
    """The masks of a picture, and where the time went in milliseconds."""

    picture: str
    width: int
    height: int
    masks: tuple[FoundMask, ...]
    timing: Mapping[str, Any]

    def __getitem__(self, label: str) -> FoundMask:
        """A label -> the first mask of it. Raises KeyError."""
        for mask in self.masks:
            if mask.label == label:
                return mask
        raise KeyError(label)


class Client:
    """Asks a server. Each thread should have its own: it keeps one connection."""

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None, seconds: float = SECONDS) -> None:
        """The server's address and token; `seconds` are waited for an answer. Raises UsageError for no address."""
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number, or half of a bracket
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(f"{url!r} is no address of a server; expected one such as http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(host, port, timeout=seconds)
        self._base = parts.path
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; another question opens it again."""
        self._connection.close()

    def ready(self) -> bool:
        """-> whether the model is loaded. Raises ServiceError where there is no server."""
        status, _, _ = self._exchange("GET", "/ready", None, {})
        return status == 200

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until the model is loaded. Raises ServiceError where it is not by then."""
        until = time.monotonic() + seconds
        while True:
            status, _, content = self._exchange("GET", "/ready", None, {})
            if status == 200:
                return
            said = _json(content)
            if time.monotonic() > until or said.get("status") == "failed":
                raise ServiceError(str(said.get("message", "the server is not ready")), status, "NotReadyError")
            time.sleep(0.1)

    def upload(self, picture: PictureFile) -> Picture:
        """A picture's file, or its bytes -> the picture, which the server knows now.

        Raises PictureNotFoundError for a file that is not there, and PictureError.
        """
        content = picture if isinstance(picture, bytes) else _read(picture)
        known = _json(self._asked("POST", "/v1/pictures", content, "application/octet-stream"))
        return Picture(known["id"], known["width"], known["height"], content)

    def segment(
        self,
        picture: Picture | PictureFile,
        prompts: PromptSource | Sequence[PromptSource],
        *,
        results: Iterable[str] = ("rle",),
        **more: Any,
    ) -> Segmentation:
        """A picture under prompts -> its masks; `more` are the names of a request in docs/http.md, such as `options`.

        Raises PromptError, UsageError and PictureError as the library does, and ServiceError.
        """
        answer = _json(self._segmented(picture, prompts, {"results": list(results), **more}))
        masks = tuple(
            FoundMask(
                row["label"],
                row["score"],
                row["presence"],
                row["threshold"],
                row["area"],
                None if row["box"] is None else (row["box"][0], row["box"][1], row["box"][2], row["box"][3]),
                row,
            )
            for row in answer["masks"]
        )
        return Segmentation(answer["picture"], answer["width"], answer["height"], masks, answer["timing"])

    def download(
        self,
        picture: Picture | PictureFile,
        prompts: PromptSource | Sequence[PromptSource],
        *,
        formats: Sequence[str] = (),
        **more: Any,
    ) -> bytes:
        """A picture under prompts -> a zip in these formats, or without any a PNG. Raises as `segment`."""
        how = {"format": "zip", "formats": list(formats)} if formats else {"format": "png"}
        return self._segmented(picture, prompts, {**how, **more})

    def embed(self, prompts: PromptSource | Sequence[PromptSource]) -> list[list[float]]:
        """Prompts -> their embeddings; they can be prompts again, as {"embedding": …}."""
        rows: list[list[float]] = self.ask("/v1/embed", {"prompts": _listed(prompts)})["embeddings"]
        return rows

    def similarity(
        self, picture: Picture | PictureFile, prompts: PromptSource | Sequence[PromptSource]
    ) -> dict[str, float]:
        """A picture and prompts -> the cosine of each label."""
        answer = _json(self._about(picture, "/v1/similarity", {"prompts": _listed(prompts)}))
        return dict(zip(answer["labels"], answer["cosines"], strict=True))

    def store(self, prompt: PromptSource, label: str | None = None) -> str:
        """A prompt -> the id under which the server remembers its embedding: {"prompt": id} is a prompt too."""
        name: str = self.ask("/v1/prompts", {"prompt": prompt, "label": label})["id"]
        return name

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A route of docs/http.md and what it is sent, if anything -> its answer, read."""
        if body is None:
            return _json(self._asked("GET", path, None, ""))
        return _json(self._asked("POST", path, json.dumps(body).encode(), "application/json"))

    # ------------------------------------------------------------------------------------------------------------

    def _segmented(
        self,
        picture: Picture | PictureFile,
        prompts: PromptSource | Sequence[PromptSource],
        more: Mapping[str, Any],
    ) -> bytes:
        return self._about(picture, "/v1/segment", {"prompts": _listed(prompts), **more})

    def _about(self, picture: Picture | PictureFile, path: str, question: Mapping[str, Any]) -> bytes:
        """A picture and what is asked of it -> the answer; the picture is sent where the server has it not."""
        known = picture if isinstance(picture, Picture) else self.upload(picture)
        body = json.dumps({"picture": known.id, **question}).encode()
        try:
            return self._asked("POST", path, body, "application/json")
        except ServiceError as error:
            if error.status != 404:
                raise
            self.upload(known.content)  # others have sent so many since that it was forgotten
            return self._asked("POST", path, body, "application/json")

    def _asked(self, method: str, path: str, body: bytes | None, kind: str) -> bytes:
        """-> the body of a good answer. Raises the error that another one tells."""
        headers = {"Content-Type": kind} if body is not None else {}
        for again in range(TRIES):
            status, answered, content = self._exchange(method, path, body, headers)
            if status != 429 or again + 1 == TRIES:
                break
            time.sleep(_wait_of(answered.get("retry-after", "1")))
        if status == 200:
            return content
        raise _error(status, content)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        for again in (True, False):
            fresh = self._connection.sock is None
            try:
                self._connection.request(method, self._base + path, body, {**headers, **self._headers})
                response = self._connection.getresponse()
                content = response.read()
                return response.status, {name.lower(): value for name, value in response.getheaders()}, content
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                # One that was kept open may have been closed meanwhile; one that is silent has the question.
                if fresh or not again or isinstance(error, TimeoutError):
                    raise ServiceError(f"the server does not answer ({error}); is `clipseg serve` running?") from error
        raise AssertionError  # the loop has returned or raised


def _wait_of(told: str) -> float:
    """The header Retry-After -> seconds, LONGEST_WAIT at most. Servers between may tell a date, which is not read."""
    return min(float(told), LONGEST_WAIT) if told.isascii() and told.isdecimal() else 1.0


def _listed(prompts: PromptSource | Sequence[PromptSource]) -> list[PromptSource]:
    return [prompts] if isinstance(prompts, (str, Mapping)) else list(prompts)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise PictureNotFoundError(f"there is no picture file {os.fspath(path)} ({error.strerror or error})") from error


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise ServiceError("the server's answer is no JSON; is it a clipseg server?") from None


def _error(status: int, content: bytes) -> ClipsegError:
    """An answer that is none -> the library's own error where it is one of those, else a ServiceError."""
    try:
        told = json.loads(content)["error"]
        kind, message = str(told["kind"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(f"the server answers with status {status}", status)
    own = getattr(errors, kind, None)
    if status < 500 and isinstance(own, type) and issubclass(own, ClipsegError):
        return own(message)
    return ServiceError(message, status, kind)
