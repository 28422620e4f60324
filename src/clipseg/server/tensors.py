"""Tensors as the Open Inference Protocol (KServe V2) sends them: in JSON, or as bytes behind it.

A body may be JSON with a binary part behind it: the header `Inference-Header-Content-Length` says where the JSON ends,
and each tensor in bytes says `binary_data_size`. Numbers are little-endian; a text is led by its length in 4 bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipseg.server.refusals import RequestError

HEADER = "inference-header-content-length"

TYPES: Mapping[str, str] = {"FP32": "<f4", "INT64": "<i8", "BOOL": "|b1", "UINT8": "|u1"}
"""The protocol's names -> NumPy's, of what is answered."""

MOST_SIDES = 8
"""Of a tensor's shape. A product of sides without bounds has millions of digits, and takes hours."""

_DTYPES = {np.dtype(own): name for name, own in TYPES.items()}


def read(body: bytes, header: str | None) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    """A body -> its JSON, and the elements of each input, all of type BYTES. Raises RequestError."""
    length = len(body)
    if header is not None:
        # Python reads no number of thousands of digits.
        if not (header.isascii() and header.isdecimal() and len(header) < 20 and int(header) <= length):
            raise RequestError(f"{HEADER} is {header[:20]!r}; expected the length of the JSON, up to {length}")
        length = int(header)
    try:
        request = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON ({error})") from None
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise RequestError('a request is an object with a list "inputs" of tensors')
    rest, elements = memoryview(body)[length:], {}
    for one in inputs:
        name, size = one.get("name"), parameters(one).get("binary_data_size")
        if not isinstance(name, str) or one.get("datatype") != "BYTES":
            raise RequestError(f'each input has a name and datatype "BYTES"; got {str(one.get("datatype"))[:20]!r}')
        if size is None:
            elements[name] = _from_json(name, one.get("data"), parameters(one))
        else:
            if type(size) is not int or not 0 <= size <= len(rest):
                raise RequestError(f"input {name[:40]!r} has binary_data_size {str(size)[:20]}, which is not there")
            elements[name] = _from_bytes(name, rest[:size])
            rest = rest[size:]
        shape = one.get("shape")
        if not isinstance(shape, list) or len(shape) > MOST_SIDES or not all(type(side) is int for side in shape):
            raise RequestError(f"input {name[:40]!r} has no shape of up to {MOST_SIDES} whole numbers")
        count = len(elements[name])
        if not all(0 <= side <= count for side in shape) or prod(shape) != count:
            raise RequestError(f"input {name[:40]!r} has shape {str(shape)[:80]} but {count} elements")
    return request, elements


def parameters(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Part of a request -> its parameters. Raises RequestError."""
    found = part.get("parameters") or {}
    if not isinstance(found, dict):
        raise RequestError("parameters are an object")
    return found


def written(
    answer: dict[str, Any], outputs: Mapping[str, NDArray[Any] | list[str]], binary: Sequence[str]
) -> tuple[bytes, int | None]:
    """An answer without outputs, the outputs, and those wanted as bytes -> a body, and the length of its JSON.

    None where there is nothing but JSON.
    """
    rows: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, values in outputs.items():
        texts = isinstance(values, list)
        row: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if isinstance(values, list) else _DTYPES[values.dtype],
            "shape": [len(values)] if isinstance(values, list) else list(values.shape),
        }
        if name in binary:
            part = b"".join(map(_led, values)) if isinstance(values, list) else values.tobytes()
            row["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            row["data"] = values if texts else np.asarray(values).ravel().tolist()
        rows.append(row)
    head = json.dumps({**answer, "outputs": rows}, allow_nan=False).encode("ascii")
    return (b"".join((head, *parts)), len(head)) if parts else (head, None)


def _led(text: str) -> bytes:
    content = text.encode("utf-8", "replace")
    return struct.pack("<I", len(content)) + content


def _from_json(name: str, data: Any, own: Mapping[str, Any]) -> list[bytes]:
    """Texts -> bytes; nested lists are flat ones, row by row. Base64 where `content_type` says so."""
    flat: list[str] = []
    waiting = [data]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(reversed(one))
        elif isinstance(one, str):
            flat.append(one)
        else:
            raise RequestError(f"the data of input {name[:40]!r} are texts; got {type(one).__name__}")
    try:
        if own.get("content_type") == "base64":
            return [base64.b64decode(text, validate=True) for text in flat]
        return [text.encode() for text in flat]
    except (binascii.Error, ValueError):
        raise RequestError(f"the data of input {name[:40]!r} are no text in UTF-8, or no base64") from None


def _from_bytes(name: str, part: memoryview) -> list[bytes]:
    elements = []
    while part:
        size = struct.unpack("<I", part[:4])[0] if len(part) >= 4 else len(part)
        if 4 + size > len(part):
            raise RequestError(f"the bytes of input {name[:40]!r} end in the middle of an element")
        elements.append(bytes(part[4 : 4 + size]))
        part = part[4 + size :]
    return elements
