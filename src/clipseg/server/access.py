"""Who may ask, and what browsers are told: host, origin, token, and headers that every answer has.

A page elsewhere can send requests to this machine from its visitor's browser, and can even have its own name lead here
(DNS rebinding). The first is told by the header Origin, the second by Host, which browsers do not let pages change.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipseg.server.refusals import HostError, OriginError, RefusedError, TokenError
from clipseg.server.replies import failure
from clipseg.server.settings import Access

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer; one that has another value for itself keeps it."""

OPEN = re.compile(r"/|/static/.*|/health|/ready|/v2/health/(live|ready)")
"""Paths that need no token: the page without anything in it, and whether there is a server."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d{1,5})?", re.ASCII)

_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Inference-Header-Content-Length",
    "Access-Control-Expose-Headers": "Retry-After, Inference-Header-Content-Length",
    "Access-Control-Max-Age": "600",
}


class Guard:
    """ASGI middleware: requests that may not be asked go no further, and no answer leaves without its headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if origin in self._access.origins else None

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
                own.add_vary_header("Origin")
                if allowed is not None:
                    own["Access-Control-Allow-Origin"] = allowed
                    own["Cross-Origin-Resource-Policy"] = "cross-origin"
                    own.update(_CORS)
            await send(message)

        try:
            self._check(scope, headers, origin, allowed)
        except RefusedError as error:
            await failure(error, scope["path"])(scope, receive, with_headers)
            return
        if allowed is not None and scope["method"] == "OPTIONS":
            await Response(status_code=204)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _check(self, scope: Scope, headers: Headers, origin: str | None, allowed: str | None) -> None:
        """Raises HostError, OriginError and TokenError."""
        host = headers.get("host", "")
        if self._access.hosts is not None and _name_of(host) not in self._access.hosts:
            raise HostError("this server has another name; see --allow-host of clipseg serve")
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        crossing = origin is None and headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/"
        if allowed is None and (foreign or crossing):
            raise OriginError("pages of other origins may not ask; see --allow-origin of clipseg serve")
        if allowed is not None and scope["method"] == "OPTIONS":
            return
        if self._access.token is None or OPEN.fullmatch(scope["path"]):
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._access.token.encode()):
            raise TokenError("a token is needed: send the header Authorization: Bearer TOKEN")


def _name_of(host: str) -> str:
    """A header Host -> the name in it, without the port; empty where it is none."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""
