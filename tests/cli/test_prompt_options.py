"""Prompts as options: phrases, expressions, examples, styles, files, templates and negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipseg import Segmenter
from clipseg.cli import prompt_options
from clipseg.cli.prompt_options import Example, read_prompts, read_style, split_example
from clipseg.errors import PictureNotFoundError, PromptError, UsageError
from clipseg.prompting.expressions import And
from clipseg.prompting.prompt_files import save_prompts
from clipseg.prompting.prompts import ImagePrompt, MixedPrompt, TextPrompt, mean_prompt
from clipseg.prompting.styles import DEFAULT_STYLE, VisualStyle

NOTHING: dict[str, Any] = {
    "texts": (), "negatives": (), "examples": (), "average": False, "style": DEFAULT_STYLE, "files": (),
    "templates": (),
}  # fmt: skip


def asked(**values: Any) -> prompt_options.Asked:
    return read_prompts({**NOTHING, **values})


def test_phrases_and_expressions_in_their_templates() -> None:
    found = asked(texts=("a cat", "face AND NOT hair"), negatives=("wood OR stone",), templates=("photo", "my {}"))
    phrase, expression = found.prompts
    templates = ("a photo of a {}.", "my {}")
    assert phrase == TextPrompt("a cat", templates=templates)
    assert isinstance(expression, And)
    assert found.labels == ("a cat", "face AND NOT hair")
    assert [term.label for term in found.negatives] == ["wood OR stone"]
    assert asked(texts=("a",), templates=("shuffle+",)).prompts == (TextPrompt("a", templates="shuffle+"),)
    assert asked(texts=("a",)).prompts == (TextPrompt("a"),)


def test_examples_and_files_after_phrases(draw, model) -> None:
    draw("jar.png", (20, 24))
    segmenter = Segmenter.from_pretrained(model)
    save_prompts("saved.safetensors", segmenter.embedded(["wood", "a glass"]))
    found = asked(examples=("jar.png:1,2,8,9",), style="dim", texts=("x",), files=("saved.safetensors",))
    assert found.labels == ("x", "jar", "wood", "a glass")
    assert found.files == ("jar.png", "saved.safetensors")
    example = found.prompts[1]
    assert isinstance(example, ImagePrompt)
    assert (example.box, example.style) == ((1.0, 2.0, 8.0, 9.0), "dim")


def test_the_mean_of_examples(draw, model) -> None:
    draw("jar.png", (20, 24))
    draw("cup.png", (24, 20))
    (mean,) = asked(examples=("jar.png", "cup.png"), average=True).prompts
    assert isinstance(mean, MixedPrompt)
    assert mean.label == "mean of jar, cup"
    segmenter = Segmenter.from_pretrained(model)
    expected = segmenter.embed(mean_prompt([ImagePrompt("jar.png"), ImagePrompt("cup.png")]))
    np.testing.assert_allclose(segmenter.embed(mean), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({}, UsageError, "no prompt given"),
        ({"negatives": ("a",)}, UsageError, "no prompt given"),
        ({"texts": ("",)}, PromptError, "a text prompt is empty"),
        ({"texts": ("(a OR",)}, PromptError, "column"),
        ({"texts": ("a",), "negatives": ("b AND",)}, PromptError, "column"),
        ({"texts": ("a",), "templates": ("photos",)}, UsageError, "did you mean 'photo'?"),
        ({"files": ("nowhere.safetensors",)}, PromptError, "there is no prompt file nowhere.safetensors"),
        ({"texts": ("a",), "average": True}, UsageError, "--average is of examples"),
    ],
)
def test_refused(folder, values, error, message) -> None:
    with pytest.raises(error, match=r"^[^\n]*$") as caught:
        asked(**values)
    assert message in str(caught.value)


# -- styles ----------------------------------------------------------------------------------------------------------


def test_styles() -> None:
    assert read_style("crop") == "crop"
    assert read_style("crop_blur:blur=5,background=0.2") == VisualStyle(blur=5, background=0.2, context=0.1)
    assert read_style("tint:tint=1/0.5/0") == VisualStyle(tint=(1, 0.5, 0))
    assert read_style("crop:context=none,attention=class") == VisualStyle(blur=1, attention="class")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crops", "there is no style 'crops'; did you mean 'crop'?"),
        ("crop,dim", "names several"),
        ("crop:blurr=3", "did you mean 'blur'?"),
        ("crop:blur=-3", "--style crop:blur=-3: a style's blur is"),
        ("crop:blur=much", "a style's blur is"),
        ("crop:attention=some", "unknown attention"),
    ],
)
def test_refused_styles(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        read_style(text)
    assert message in str(error.value)


# -- FILE[:MASK] -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "text", "expected"),
    [
        (["jar.png"], "jar.png", ("jar.png", None)),
        (["jar.png", "m.png"], "jar.png:m.png", ("jar.png", "m.png")),
        (["a:b.png"], "a:b.png", ("a:b.png", None)),
        (["a:b.png", "m.png"], "a:b.png:m.png", ("a:b.png", "m.png")),
        (["jar.png", "m:n.png"], "jar.png:m:n.png", ("jar.png", "m:n.png")),
        (["C:\\jar.png"], "C:\\jar.png", ("C:\\jar.png", None)),
        (["C:\\jar.png", "D:\\m.png"], "C:\\jar.png:D:\\m.png", ("C:\\jar.png", "D:\\m.png")),
        (["C", "C:\\jar.png", "m.png"], "C:\\jar.png:m.png", ("C:\\jar.png", "m.png")),
        (["jar.png", "1,2,3,4"], "jar.png:1,2,3,4", ("jar.png", "1,2,3,4")),
        (["jar.png"], "jar.png:1,2,3,4", ("jar.png", None, (1, 2, 3, 4))),
        (["a:b.png"], "a:b.png: 1.5, 2,3 ,4", ("a:b.png", None, (1.5, 2, 3, 4))),
    ],
)
def test_split_example(folder, there, text, expected) -> None:
    for name in there:
        Path(name).touch()
    assert split_example(text) == Example(*expected)


@pytest.mark.parametrize("text", ["", ":", "jar.png:", ":jar.png", "x:y:z", "jar.png:1,2,3"])
def test_split_example_refuses(folder, text) -> None:
    Path("jar.png").touch()
    with pytest.raises(PictureNotFoundError):
        split_example(text)


def test_a_mask_of_another_size_is_named(draw) -> None:
    draw("jar.png", (20, 24))
    Image.new("L", (5, 5)).save("m.png")
    with pytest.raises(PromptError, match=r"--image-prompt jar.png:m.png: mask is 5x5 but its picture is 24x20"):
        asked(examples=("jar.png:m.png",))
