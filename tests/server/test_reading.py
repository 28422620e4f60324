"""Requests become the library's own questions, options and fits."""

from __future__ import annotations

import base64

import pytest
import torch

from clipseg.errors import PromptError, UsageError
from clipseg.fits import Fit
from clipseg.prompting.expressions import Strength
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, Prompt, TextPrompt, parse
from clipseg.server.pictures import Picture, Pictures
from clipseg.server.reading import Reader, finish, fit_of, options_of
from clipseg.server.refusals import TooLargeError, UnknownError
from clipseg.server.requests import SegmentRequest, StoreRequest
from clipseg.server.settings import Limits
from http_files import file_of, mask_file


class Embedder:
    """Gives each prompt an embedding of its own, and counts."""

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    def __call__(self, prompt: Prompt) -> torch.Tensor:
        self.asked.append(prompt)
        return torch.full((12,), float(len(self.asked)))


@pytest.fixture
def reader() -> Reader:
    limits = Limits()
    return Reader(limits, Pictures(limits))


@pytest.fixture
def picture(reader: Reader) -> Picture:
    return reader._pictures.add(file_of())


def request(*prompts: object, **more: object) -> SegmentRequest:
    return SegmentRequest.model_validate({"picture": "x", "prompts": list(prompts), **more})


def test_texts(reader: Reader) -> None:
    question = reader.question(
        request("a cat", {"text": "a AND b", "label": "both"}, {"text": "c", "weight": 2}, negative=["d"]), Embedder()
    )
    assert question.terms == (TextPrompt("a cat"), parse("a AND b"), Strength(TextPrompt("c"), 2.0))
    assert question.labels == ("a cat", "both", "c")
    assert question.negatives == (TextPrompt("d"),)
    templated = reader.question(request("a cat", templates=["one {}.", "two {}."]), Embedder())
    assert templated.terms == (TextPrompt("a cat", templates=("one {}.", "two {}.")),)


def test_an_example_is_embedded_once(reader: Reader, picture: Picture) -> None:
    embed = Embedder()
    packed = base64.b64encode(mask_file()).decode()
    first = {"picture": picture.id, "mask": packed, "style": "dim"}
    vectors = []
    for prompt in (first, first, {**first, "style": "crop"}, {"picture": picture.id, "box": [0, 0, 9, 9]}, first):
        (term,) = reader.question(request({**prompt, "label": "it"}), embed).terms
        assert isinstance(term, EmbeddingPrompt)
        assert term.label == "it"
        vectors.append(float(term.embedding[0]))
    assert vectors == [1, 1, 2, 3, 1]
    assert all(isinstance(prompt, ImagePrompt) for prompt in embed.asked)


def test_what_was_stored_is_found(reader: Reader) -> None:
    embed = Embedder()
    stored = reader.store(StoreRequest(prompt="wood"), embed)
    assert reader.store(StoreRequest(prompt={"prompt": stored.id}), embed) == stored
    (term,) = reader.question(request({"prompt": stored.id}), embed).terms
    assert (term.label, len(embed.asked)) == ("wood", 1)
    with pytest.raises(UnknownError):
        reader.question(request({"prompt": "0" * 64}), embed)
    with pytest.raises(PromptError, match="is an expression"):
        reader.store(StoreRequest(prompt="a AND b"), embed)


def test_options() -> None:
    options = options_of(request({"text": "a", "threshold": 0.1}, "b", combine="mean", options={"smooth": "1%"}))
    assert (options.threshold, options.combine, options.smooth) == ((0.1, 0.4), "mean", "1%")
    named = request({"text": "a", "threshold": 0.1, "named": True, "label": "x"}, {"text": "b", "threshold": "otsu"})
    assert options_of(named).threshold == ("otsu",)
    for values in ({"smooth": 10**400}, {"alpha": 10**400}, {"threshold": 10**400}, {"min_area": 10**400}):
        with pytest.raises(UsageError):
            finish(values)


def test_expressions_that_name_each_other_are_bounded(reader: Reader) -> None:
    wide = {"text": " OR ".join(["a"] * 190), "label": "x", "named": True}
    assert len(reader.question(request(wide, " OR ".join(["x"] * 10)), Embedder()).prompts) == 1
    with pytest.raises(TooLargeError, match="more than 2000 terms"):
        reader.question(request(wide, " OR ".join(["x"] * 11)), Embedder())
    with pytest.raises(TooLargeError, match="more than 2000 terms"):
        reader.question(request(wide, *["|".join("x" * 500)] * 60), Embedder())


def test_fits() -> None:
    assert fit_of(request("a"), (30, 40), Limits()) == Fit()
    assert fit_of(request("a", fit="tile", tile="50%"), (30, 40), Limits()) == Fit("tile", "50%")
    with pytest.raises(TooLargeError, match="tiles"):
        fit_of(request("a", fit="tile", tile="1%"), (3000, 4000), Limits())
