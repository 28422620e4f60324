"""The page's files, as they lie in the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
INDEX = FOLDER / "index.html"

TYPES: Mapping[str, str] = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}
"""Suffix -> media type: what a system says of .js may be another, and browsers would not run it then."""


class Static(StaticFiles):
    """Files that browsers keep, and ask about each time: an update of the package is seen at once."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """A file -> its answer, or that it is as it was."""
        kind = TYPES.get(Path(full_path).suffix)
        headers = {"Cache-Control": "no-cache"}
        response = FileResponse(full_path, status_code, headers, media_type=kind, stat_result=stat_result)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response
