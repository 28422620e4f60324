"""The Open Inference Protocol, spoken as its clients do: JSON, and tensors in bytes behind it."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest

import ready
from clipseg.segmenter import Segmenter
from clipseg.server.tensors import HEADER
from http_files import asked, file_of

FILE = file_of()
INFER = "/v2/models/tiny/infer"
PROMPTS = {"name": "prompts", "shape": [2], "datatype": "BYTES", "data": ["a cat", "wood AND NOT jar"]}
PICTURE = {
    "name": "picture", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(FILE).decode()],
    "parameters": {"content_type": "base64"},
}  # fmt: skip


def infer(url: str, request: Any, rest: bytes = b"", path: str = INFER, **headers: Any) -> Any:
    body = json.dumps(request).encode() if not isinstance(request, bytes) else request
    if rest:
        headers[HEADER.replace("-", "_")] = len(body)
    return asked(url, "POST", path, body + rest, content_type="application/octet-stream", **headers)


def led(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def test_what_the_server_and_its_model_are(url: str) -> None:
    assert asked(url, "GET", "/v2")[2]["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
        assert asked(url, "GET", path)[0] == 200
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        status, _, model = asked(url, "GET", path)
        assert (status, model["name"], model["versions"]) == (200, "tiny", ["1"])
        assert [one["name"] for one in model["inputs"]] == ["picture", "prompts"]
    for path, expected in {
        "/v2/models/other": 404, "/v2/models/tiny/versions/2": 404, "/v2/models/other/ready": 404, INFER: 405
    }.items():  # fmt: skip
        status, _, told = asked(url, "GET", path)
        assert status == expected
        assert isinstance(told["error"], str)


def test_the_description_tells_errors_as_they_are(url: str) -> None:
    paths = asked(url, "GET", "/openapi.json")[2]["paths"]
    for path, item in paths.items():
        for operation in item.values():
            told = operation["responses"]["404"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert told == ("ProtocolFailure" if path.startswith("/v2") else "Failure")
    infer = paths["/v2/models/{model}/infer"]["post"]
    for content in (infer["requestBody"]["content"], infer["responses"]["200"]["content"]):
        assert set(content) == {"application/json", "application/octet-stream"}


def test_in_json(url: str, segmenter: Segmenter) -> None:
    outputs = [{"name": name} for name in ("labels", "scores", "probabilities", "masks", "boxes")]
    parameters = {"threshold": 0.5, "fit": "letterbox"}
    request = {"id": "7", "inputs": [PICTURE, PROMPTS], "parameters": parameters, "outputs": outputs}
    status, _, answer = infer(url, request, path="/v2/models/tiny/versions/1/infer")
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "tiny", "1")
    masks = segmenter.segment(ready.picture(), PROMPTS["data"], threshold=0.5, fit="letterbox")
    rows = {row["name"]: row for row in answer["outputs"]}
    assert rows["labels"]["data"] == list(masks.labels)
    assert rows["scores"]["data"] == pytest.approx(masks.scores().tolist(), abs=1e-4)
    assert rows["masks"]["shape"] == [2, 30, 40]
    assert rows["masks"]["datatype"] == "BOOL"
    np.testing.assert_array_equal(np.reshape(rows["masks"]["data"], (2, 30, 40)), masks.binary().numpy())
    assert np.reshape(rows["boxes"]["data"], (2, 4)).tolist() == masks.boxes().tolist()
    _, h, w = masks.logits.shape
    assert rows["probabilities"]["shape"] == [2, h, w]


def test_in_bytes(url: str, segmenter: Segmenter) -> None:
    picture, prompts = led(FILE), led(b"a cat") + led(b"wood")
    request = {
        "inputs": [
            {"name": "picture", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(picture)}},
            {"name": "prompts", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(prompts)}},
        ],
        "parameters": {"binary_data_output": True},
        "outputs": [
            {"name": "probabilities"},
            {"name": "labels"},
            {"name": "scores", "parameters": {"binary_data": False}},
        ],
    }
    with_bytes = infer(url, request, picture + prompts)
    assert with_bytes[0] == 200
    length = int(with_bytes[1][HEADER])
    answer, rest = json.loads(with_bytes[2][:length]), with_bytes[2][length:]
    rows = {row["name"]: row for row in answer["outputs"]}
    size = rows["probabilities"]["parameters"]["binary_data_size"]
    found = np.frombuffer(rest[:size], "<f4").reshape(rows["probabilities"]["shape"])
    masks = segmenter.segment(ready.picture(), ["a cat", "wood"])
    np.testing.assert_allclose(found, masks.probabilities((found.shape[1], found.shape[2])).numpy(), atol=1e-4)
    assert rest[size:] == led(b"a cat") + led(b"wood")
    assert len(rows["scores"]["data"]) == 2


@pytest.mark.parametrize(
    ("request_", "rest", "words"),
    [
        (b"{", b"", "no JSON"),
        ([], b"", '"inputs"'),
        ({"inputs": [1]}, b"", '"inputs"'),
        ({"inputs": [PICTURE]}, b"", "the inputs are picture"),
        ({"inputs": [{**PICTURE, "datatype": "FP32"}, PROMPTS]}, b"", "BYTES"),
        ({"inputs": [{**PICTURE, "shape": [2]}, PROMPTS]}, b"", "has shape"),
        ({"inputs": [{**PICTURE, "shape": ["1"]}, PROMPTS]}, b"", "no shape"),
        ({"inputs": [{**PICTURE, "data": ["%"]}, PROMPTS]}, b"", "no base64"),
        ({"inputs": [{**PICTURE, "data": [7]}, PROMPTS]}, b"", "are texts"),
        ({"inputs": [{**PICTURE, "parameters": 7}, PROMPTS]}, b"", "parameters"),
        ({"inputs": [{**PICTURE, "parameters": {"binary_data_size": 9}}, PROMPTS]}, b"xx", "not there"),
        ({"inputs": [{**PICTURE, "parameters": {"binary_data_size": 2}}, PROMPTS]}, b"xx", "in the middle"),
        ({"inputs": [PICTURE, PROMPTS], "outputs": [{"name": "nothing"}]}, b"", "known outputs"),
        ({"inputs": [PICTURE, PROMPTS], "outputs": 7}, b"", "outputs"),
        ({"inputs": [PICTURE, PROMPTS], "outputs": [{"name": "boxes"}] * 2}, b"", "asked for once"),
        ({"inputs": [{**PICTURE, "shape": [1] * 9}, PROMPTS]}, b"", "no shape of up to 8"),
        ({"inputs": [{**PICTURE, "shape": [-1, -1]}, PROMPTS]}, b"", "has shape"),
        ({"inputs": [{**PICTURE, "shape": [10**4000]}, PROMPTS]}, b"", "has shape"),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"fit": 7}}, b"", "fit is a text"),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"fit": "round"}}, b"", "fit"),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"treshold": 7}}, b"", "did you mean"),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"alpha": 10**400}}, b"", "alpha: "),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"smooth": 1e308}}, b"", "smooth: Input should be less than"),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"shrink": -1e308}}, b"", "shrink: "),
        ({"inputs": [PICTURE, PROMPTS], "parameters": {"alpha": [[0.5]]}}, b"", "alpha: "),
        ({"inputs": [PICTURE, {**PROMPTS, "data": ["", "a"]}]}, b"", "empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(url: str, request_: Any, rest: bytes, words: str) -> None:
    status, _, told = infer(url, request_, rest)
    assert 400 <= status < 500
    assert words in told["error"]


def test_a_header_that_is_none(url: str) -> None:
    for header in ("-1", "abc", "99999999", "9" * 5000):
        assert infer(url, {"inputs": []}, inference_header_content_length=header)[0] == 422


def test_no_answer_is_larger_than_allowed(serving) -> None:
    with serving(answer_bytes=100_000) as (_, client):
        request = {"inputs": [PICTURE, PROMPTS], "outputs": [{"name": "masks"}]}
        status, _, told = infer(client.url, request)  # 2 x 30 x 40 numbers
        assert status == 413
        assert "take binary_data" in told["error"]
        request["parameters"] = {"binary_data_output": True}
        assert infer(client.url, request)[0] == 200
        request["inputs"] = [PICTURE, {**PROMPTS, "shape": [9], "data": [f"thing {n}" for n in range(9)]}]
        request["outputs"] = [{"name": "probabilities"}]
        status, _, told = infer(client.url, request)  # 9 x 64 x 64 x 4 bytes
        assert status == 413
        assert "fewer prompts" in told["error"]
