"""The Open Inference Protocol (KServe V2) over the same engine: clients of Triton, KServe and OpenVINO ask unchanged.

    inputs    picture BYTES [1]: a picture's file, in binary, or in JSON as base64 with `content_type: base64`
              prompts BYTES [P]: phrases and expressions
    outputs   labels BYTES [P] · scores FP32 [P] · probabilities FP32 [P, h, w], at the resolution of the logits
              masks BOOL [P, H, W] · boxes INT64 [P, 4]: at the size of the picture; only where they are asked for

The parameters of a request are `fit` and the names of mask options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from clipseg.masks.masks import Masks
from clipseg.server import tensors
from clipseg.server.reading import options_in
from clipseg.server.refusals import RequestError, TooLargeError, UnknownError
from clipseg.server.replies import Reply
from clipseg.server.requests import ProtocolFailure
from clipseg.server.running import Runner
from clipseg.server.service import Service
from clipseg.server.settings import Limits
from clipseg.server.tickets import Ticket
from clipseg.version import __version__

VERSION = "1"
"""Of the one model there is; its name tells it from others."""

OUTPUTS: dict[str, tuple[str, list[int], Callable[[Masks], NDArray[Any] | list[str]]]] = {
    "labels": ("BYTES", [-1], lambda masks: list(masks.labels)),
    "scores": ("FP32", [-1], lambda masks: masks.scores().numpy()),
    "probabilities": (
        "FP32",
        [-1, -1, -1],
        lambda masks: masks.probabilities((masks.logits.shape[1], masks.logits.shape[2])).numpy(),
    ),
    "masks": ("BOOL", [-1, -1, -1], lambda masks: masks.binary().numpy()),
    "boxes": ("INT64", [-1, 4], lambda masks: masks.boxes().numpy()),
}
"""Name -> type, shape, and how it is made."""

_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": ["picture", "prompts"]},
        "datatype": {"type": "string", "enum": ["BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {"type": "string"}},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "enum": list(OUTPUTS)}, "parameters": {"type": "object"}},
            },
        },
    },
}
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _REQUEST}, "application/octet-stream": _BINARY},
    }
}
_ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": _BINARY}}}

USUAL = ("labels", "scores", "probabilities")


def router(service: Service, runner: Runner, refused: Iterable[int]) -> APIRouter:
    """-> the routes, which may answer with the statuses that are `refused`."""
    failures: dict[int | str, dict[str, Any]] = {status: {"model": ProtocolFailure} for status in refused}
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=failures)

    def known(model: str, version: str) -> None:
        if model.lower() != _route_name(service.name).lower() or version != VERSION:
            raise UnknownError(f"there is no model {model[:100]!r} of version {version[:20]!r} here")

    @routes.get("")
    def server() -> dict[str, Any]:
        return {"name": "clipseg", "version": __version__, "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    def live() -> dict[str, bool]:
        return {"live": True}

    @routes.get("/health/ready")
    def ready() -> Response:
        is_ready = service.engine.ready
        return Reply({"ready": is_ready}, 200 if is_ready else 503)

    @routes.get("/models/{model}")
    @routes.get("/models/{model}/versions/{version}")
    def model(model: str, version: str = VERSION) -> dict[str, Any]:
        known(model, version)
        return {
            "name": model,
            "versions": [VERSION],
            "platform": "clipseg",
            "inputs": [
                {"name": "picture", "datatype": "BYTES", "shape": [1]},
                {"name": "prompts", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape, _) in OUTPUTS.items()],
        }

    @routes.get("/models/{model}/ready")
    @routes.get("/models/{model}/versions/{version}/ready")
    def model_ready(model: str, version: str = VERSION) -> Response:
        known(model, version)
        is_ready = service.engine.ready
        return Reply({"name": model, "ready": is_ready}, 200 if is_ready else 503)

    @routes.post("/models/{model}/infer", openapi_extra=_BODY, responses=_ANSWER)
    @routes.post("/models/{model}/versions/{version}/infer", openapi_extra=_BODY, responses=_ANSWER)
    async def infer(request: Request, model: str, version: str = VERSION) -> Response:
        known(model, version)
        body, header = await request.body(), request.headers.get(tensors.HEADER)
        content, length = await runner.run(request, lambda ticket: _inferred(service, model, body, header, ticket))
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={tensors.HEADER: str(length)})

    return routes


def _route_name(name: str) -> str:
    """A model's name -> the same as one part of a path: without its owner."""
    return name.rpartition("/")[2]


def _inferred(
    service: Service, model: str, body: bytes, header: str | None, ticket: Ticket
) -> tuple[bytes, int | None]:
    request, inputs = tensors.read(body, header)
    if set(inputs) != {"picture", "prompts"} or len(inputs["picture"]) != 1:
        raise RequestError("the inputs are picture, of one element, and prompts; see the model's metadata")
    wanted, binary = _outputs(request)
    options = dict(tensors.parameters(request))
    options.pop("binary_data_output", None)
    fit = options.pop("fit", None)
    if fit is not None and not isinstance(fit, str):
        raise RequestError("fit is a text")
    try:
        texts = [text.decode() for text in inputs["prompts"]]
    except UnicodeDecodeError:
        raise RequestError("prompts are texts in UTF-8") from None
    chosen = options_in(options)
    picture = service.computed(ticket, lambda: service.pictures.add(inputs["picture"][0]))
    masks = service.masks(picture, texts, chosen, fit, ticket)

    def made() -> tuple[bytes, int | None]:
        for name in wanted:
            _check_size(name, masks, name in binary, service.limits)
        outputs = {name: OUTPUTS[name][2](masks) for name in wanted}
        cast = {
            name: values if isinstance(values, list) else np.ascontiguousarray(values)
            for name, values in outputs.items()
        }
        answer: dict[str, Any] = {"model_name": model, "model_version": VERSION}
        if isinstance(request.get("id"), str):
            answer["id"] = request["id"][:200]
        return tensors.written(answer, cast, binary)

    return service.computed(ticket, made)


def _check_size(name: str, masks: Masks, in_bytes: bool, limits: Limits) -> None:
    """Raises TooLargeError for an output beyond the limit, before it is made."""
    count = {"probabilities": masks.logits.numel(), "masks": len(masks) * masks.size_hw[0] * masks.size_hw[1]}.get(
        name, 0
    )
    size, most = (4 if name == "probabilities" else 1) * count, limits.answer_bytes
    if in_bytes and size > most:
        raise TooLargeError(f"{name} would have {size} bytes, and the limit is {most}; ask for fewer prompts at once")
    if not in_bytes and count > most // 100:  # a number takes many letters, and more of memory while they are written
        raise TooLargeError(
            f"{name} would have {count} numbers in JSON, and the limit is {most // 100}; take binary_data"
        )


def _outputs(request: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A request -> the names of the outputs it wants, and of those wanted as bytes. Raises RequestError."""
    asked = request.get("outputs") or [{"name": name} for name in USUAL]
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise RequestError('"outputs" is a list of objects with names')
    names = [one.get("name") for one in asked]
    if not all(isinstance(name, str) and name in OUTPUTS for name in names):
        raise RequestError(f"known outputs are {', '.join(OUTPUTS)}")
    if len(set(names)) != len(names):  # each would be made as often as it is named
        raise RequestError("an output is asked for once")
    everywhere = tensors.parameters(request).get("binary_data_output") is True
    binary = [one["name"] for one in asked if tensors.parameters(one).get("binary_data", everywhere) is True]
    return [str(name) for name in names], binary
