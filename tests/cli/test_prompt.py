"""`clipseg prompt`: files are made, mixed and shown, and hold what they say."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipseg.cli import prompt as command
from clipseg.cli.options import MODEL
from clipseg.cli.prompt import read_part, told
from clipseg.prompting.prompt_files import load_prompts, save_prompts
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, Origin
from clipseg.segmenter import Segmenter


@pytest.fixture
def unloadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that must not be asked for."""

    def load(*_arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(command, "load_segmenter", load)


def saved(name: str, *prompts: tuple[str, list[float]], model: str = "tiny") -> Path:
    """Write a prompt file of labels and numbers into the current folder."""
    origin = Origin(model, {"kind": "embedding"})
    return save_prompts(name, [EmbeddingPrompt(torch.tensor(row), label, origin) for label, row in prompts])


# -- make --------------------------------------------------------------------------------------------------------------


def test_phrases_and_examples_become_one_file(call, draw, model) -> None:
    draw("jar.png")
    inside = np.zeros((30, 40), np.uint8)
    inside[5:20, 10:30] = 255
    Image.fromarray(inside).save("inside.png")
    shown = ("--image-prompt", "jar.png:inside.png", "--image-prompt", "jar.png:3,4,20,25", "--style", "crop")
    asked = ("-p", "a cat", "-p", "a cat", *shown, "--label", "cat")
    outcome = call("prompt", "make", *asked, *("--label", "b", "--label", "c", "--label", "d"), *about(model))
    assert (outcome.code, outcome.err) == (0, "")
    found = load_prompts("x.safetensors")
    segmenter = Segmenter.from_pretrained(model)
    picture = Image.open("jar.png")
    marked = ImagePrompt(picture, Image.fromarray(inside), style="crop")
    boxed = ImagePrompt(picture, box=(3, 4, 20, 25), style="crop")
    expected = segmenter.embed(["a cat", "a cat", marked, boxed])
    torch.testing.assert_close(torch.stack([one.embedding for one in found]), expected)
    assert [one.label for one in found] == ["cat", "b", "c", "d"]
    assert [one.origin.source["kind"] for one in found if one.origin] == ["text", "text", "image", "image"]
    assert found[2].origin is not None
    assert found[2].origin.source == {
        "kind": "image", "picture": "jar.png", "marked": "mask", "box": None, "style": "crop",
    }  # fmt: skip
    assert [record["label"] for record in outcome.records] == ["cat", "b", "c", "d"]
    assert outcome.records[0] == {
        "file": "x.safetensors", "number": 1, "label": "cat", "model": model.name, "width": 8,
        "norm": round(float(expected[0].norm()), 4), "source": {"kind": "text", "text": "a cat", "templates": "plain"},
    }  # fmt: skip


def about(model: object, out: str = "x.safetensors") -> tuple[object, ...]:
    return ("--model", model, "-o", out)


def test_examples_are_averaged_and_told_apart(call, draw, model) -> None:
    draw("jar.png")
    draw("mug.png")
    shown = ("--image-prompt", "jar.png", "--image-prompt", "mug.png", "--average")
    (record,) = call("prompt", "make", *shown, *about(model)).records
    assert record["label"] == "mean of jar, mug"
    assert [part["picture"] for part in record["source"]["parts"]] == ["jar.png", "mug.png"]


@pytest.mark.usefixtures("folder")
def test_templates(call, model) -> None:
    (record,) = call("prompt", "make", "-p", "cat", "--template", "a {}!", *about(model)).records
    assert record["source"] == {"kind": "text", "text": "cat", "templates": ["a {}!"]}
    expected = Segmenter.from_pretrained(model).embed("a cat!")
    torch.testing.assert_close(load_prompts("x.safetensors")[0].embedding, expected[0])


def test_what_is_made_is_used(call, draw, model) -> None:
    draw("cat.png")
    assert call("prompt", "make", "-p", "a cat", "-p", "remote", *about(model, "deep/two.safetensors")).code == 0
    by_file = call("segment", "cat.png", "--prompt-file", "deep/two.safetensors", "--model", model).records
    by_text = call("segment", "cat.png", "-p", "a cat", "-p", "remote", "--model", model).records
    assert by_file == by_text


def test_files_are_joined_without_a_model(call, folder, unloadable) -> None:
    saved("a.safetensors", ("jar", [1.0, 2]), ("lid", [0.0, 1]))
    saved("b.safetensors", ("cup", [3.0, 4]))
    outcome = call(
        "prompt", "make", "--prompt-file", "b.safetensors", "--prompt-file", "a.safetensors", "-o", "c.safetensors"
    )
    assert [(record["label"], record["norm"]) for record in outcome.records] == [
        ("cup", 5.0),
        ("jar", 2.2361),
        ("lid", 1),
    ]
    assert [one.label for one in load_prompts("c.safetensors")] == ["cup", "jar", "lid"]


def test_an_example_from_a_pipe(call, draw, model, folder) -> None:
    content = draw("jar.png").read_bytes()
    os.mkfifo("pipe")
    thread = threading.Thread(target=lambda: Path("pipe").write_bytes(content))
    thread.start()
    (record,) = call("prompt", "make", "--image-prompt", "pipe", *about(model)).records
    thread.join()
    assert record["source"]["picture"] == "pipe"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-p", "x"), 2, "Missing option '-o'"),
        (("-p", "x", "-o", "x.pt"), 2, "--out x.pt is no name of a prompt file; expected ….safetensors"),
        (("-o", "x.safetensors"), 2, "no prompt given"),
        (("-p", "a AND b", "-o", "x.safetensors"), 4, "'a AND b' is an expression, which has no embedding"),
        (("-p", "a AND", "-o", "x.safetensors"), 4, "column"),
        (("-p", "", "-o", "x.safetensors"), 4, "empty"),
        (("-p", "a", "--label", "b", "--label", "c", "-o", "x.safetensors"), 2, "2 times for 1 prompts"),
        (("--image-prompt", "no.png", "-o", "x.safetensors"), 3, "no.png"),
        (("--prompt-file", "no.safetensors", "-o", "x.safetensors"), 4, "there is no prompt file no.safetensors"),
        (("--prompt-file", "one.safetensors", "-o", "one.safetensors"), 2, "is one of the inputs"),
        (("-p", "a", "-n", "b", "-o", "x.safetensors"), 2, "-n"),
        (("-p", "a", "--style", "crops", "-o", "x.safetensors"), 2, "did you mean 'crop'?"),
        (("-p", "a", "-o", "one.safetensors/x.safetensors"), 7, "one.safetensors is no folder"),
    ],
)
def test_bad_input_is_told_before_a_model_is_loaded(call, folder, unloadable, arguments, code, message) -> None:
    saved("one.safetensors", ("jar", [1.0, 2]))
    outcome = call("prompt", "make", *arguments)
    assert outcome.code == code
    assert message in outcome.error
    assert not Path("x.safetensors").exists()


def test_a_model_that_is_not_there_leaves_nothing(call, folder) -> None:
    outcome = call("prompt", "make", "-p", "a", *about("nowhere/at all", "new/x.safetensors"))
    assert outcome.code == 6
    assert outcome.error
    assert list(folder.iterdir()) == []


# -- mix ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a cup", ("a cup", None, None, 1.0)),
        ("a cup:0.5", ("a cup", None, None, 0.5)),
        ("a cup:-2e-1", ("a cup", None, None, -0.2)),
        ("note: a cup", ("note: a cup", None, None, 1.0)),
        ("a 4:3 picture:1", ("a 4:3 picture", None, None, 1.0)),
        ("x.safetensors", ("x.safetensors", "x.safetensors", None, 1.0)),
        ("C:/x.safetensors:0.6", ("C:/x.safetensors", "C:/x.safetensors", None, 0.6)),
        ("x.safetensors#a cup:0.6", ("x.safetensors#a cup", "x.safetensors", "a cup", 0.6)),
        ("x.safetensors#a: b#c", ("x.safetensors#a: b#c", "x.safetensors", "a: b#c", 1.0)),
    ],
)
def test_parts(text: str, part: tuple[Any, ...]) -> None:
    assert read_part(text) == part


def test_a_mix_is_the_weighted_sum(call, folder, unloadable) -> None:
    saved("a.safetensors", ("jar", [1.0, 2]), ("lid", [0.0, 1]))
    saved("b.safetensors", ("cup", [3.0, 4]))
    parts = ("a.safetensors#jar:0.5", "a.safetensors#2:-2", "b.safetensors")
    outcome = call("prompt", "mix", *parts, "-o", "mix.safetensors")
    assert (outcome.code, outcome.err) == (0, "")
    (record,) = outcome.records
    (mixed,) = load_prompts("mix.safetensors")
    torch.testing.assert_close(mixed.embedding, torch.tensor([3.5, 3.0]))
    assert mixed.label == record["label"] == "0.5 jar + -2 lid + cup"
    assert record["model"] == "tiny"
    assert [(part["weight"], part["label"]) for part in record["source"]["parts"]] == [
        (0.5, "jar"), (-2, "lid"), (1, "cup"),
    ]  # fmt: skip


def test_phrases_are_mixed_in_by_the_model_of_the_files(call, draw, model, monkeypatch) -> None:
    monkeypatch.chdir(model.parent)  # where the model goes by the name that files know it by
    call("prompt", "make", "-p", "a cat", "-p", "remote", *about(model.name))
    outcome = call("prompt", "mix", "x.safetensors#a cat:0.6", "a dog:0.4", "--label", "pet", "-o", "mix.safetensors")
    (record,) = outcome.records
    assert (record["label"], record["model"]) == ("pet", model.name)
    cat, dog = Segmenter.from_pretrained(model).embed(["a cat", "a dog"])
    torch.testing.assert_close(load_prompts("mix.safetensors")[0].embedding, 0.6 * cat + 0.4 * dog)


def test_parts_of_different_models_are_warned_of(call, folder) -> None:
    saved("a.safetensors", ("jar", [1.0, 2]), model="one")
    saved("b.safetensors", ("cup", [3.0, 4]), model="two")
    outcome = call("prompt", "mix", "a.safetensors", "b.safetensors", "-o", "mix.safetensors")
    assert outcome.code == 0
    assert outcome.err.startswith("warning: the parts were made with one and two;")
    assert outcome.records[0]["model"] == "one + two"


def test_a_mix_of_several_models_is_of_each_of_them(call, folder) -> None:
    saved("a.safetensors", ("jar", [1.0, 2]), model="one")
    saved("b.safetensors", ("cup", [3.0, 4]), model="two")
    call("prompt", "mix", "a.safetensors", "b.safetensors", "-o", "ab.safetensors")
    outcome = call("prompt", "mix", "ab.safetensors", "a.safetensors", "-o", "mix.safetensors")
    assert outcome.records[0]["model"] == "one + two"
    assert command._model_of(load_prompts("ab.safetensors")) == MODEL  # "one + two" is no model


@pytest.mark.parametrize(
    ("parts", "code", "message"),
    [
        ((), 2, "Missing argument"),
        (("two.safetensors",), 4, "holds 2 prompts ('jar', 'jar'); choose one as two.safetensors#LABEL or"),
        (("two.safetensors#jar",), 4, "holds 2 prompts 'jar'"),
        (("two.safetensors#lid",), 4, "has no prompt 'lid'; it holds 'jar', 'jar'"),
        (("two.safetensors#3",), 4, "has no prompt '3'"),
        (("no.safetensors:1",), 4, "there is no prompt file no.safetensors"),
        (("wide.safetensors", "one.safetensors"), 4, "are 2 and 3 numbers wide"),
        (("one.safetensors:nan",), 4, "weight in 'one.safetensors:nan' is nan; expected a finite number"),
        (("a OR b:0.5",), 4, "is an expression"),
        ((":0.5",), 4, "empty"),
        (("picture.png:0.5",), 4, "clipseg prompt make --image-prompt picture.png"),
        (("mix.safetensors",), 2, "is one of the inputs"),
        (("one.safetensors", "--template", "photos"), 2, "did you mean 'photo'?"),
    ],
)
def test_bad_mixes(call, draw, unloadable, parts, code, message) -> None:
    draw("picture.png")
    saved("one.safetensors", ("jar", [1.0, 2]))
    saved("two.safetensors", ("jar", [1.0, 2]), ("jar", [2.0, 2]))
    saved("wide.safetensors", ("jar", [1.0, 2, 3]))
    saved("mix.safetensors", ("old", [1.0, 1]))
    before = Path("mix.safetensors").read_bytes()
    outcome = call("prompt", "mix", *parts, "-o", "mix.safetensors")
    assert outcome.code == code
    assert message in outcome.error
    assert Path("mix.safetensors").read_bytes() == before


# -- show --------------------------------------------------------------------------------------------------------------


def test_prompts_are_shown_and_compared(call, folder, unloadable) -> None:
    saved("a.safetensors", ("jar", [3.0, 4]), ("lid", [-4.0, 3]))
    saved("b.safetensors", ("wide", [1.0, 2, 2]), ("nothing", [0.0, 0, 0]), model="other")
    outcome = call("prompt", "show", "a.safetensors", "b.safetensors")
    assert (outcome.code, outcome.err) == (0, "")
    assert [(one["file"], one["number"], one["label"]) for one in outcome.records] == [
        ("a.safetensors", 1, "jar"), ("a.safetensors", 2, "lid"), ("b.safetensors", 1, "wide"),
        ("b.safetensors", 2, "nothing"),
    ]  # fmt: skip
    assert [one["norm"] for one in outcome.records] == [5, 5, 3, 0]
    assert [one["width"] for one in outcome.records] == [2, 2, 3, 3]
    assert [one["model"] for one in outcome.records] == ["tiny", "tiny", "other", "other"]
    assert outcome.records[0]["cosines"] == [1, 0, None, None]
    assert outcome.records[2]["cosines"] == [None, None, 1, 0]


def test_a_table_on_a_terminal(call, folder, unloadable, terminal_out) -> None:
    saved("a.safetensors", ("jar", [3.0, 4]), ("lid", [4.0, 3]))
    outcome = call("prompt", "show", "a.safetensors")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["label", "made", "of", "model", "norm", "1", "2"]
    assert lines[1].split() == ["1", "jar", "an", "embedding", "tiny", "5.00", "1.00", "0.96"]
    assert json.loads(call("prompt", "show", "a.safetensors", "--json").out.splitlines()[0])["label"] == "jar"


def test_many_prompts_are_listed_without_their_cosines(call, folder, terminal_out) -> None:
    saved("a.safetensors", *((f"thing {number}", [1.0, number]) for number in range(20)))
    outcome = call("prompt", "show", "a.safetensors")
    assert len(outcome.out.splitlines()) == 21
    assert outcome.err == "these are 20 prompts; how alike they are is in --json\n"


def test_a_line_for_each_prompt_that_is_made(call, model, folder, terminal_out) -> None:
    outcome = call("prompt", "make", "-p", "a cat", *about(model))
    assert outcome.out == f"a cat: 'a cat', 8 numbers of {model.name} -> x.safetensors\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"kind": "text", "text": "a cup", "templates": "photo"}, "'a cup', photo"),
        ({"kind": "image", "picture": "a.jpg", "marked": "nothing", "box": None, "style": "crop"}, "a.jpg, whole"),
        ({"kind": "image", "picture": None, "marked": "box", "style": "crop"}, "a picture with a box, crop"),
        ({"kind": "image", "picture": "a.jpg", "marked": "mask", "style": {}}, "a.jpg with a mask, own style"),
        (
            {"kind": "mix", "parts": [{"weight": 0.5, "kind": "embedding"}, {"weight": -1, "kind": "future"}]},
            '0.5 (an embedding) + -1 ({"weight": -1, "kind": "future"})',
        ),
        ({"kind": "mix", "parts": 3}, '{"kind": "mix", "parts": 3}'),
        ({"kind": "mix", "parts": [4, {}]}, '{"kind": "mix", "parts": [4, {}]}'),
        ({}, "{}"),
    ],
)
def test_origins_in_words(source: dict[str, Any], words: str) -> None:
    assert told(source) == words


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_what_is_no_prompt_file(call, folder, content) -> None:
    if content is not None:
        Path("x.safetensors").write_bytes(content)
    outcome = call("prompt", "show", "x.safetensors")
    assert outcome.code == 4
    assert "x.safetensors" in outcome.error
