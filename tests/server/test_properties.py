"""Whatever the OpenAPI description allows, and what it forbids, is answered; nothing of it is the server's fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg.client import Client
from clipseg.masks.options import OPTIONS as OPTION_NAMES
from http_files import asked, file_of

FEW, MANY = 10, 250
"""Requests for each of the routes, of which there are 24; MANY of them with `pytest -m slow`."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:prompt .* has .* tokens"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the generator's own packages
]

HURRIED = (
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def description(everyone: tuple[Any, Client]) -> Any:
    return schemathesis.openapi.from_dict(everyone[1].ask("/openapi.json"))


@pytest.fixture(scope="module")
def known(everyone: tuple[Any, Client]) -> str:
    return everyone[1].upload(file_of()).id


def check(case: Any, url: str, known: str) -> None:
    """Send a request, about a picture that is there where it is about one; it is no fault of the server."""
    for values in (case.body, case.path_parameters):
        if isinstance(values, dict):
            values.update({name: known for name in ("picture",) if isinstance(values.get(name), str)})
            values.update({name: "tiny" for name in ("model",) if name in values and values["model"] != "other"})
    response = case.call(base_url=url, timeout=60)
    text = response.content.decode(errors="replace")  # pictures and archives too
    assert response.status_code < 500, text
    assert "/tmp" not in text
    assert "Traceback" not in text
    if response.status_code >= 400 and text:
        assert "error" in response.json()


def ask_everything(description: Any, url: str, known: str, examples: int) -> int:
    """Send requests of each operation -> how many there were."""
    sent = 0
    for found in description.get_all_operations():
        operation = found.ok()

        @settings(max_examples=examples, suppress_health_check=HURRIED, database=None)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal sent
            sent += 1
            check(case, url, known)

        ask()
    return sent


def test_a_few_of_all_routes(description: Any, url: str, known: str) -> None:
    assert ask_everything(description, url, known, FEW) > 100


@pytest.mark.slow
def test_many_of_all_routes(description: Any, url: str, known: str) -> None:
    assert ask_everything(description, url, known, MANY) > 2000


OPTIONS = st.dictionaries(
    st.sampled_from([*OPTION_NAMES, "nonsense"]),
    VALUES | st.sampled_from(["otsu", "area:0.2", "hysteresis:0.3,0.6", "largest", "5%", "guided", "softmax"]),
    max_size=3,
)
PROMPTS = st.lists(
    st.text(max_size=20)
    | st.sampled_from(["wood", "a AND NOT b", "((a)", '"x" OR y{+3}{*2}'])
    | st.dictionaries(
        st.sampled_from(["text", "weight", "label", "threshold", "box", "mask", "embedding", "style", "expression"]),
        VALUES | st.sampled_from(["wood", [0, 0, 9, 9], {"size": [30, 40], "counts": [1200]}]),
        max_size=3,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=100, suppress_health_check=(*HURRIED, HealthCheck.function_scoped_fixture))
@given(
    prompts=PROMPTS,
    options=OPTIONS,
    results=st.lists(st.sampled_from(["maps", "masks", "rle", "polygons", "boxes", "instances", "scores"]), max_size=3),
    more=st.dictionaries(
        st.sampled_from(["fit", "tile", "overlap", "combine", "format", "formats", "name", "templates", "negative"]),
        VALUES | st.sampled_from(["tile", "letterbox", "png", "zip", ["overlay:alpha=2"], ["crops:margin=9%"], "33%"]),
        max_size=2,
    ),
)
def test_questions_about_a_picture(url: str, known: str, prompts: Any, options: Any, results: Any, more: Any) -> None:
    body = json.dumps({"picture": known, "prompts": prompts, "options": options, "results": results, **more}).encode()
    status, _, told = asked(url, "POST", "/v1/segment", body, content_type="application/json")
    assert status < 500, (told, body)


@settings(max_examples=60, suppress_health_check=(*HURRIED, HealthCheck.function_scoped_fixture))
@given(request=st.dictionaries(st.sampled_from(["inputs", "outputs", "parameters", "id"]), VALUES), rest=st.binary())
def test_tensors(url: str, request: Any, rest: bytes) -> None:
    body = json.dumps(request).encode()
    status, _, told = asked(
        url, "POST", "/v2/models/tiny/infer", body + rest, inference_header_content_length=len(body)
    )
    assert 400 <= status < 500, told


@settings(max_examples=100, suppress_health_check=(*HURRIED, HealthCheck.function_scoped_fixture))
@given(data=st.data())
def test_pictures_that_were_damaged(url: str, data: st.DataObject) -> None:
    content = bytearray(file_of(kind=data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]))))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[place] = value
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    status, _, told = asked(url, "POST", "/v1/pictures", bytes(content), content_type="image/png")
    assert status in (200, 400), told
