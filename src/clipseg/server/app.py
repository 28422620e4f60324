"""The routes, and what becomes of errors. What routes do is in `service`, and who may ask in `access`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from clipseg.errors import ClipsegError
from clipseg.server import described, requests, v2
from clipseg.server.access import Guard
from clipseg.server.counting import Counted
from clipseg.server.limits import BodyLimit
from clipseg.server.metrics import MEDIA_TYPE
from clipseg.server.page import FOLDER, INDEX, Static
from clipseg.server.refusals import MediaError, MethodError, RequestError, UnknownError, status_of
from clipseg.server.replies import Reply, failure
from clipseg.server.running import Runner
from clipseg.server.service import Service
from clipseg.server.settings import Access
from clipseg.server.uploads import FORM, picture_file
from clipseg.version import __version__

DESCRIPTION = "Cut anything out of a picture by saying what it is, or by showing an example of it."

_STATUSES = (400, 401, 403, 404, 408, 411, 413, 415, 422, 429, 500, 503)
_FAILURES: dict[int | str, dict[str, Any]] = {status: {"model": requests.Failure} for status in _STATUSES}

_BYTES = {"type": "string", "format": "binary"}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _BYTES},
            "application/octet-stream": {"schema": _BYTES},
            FORM: {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BYTES}}},
        },
    }
}
_FILES = {"content": {"application/json": {}, "image/png": {"schema": _BYTES}, "application/zip": {"schema": _BYTES}}}

_logger = logging.getLogger(__name__)


def application(service: Service, access: Access) -> ASGIApp:
    """A service and who may ask -> the server, as uvicorn and others run it. It starts and closes the service."""
    return _Heads(Counted(Guard(BodyLimit(_routes(service, access), service.limits), access), service.metrics))


class _Heads:
    """ASGI middleware: HEAD is answered as GET, of which the protocol sends no body. Load balancers ask so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


def _routes(service: Service, access: Access) -> FastAPI:
    runner = Runner(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await run_in_threadpool(service.close)
        runner.close()

    app = FastAPI(
        title="clipseg",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        telemetry={
            "auto_configure": False,
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # nothing is sent anywhere
        responses=_FAILURES,
    )
    _add_errors(app)
    if access.page and INDEX.is_file():
        app.mount("/static", GZipMiddleware(Static(directory=FOLDER), minimum_size=1000))

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        if access.page and INDEX.is_file():
            return FileResponse(INDEX, headers={"Cache-Control": "no-cache"}, media_type="text/html")
        return Reply({"name": "clipseg", "version": __version__, "openapi": "/openapi.json"})

    @app.get("/health", tags=["Health"])
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", tags=["Health"])
    def ready() -> Response:
        status = service.status()
        return Reply(status, 200 if status["status"] == "ready" else 503)

    @app.get("/metrics", tags=["Health"], responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=MEDIA_TYPE)

    @app.get("/v1/models", tags=["What there is"])
    def models() -> dict[str, Any]:
        return {"models": service.models()}

    @app.get("/v1/options", tags=["What there is"])
    def options() -> dict[str, Any]:
        return described.options()

    @app.get("/v1/formats", tags=["What there is"])
    def formats() -> dict[str, Any]:
        return described.formats()

    @app.get("/v1/styles", tags=["What there is"])
    def styles() -> dict[str, Any]:
        return described.styles()

    @app.get("/v1/limits", tags=["What there is"])
    def limits() -> dict[str, Any]:
        return described.limits(service.limits)

    @app.post("/v1/pictures", tags=["Pictures"], openapi_extra=_UPLOAD, response_model=requests.PictureAnswer)
    async def pictures(request: Request) -> Response:
        """Send a picture once; ask about it by its id as often as you like."""
        content = await picture_file(request)
        answer = await runner.run(request, lambda ticket: service.upload(content, ticket))
        return Reply(answer.model_dump())

    @app.post("/v1/segment", tags=["Pictures"], response_model=requests.SegmentAnswer, responses={200: _FILES})
    async def segment(request: Request, asked: requests.SegmentRequest) -> Response:
        """Find things in a picture."""
        answer, kind = await runner.run(request, lambda ticket: service.segment(asked, ticket))
        return Response(answer, media_type=kind) if isinstance(answer, bytes) else Reply(answer)

    @app.post("/v1/similarity", tags=["Pictures"], response_model=requests.SimilarityAnswer)
    async def similarity(request: Request, asked: requests.SimilarityRequest) -> Response:
        """Compare a picture as a whole with prompts, as CLIP does."""
        return Reply((await runner.run(request, lambda ticket: service.similarity(asked, ticket))).model_dump())

    @app.post("/v1/embed", tags=["Prompts"], response_model=requests.EmbedAnswer)
    async def embed(request: Request, asked: requests.EmbedRequest) -> Response:
        """Get the embeddings of prompts."""
        return Reply((await runner.run(request, lambda ticket: service.embed(asked, ticket))).model_dump())

    @app.post("/v1/prompts", tags=["Prompts"], response_model=requests.StoredPrompt)
    async def store(request: Request, asked: requests.StoreRequest) -> Response:
        """Have a prompt remembered under a name."""
        return Reply((await runner.run(request, lambda ticket: service.store(asked, ticket))).model_dump())

    @app.get("/v1/prompts", tags=["Prompts"], response_model=requests.StoredPrompts)
    def stored() -> Response:
        """List the prompts that are remembered."""
        return Reply(service.stored().model_dump())

    app.include_router(v2.router(service, runner, _STATUSES))
    return app


def _add_errors(app: FastAPI) -> None:
    """Every error becomes an answer in JSON that tells what was wrong, and nothing of this machine."""

    async def known(request: Request, error: Exception) -> Response:
        if status_of(error) == 503 and error.__cause__ is not None:
            _logger.warning("%s: %s", type(error).__name__, error)
        return failure(error, request.url.path)

    async def unknown(request: Request, error: Exception) -> Response:
        _logger.error("a request to %r failed: %r", request.url.path, error)  # uvicorn logs where
        return failure(error, request.url.path)

    async def invalid(request: Request, error: Exception) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            return failure(MediaError(f"the body is JSON, of type application/json; got {kind[:40]!r}"))
        return failure(RequestError(_told(error)))

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        path = json.dumps(request.url.path[:100])
        if status == 404:
            return failure(UnknownError(f"there is nothing at {path}; see /openapi.json"), request.url.path)
        if status == 405:
            headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
            refused = failure(MethodError(f"{path} is not asked by {request.method}"), request.url.path)
            refused.headers.update(headers)
            return refused
        return failure(RequestError("the body cannot be read as JSON"), request.url.path)

    app.add_exception_handler(ClipsegError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unknown)


def _told(error: Exception) -> str:
    """What was found wrong with a body -> one thing of it, and where; what was given is not repeated."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    if not found:
        return "the body is not as documented"
    problem = requests.most_telling(found)
    where = ".".join(str(part)[:40] for part in _place(problem, error.body))  # type: ignore[attr-defined]
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def _place(problem: Mapping[str, Any], body: Any) -> Iterator[Any]:
    """A problem and the body that it is in -> the names and numbers that lead to it.

    Pydantic's own path also has words for the types that it tried, which say nothing to who wrote the body.
    """
    parts = problem["loc"][1:]
    for number, part in enumerate(parts, 1):
        if part in body if isinstance(body, dict) else isinstance(body, list) and part in range(len(body)):
            body = body[part]
            yield part
        elif problem["type"] == "missing" and number == len(parts):
            yield part
