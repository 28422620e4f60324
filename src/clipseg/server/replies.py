"""Answers in JSON, those of errors among them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from clipseg.server.refusals import RefusedError, status_of, told


class Reply(Response):
    """Plain values -> an answer in JSON, in ASCII: halves of surrogate pairs in it harm nobody."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """-> its bytes. Raises ValueError for what is not finite."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def failure(error: Exception, path: str = "") -> Reply:
    """An error, and the path that was asked -> its answer; under /v2 as the Open Inference Protocol has it."""
    headers = error.headers if isinstance(error, RefusedError) else {}
    body: dict[str, Any] = told(error)
    if path.startswith("/v2"):
        body = {"error": f"{body['error']['kind']}: {body['error']['message']}"}
    return Reply(body, status_of(error), headers)
