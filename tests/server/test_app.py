"""Routes: what is answered, that it is what the library says, and how errors are told."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import ready
from clipseg.client import Client, Picture, ServiceError
from clipseg.errors import ClipsegError, PictureError, PromptError, UsageError
from clipseg.formats.table import FORMATS
from clipseg.masks.options import OPTIONS
from clipseg.masks.rle import decode
from clipseg.prompting.prompts import ImagePrompt
from clipseg.prompting.styles import STYLES
from clipseg.segmenter import Segmenter
from clipseg.server.requests import SegmentRequest
from http_files import asked, file_of, mask_file, posted

IMAGE = ready.picture()
LEFT = np.arange(40)[None] < np.full((30, 1), 20)


@pytest.fixture
def picture(client: Client) -> Picture:
    return client.upload(file_of())


def test_what_there_is(client: Client) -> None:
    assert client.ask("/health") == {"status": "ok"}
    assert client.ask("/ready") == {"status": "ready", "model": "tiny"}
    (model,) = client.ask("/v1/models")["models"]
    assert model["name"] == "tiny"
    assert model["loaded"] is True
    assert model["text"] is True
    assert model["side"] == ready.SIDE
    assert model["size_bytes"] > 1000
    options = {row["name"]: row for row in client.ask("/v1/options")["options"]}
    assert list(options) == list(OPTIONS)
    kinds = {row["kind"] for row in options.values()}
    assert kinds == {"choice", "boolean", "threshold", "keep", "area", "length", "number"}
    assert options["refine"]["choices"] == ["none", "guided"]
    assert options["alpha"]["range"] == [0, 1]
    assert [row["name"] for row in client.ask("/v1/formats")["formats"]] == list(FORMATS)
    assert [row["name"] for row in client.ask("/v1/styles")["styles"]] == list(STYLES)
    assert client.ask("/v1/limits")["prompts"] == 64
    paths = client.ask("/openapi.json")["paths"]
    assert {
        "/v1/pictures",
        "/v1/segment",
        "/v1/similarity",
        "/v1/embed",
        "/v1/prompts",
        "/v2/models/{model}/infer",
    } <= set(paths)


def test_a_picture_is_sent_once(client: Client, url: str, service) -> None:
    first = client.upload(file_of(5, 33, 21))
    assert (first.width, first.height) == (33, 21)
    kept = len(service.pictures.files)
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../a.png"\r\n\r\n' + first.content
    status, _, again = asked(
        url, "POST", "/v1/pictures", body + b"\r\n--x--\r\n", content_type="multipart/form-data; boundary=x"
    )
    assert (status, again["id"]) == (200, first.id)
    assert asked(url, "POST", "/v1/pictures", first.content, content_type="image/png")[2]["id"] == first.id
    assert len(service.pictures.files) == kept


def test_masks_are_those_of_the_library(client: Client, picture: Picture, segmenter: Segmenter) -> None:
    prompts = ["a cat", "wood AND NOT jar"]
    found = client.segment(
        picture,
        prompts,
        negative=["the dog"],
        options={"smooth": "2%", "threshold": 0.6},
        fit="letterbox",
        results=["rle", "polygons", "boxes", "scores", "masks", "maps", "instances"],
    )
    masks = segmenter.segment(IMAGE, prompts, negative="the dog", smooth="2%", threshold=0.6, fit="letterbox")
    assert (found.width, found.height) == (40, 30)
    assert [mask.label for mask in found.masks] == list(masks.labels)
    for mask, expected in zip(found.masks, masks, strict=True):
        inside = expected.binary().numpy()
        np.testing.assert_array_equal(decode(mask.more["rle"]), inside)
        np.testing.assert_array_equal(np.asarray(Image.open(_file(mask.more["png"]))) > 0, inside)
        assert mask.area == inside.sum()
        assert mask.score == pytest.approx(expected.score(), abs=1e-3)
        assert list(mask.box or ()) == (expected.box().tolist() if mask.area else [])
        assert len(mask.more["polygons"]) == len(expected.polygons())
        assert [part["area"] for part in mask.more["instances"]] == [part.area for part in expected.instances()]
        for part, own in zip(mask.more["instances"], expected.instances(), strict=True):
            np.testing.assert_array_equal(decode(part["rle"]), own.mask().numpy())
        h, w = expected.logits.shape
        assert (mask.more["map"]["height"], mask.more["map"]["width"]) == (h, w)
        levels = np.asarray(Image.open(_file(mask.more["map"]["png"])))
        assert np.abs(levels - 255 * expected.probabilities((h, w)).numpy()).max() <= 1


def _file(text: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(text))


def test_the_second_request_does_not_encode(client: Client) -> None:
    picture = client.upload(file_of(77))
    assert client.segment(picture, "a cat").timing["encoded"] is True
    again = client.segment(picture, "wood", results=["maps"])
    assert again.timing["encoded"] is False
    assert again.timing["total_ms"] >= again.timing["queued_ms"] >= 0
    assert (again.masks[0].area, again.masks[0].box) == (None, None)


@pytest.mark.parametrize("kind", ["id", "png", "data", "compressed", "plain"])
def test_a_mask_of_an_example_in_any_form(client: Client, segmenter: Segmenter, picture: Picture, kind: str) -> None:
    runs = [600, 600]
    packed = base64.b64encode(mask_file()).decode()
    mask = {
        "id": lambda: client.upload(mask_file()).id,
        "png": lambda: packed,
        "data": lambda: f"data:image/png;base64,{packed}",
        "plain": lambda: {"size": [30, 40], "counts": [0, *runs]},
        "compressed": lambda: {"size": [30, 40], "counts": _compressed()},
    }[kind]()
    found = client.segment(
        picture, {"picture": picture.id, "mask": mask, "style": "dim", "label": "it"}, results=["scores"]
    )
    expected = segmenter.segment(IMAGE, ImagePrompt(IMAGE, LEFT, style="dim"))
    assert found["it"].score == pytest.approx(float(expected.scores()), abs=1e-3)


def _compressed() -> str:
    from clipseg.masks.rle import compressed

    return str(compressed(np.ascontiguousarray(LEFT))["counts"])


def test_all_kinds_of_prompts(client: Client, segmenter: Segmenter, picture: Picture) -> None:
    stored = client.store({"picture": picture.id, "box": [0, 0, 20, 30]}, "corner")
    assert {"id": stored, "label": "corner"} in client.ask("/v1/prompts")["prompts"]
    (vector,) = client.embed("wood")
    found = client.segment(
        picture,
        [
            {"prompt": stored},
            {"embedding": vector, "label": "same as wood"},
            {"text": "wood", "weight": 0.5, "label": "half wood", "threshold": 0.2},
            {"text": "jar AND NOT wood", "expression": False},
            {"picture": picture.id, "label": "thing", "named": True},
            "thing OR wood",
        ],
        results=["scores", "rle"],
    )
    labels = [mask.label for mask in found.masks]
    assert labels == ["corner", "same as wood", "half wood", "jar AND NOT wood", "thing OR wood"]
    assert [mask.threshold for mask in found.masks] == [0.4, 0.4, 0.2, 0.4, 0.4]
    wood = segmenter.segment(IMAGE, ["wood", "wood{*0.5}"])
    scores = {mask.label: mask.score for mask in found.masks}
    assert scores["same as wood"] == pytest.approx(float(wood.scores()[0]), abs=1e-3)
    assert scores["half wood"] == pytest.approx(float(wood.scores()[1]), abs=1e-3)


def test_combined_soft_and_templates(client: Client, segmenter: Segmenter, picture: Picture) -> None:
    found = client.segment(picture, ["a cat", "wood"], combine="mean", options={"threshold": "none"}, results=["masks"])
    (mask,) = found.masks
    expected = segmenter.segment(IMAGE, ["a cat", "wood"], combine="mean", threshold=None).soft()[0]
    levels = torch.from_numpy(np.array(Image.open(_file(mask.more["png"]))))
    assert (levels - 255 * expected).abs().max() <= 1
    assert (mask.label, mask.area, mask.threshold) == ("a cat | wood", None, None)
    with pytest.raises(UsageError, match="are of masks that are decided"):
        client.segment(picture, "wood", options={"threshold": "none"}, results=["rle"])
    plain, templated = (
        client.segment(picture, "wood", templates=given, results=["scores"]).masks[0].score
        for given in ("plain", ["a photo of a {}."])
    )
    assert plain != templated


def test_files(client: Client, segmenter: Segmenter, picture: Picture) -> None:
    inside = segmenter.segment(IMAGE, "wood").binary()[0].numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(client.download(picture, "wood")))) > 0, inside)
    indexed = Image.open(io.BytesIO(client.download(picture, ["wood", "a cat"])))
    assert indexed.mode == "P"
    with zipfile.ZipFile(io.BytesIO(client.download(picture, ["wood", "a cat"], formats=list(FORMATS)))) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert {"picture.wood.mask.png", "picture.overlay.png", "coco.json", "yolo/data.yaml", "masks.json"} <= set(
            names
        )
        assert len(json.loads(archive.read("masks.json"))["masks"]) == 2
    content = client.download(
        picture, "wood", formats=["png", "cutout:background=white"], name="../../My kitchen", instances=True
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sorted(archive.namelist())[:2] == ["My-kitchen.wood.1.cutout.png", "My-kitchen.wood.1.mask.png"]


def test_similarity(client: Client, segmenter: Segmenter, picture: Picture) -> None:
    cosines = client.similarity(picture, ["a cat", "wood"])
    expected = segmenter.similarity(IMAGE, ["a cat", "wood"]).tolist()
    assert list(cosines.values()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("prompts", "more", "kind", "words"),
    [
        ([], {}, PromptError, "no prompts given"),
        ([{}], {}, PromptError, "exactly one of text, picture, embedding, prompt; got none"),
        ([{"text": "a", "prompt": "b"}], {}, PromptError, "got text, prompt"),
        ([{"text": "a", "box": [0, 0, 1, 1]}], {}, PromptError, "box belongs to an example"),
        (["a AND"], {}, PromptError, "AND"),
        ([{"text": "  "}], {}, PromptError, "empty"),
        (["a" * 1001], {}, PromptError, "1000 letters at most"),
        ([{"embedding": [1, 2]}], {}, PromptError, "width 2"),
        ([{"embedding": [1e300]}], {}, PromptError, "not finite"),
        ([{"picture": "PICTURE", "box": [0, 0, 99, 99]}], {}, PromptError, "reaches beyond"),
        ([{"picture": "PICTURE", "style": "sepia"}], {}, PromptError, "unknown visual-prompt style"),
        ([{"picture": "PICTURE", "mask": "%%%"}], {}, PromptError, "PNG in base64"),
        ([{"picture": "PICTURE", "mask": "aGVsbG8="}], {}, PictureError, "no picture"),
        ([{"picture": "PICTURE", "mask": {"size": [9, 9], "counts": "1"}}], {}, PromptError, r"\[9, 9\]"),
        ([{"text": "a", "named": True}], {}, PromptError, "needs a label"),
        (["a"], {"options": {"treshold": 1}}, UsageError, "did you mean 'threshold'"),
        (["a"], {"options": {"smooth": "many"}}, UsageError, "smooth is 'many'"),
        (["a"], {"tile": 10}, UsageError, "fit is 'squash'"),
        (["a"], {"format": "zip", "formats": ["gif"]}, UsageError, "no format 'gif'"),
        (["a"], {"format": "zip", "formats": ["overlay:alpha=7"]}, UsageError, "alpha"),
        (["a"], {"format": "zip", "formats": ["voc:split=a\0b"]}, UsageError, "split"),
        (["a"], {"format": "zip", "formats": ["voc:split=" + 150 * "é"]}, UsageError, "split"),
        (["a"], {"format": "zip", "formats": ["crops:margin=yes"]}, UsageError, "margin"),
        ([{"text": "a", "threshold": 0.2}], {"options": {"threshold": [0.1]}}, UsageError, "give them once"),
    ],
)
def test_bad_requests(client: Client, picture: Picture, prompts, more, kind: type[ClipsegError], words: str) -> None:
    prompts = json.loads(json.dumps(prompts).replace("PICTURE", picture.id))
    with pytest.raises(kind, match=words) as caught:
        client.segment(picture, prompts, **more)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 422, "RequestError"),
        (b"\xff\xfe", 422, "RequestError"),
        (b"[" * 100_000, 422, "RequestError"),
        (b"9" * 5000, 422, "RequestError"),
        (b'{"picture": "x", "prompts": ["\\ud800"]}', 422, "RequestError"),
        (b'{"picture": "x", "prompts": ["a"], "options": {"smooth": ' + b"9" * 400 + b"}}", 422, "RequestError"),
        (b'{"picture": "x", "prompts": [{"text": "a", "weight": NaN}]}', 422, "RequestError"),
        (b'{"picture": "x", "prompts": ["a"], "colour": "red"}', 422, "RequestError"),
        (b'{"picture": "../../etc/passwd", "prompts": ["a"]}', 404, "UnknownError"),
    ],
)
def test_bodies_that_are_none(url: str, body: bytes, status: int, kind: str) -> None:
    found, _, content = asked(url, "POST", "/v1/segment", body, content_type="application/json")
    assert (found, content["error"]["kind"]) == (status, kind)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompts": ["a"], "options": {"smooth": 1e308}}, "options.smooth: Input should be less than"),
        ({"prompts": ["b", {"text": "a", "weight": -1}]}, "prompts.1.weight: Input should be greater than 0"),
        ({"prompts": ["b", 7]}, "prompts.1: "),
        ({}, "prompts: Field required"),
        ([], "Input should be"),
    ],
)
def test_it_is_told_where_a_body_is_wrong(url: str, body: dict | list, words: str) -> None:
    whole = {"picture": "x", **body} if isinstance(body, dict) else body
    _, _, content = asked(url, "POST", "/v1/segment", json.dumps(whole).encode(), content_type="application/json")
    assert content["error"]["message"].startswith(words)


@pytest.mark.parametrize(
    "more",
    [
        {f"k{number}": 1 for number in range(20_000)},
        {"options": {f"k{number}": {} for number in range(20_000)}},
        {"options": {"threshold": [{}] * 20_000}},
        {"templates": [1] * 20_000},
        {"prompts": [[]] * 20_000},
        {"prompts": [{"embedding": [""] * 20_000}]},
        {"prompts": [{"picture": "x", "mask": {"size": [1, 1], "counts": [""] * 20_000}}]},
        {"formats": [1] * 20_000},
    ],
)
def test_a_body_full_of_errors_is_looked_at_up_to_the_first(url: str, more: dict) -> None:
    """Each would take kilobytes, of a body that may have one every few bytes, while nobody else is answered."""
    with pytest.raises(ValidationError) as caught:
        SegmentRequest.model_validate({"picture": "x", "prompts": ["a"], **more})
    assert caught.value.error_count() < 10  # one, for each kind of value that it could have been
    status, told = posted(url, "/v1/segment", {"picture": "x", "prompts": ["a"], **more})
    assert (status, told["error"]["kind"]) == (422, "RequestError")
    assert len(told["error"]["message"]) < 300


def test_too_much_at_once(client: Client, picture: Picture) -> None:
    with pytest.raises(ServiceError, match="65 prompts") as caught:
        client.segment(picture, ["a"] * 65)
    assert (caught.value.status, caught.value.kind) == (413, "TooLargeError")
    with pytest.raises(ServiceError, match="prompts"):
        client.segment(picture, " OR ".join(f"a{number}" for number in range(70)))
    with pytest.raises(ServiceError, match="on tiles 16 prompts"):
        client.segment(picture, [f"a{number}" for number in range(17)], fit="tile", tile="60%")
    with pytest.raises(ServiceError, match="101 templates"):
        client.ask("/v1/embed", {"prompts": ["a"], "templates": ["{}"] * 101})
    with pytest.raises(ServiceError, match="tiles, and the limit is 256"):
        client.segment(picture, "a", fit="tile", tile=1, overlap=0)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "image/png", 400),
        (b"no picture", "image/png", 400),
        (file_of()[:200], "image/png", 400),
        (file_of(), "text/plain", 415),
        (b"--x\r\n\r\nno\r\n--x--", "multipart/form-data; boundary=x", 422),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
         "multipart/form-data; boundary=x", 422),
        (b"--x", "multipart/form-data", 422),
        (b"--x", "multipart/form-data; boundary=\xe9".encode(), 422),
        (b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n\r\n' % n for n in range(20)) + b"--x--",
         "multipart/form-data; boundary=x", 422),
    ],
)  # fmt: skip
def test_pictures_that_are_none(url: str, content: bytes, kind: str | bytes, status: int) -> None:
    text = kind if isinstance(kind, str) else kind.decode()
    found, _, told = asked(url, "POST", "/v1/pictures", content, content_type=text)
    assert found == status
    assert set(told["error"]) == {"kind", "message"}


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/metrics", "/v1/models", "/v2/health/ready", "/static/x"])
def test_a_head_is_what_a_get_would_have(url: str, path: str) -> None:
    """Load balancers ask so whether there is a server."""
    status, headers, content = asked(url, "HEAD", path)
    expected, as_get, _ = asked(url, "GET", path)
    assert (status, content) == (expected, b"")
    assert headers["content-type"] == as_get["content-type"]
    status, headers, _ = asked(url, "HEAD", "/v1/segment")
    assert (status, headers["allow"]) == (405, "POST")


def test_nothing_there(url: str) -> None:
    assert asked(url, "GET", "/v1/nothing")[0] == 404
    status, headers, told = asked(url, "GET", "/v1/segment")
    assert (status, headers["allow"], told["error"]["kind"]) == (405, "POST", "MethodError")
    assert (
        posted(
            url,
            "/v1/segment",
            {},
        )[0]
        == 422
    )
    status, _, told = asked(url, "POST", "/v1/segment", b"{}", content_type="text/plain")
    assert (status, told["error"]["kind"]) == (415, "MediaError")


def test_an_error_that_was_never_meant_tells_nothing(serving, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    with serving() as (service, client):
        monkeypatch.setattr(service, "stored", lambda: 1 / 0)
        status, _, told = asked(client.url, "GET", "/v1/prompts")
    assert status == 500
    assert told == {
        "error": {"kind": "UnexpectedError", "message": "something went wrong in the server; its log tells what"}
    }
    assert "ZeroDivisionError" in caplog.text


def test_paths_stay_here(serving, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    from clipseg.errors import OutputError

    def fail(*_: object, **__: object) -> bytes:
        raise OutputError(f"{tmp_path} cannot be written")

    monkeypatch.setattr("clipseg.server.service.bundle", fail)
    with serving() as (_, client), pytest.raises(ServiceError) as caught:
        client.download(file_of(), "a", formats=["png"])
    assert caught.value.status == 503
    assert str(tmp_path) not in str(caught.value)
