from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipseg.errors import PromptError
from clipseg.prompting.expressions import And, Not
from clipseg.prompting.prompts import (
    EmbeddingPrompt,
    ImagePrompt,
    MixedPrompt,
    Prompt,
    TextPrompt,
    as_prompts,
    as_prompts_if_any,
    mean_prompt,
)
from clipseg.prompting.styles import VisualStyle


class Phrase(str):
    __slots__ = ()


def test_one_prompt_or_several():
    cat, jar = TextPrompt("a cat"), ImagePrompt("jar.jpg")
    assert as_prompts("a cat") == [cat]
    assert as_prompts(cat) == [cat]
    assert as_prompts(["a cat", jar]) == [cat, jar]
    assert as_prompts(("a cat",)) == [cat]
    assert as_prompts(phrase for phrase in ["a cat"]) == [cat]
    assert [prompt.label for prompt in as_prompts({"a cat": 1, "wood": 2})] == ["a cat", "wood"]
    assert as_prompts(Phrase("a cat")) == [cat]
    assert as_prompts(np.array(["a cat", "wood"])) == [cat, TextPrompt("wood")]


def test_tensors_are_embeddings():
    (one,) = as_prompts(torch.arange(3.0))
    assert isinstance(one, EmbeddingPrompt)
    assert one.label == "embedding"
    rows = torch.arange(6.0).reshape(2, 3)
    for source in (rows, [rows]):
        prompts = as_prompts(source)
        assert [prompt.label for prompt in prompts] == ["embedding 1", "embedding 2"]
        assert torch.equal(torch.stack([prompt.embedding for prompt in prompts]), rows)
    assert [prompt.label for prompt in as_prompts(["wood", rows[0], "wood"])] == ["wood", "embedding", "wood"]


@pytest.mark.parametrize("nothing", [[], (), {}, iter([]), torch.empty(0, 3)])
def test_no_prompt_at_all(nothing):
    with pytest.raises(PromptError, match="no prompts given"):
        as_prompts(nothing)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (4, 4)),
        Path("jar.jpg"),
        b"\x89PNG",
        bytearray(b"\x89PNG"),
        np.zeros((4, 4, 3)),
        torch.zeros(3, 4, 4),
        None,
        7,
    ],
)
def test_a_bare_picture_is_no_prompt(picture):
    for source in (picture, [picture], ["a cat", picture]):
        with pytest.raises(PromptError, match=r"wrap a picture in ImagePrompt"):
            as_prompts(source)


def test_labels():
    assert TextPrompt("a cat").label == "a cat"
    assert TextPrompt("a cat", label="Tom").label == "Tom"
    assert ImagePrompt("folder/jar.png").label == "jar"
    assert ImagePrompt(Path("folder/jar.png")).label == "jar"
    assert ImagePrompt(Image.new("RGB", (4, 4))).label == "example"
    assert ImagePrompt(b"GIF").label == "example"
    assert ImagePrompt("jar.png", label="a jar").label == "a jar"
    assert EmbeddingPrompt(torch.ones(3)).label == "embedding"
    jar = 0.6 * TextPrompt("a jar") + 0.4 * ImagePrompt("jar.jpg")
    assert jar.label == "0.6 a jar + 0.4 jar"
    assert (TextPrompt("a") + TextPrompt("b")).label == "a + b"
    assert MixedPrompt(jar.parts, label="both").label == "both"


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_phrase(text):
    with pytest.raises(PromptError, match="empty"):
        TextPrompt(text)
    with pytest.raises(PromptError, match="empty"):
        as_prompts(["a cat", text])


def test_a_phrase_is_a_str():
    with pytest.raises(PromptError, match="got a bytes"):
        TextPrompt(b"a cat")  # type: ignore[arg-type]
    assert TextPrompt(Phrase("a cat")) == TextPrompt("a cat")
    assert TextPrompt("  a cat ").text == "  a cat ", "a phrase is given to the model as it stands"


def test_sums_keep_their_parts():
    cat, dog, jar = TextPrompt("cat"), TextPrompt("dog"), ImagePrompt("jar.jpg")
    assert (0.6 * cat + 0.4 * jar).parts == ((0.6, cat), (0.4, jar))
    assert (cat * 0.5).parts == (0.5 * cat).parts
    assert (0.5 * (cat + 0.5 * dog)).parts == ((0.5, cat), (0.25, dog))
    assert (cat + dog + jar).parts == ((1.0, cat), (1.0, dog), (1.0, jar))
    assert (cat + (dog + jar)).parts == (cat + dog + jar).parts
    assert (-1 * cat).parts == ((-1.0, cat),)
    assert (cat - 0.5 * (dog + jar)).parts == ((1.0, cat), (-0.5, dog), (-0.5, jar))
    with pytest.raises(TypeError):
        _ = cat - "dog"
    for half in (np.float32(0.5), torch.tensor(0.5), np.array(0.5)):
        assert (half * cat).parts == (cat * half).parts == ((0.5, cat),)


@given(weights=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4), factor=st.floats(-10, 10))
def test_weights_multiply_through(weights, factor):
    mixed = MixedPrompt(tuple((weight, TextPrompt(f"t{place}")) for place, weight in enumerate(weights)))
    scaled = factor * mixed
    assert [weight for weight, _ in scaled.parts] == [factor * weight for weight in weights]
    assert [part for _, part in scaled.parts] == [part for _, part in mixed.parts]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf")])
def test_weights_are_finite(weight):
    with pytest.raises(PromptError, match="expected a finite number"):
        _ = weight * TextPrompt("a cat")
    with pytest.raises(PromptError, match="expected a finite number"):
        MixedPrompt(((weight, TextPrompt("a cat")),))
    with pytest.raises(PromptError, match="expected a finite number"):
        _ = 1e200 * (1e200 * TextPrompt("a cat"))


def test_what_cannot_be_mixed():
    with pytest.raises(TypeError):
        _ = "twice" * TextPrompt("a cat")  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = TextPrompt("a cat") + "a dog"  # type: ignore[operator]
    with pytest.raises(PromptError, match="no parts"):
        MixedPrompt(())
    with pytest.raises(PromptError, match="made of prompts, got a str"):
        MixedPrompt(((1.0, "a cat"),))  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="weight is 'half'"):
        MixedPrompt((("half", TextPrompt("a cat")),))  # type: ignore[arg-type]


def test_prompts_are_values():
    cat = TextPrompt("a cat")
    with pytest.raises(AttributeError):
        cat.text = "a dog"  # type: ignore[misc]
    assert {cat: 1}[TextPrompt("a cat")] == 1
    assert TextPrompt("a cat") != TextPrompt("a cat", label="Tom")
    image = ImagePrompt("jar.jpg")
    assert image == image
    assert image != ImagePrompt("jar.jpg"), "pictures are not compared"
    assert isinstance(image, Prompt)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 2, 3), "four numbers"),
        ((1, 2, 3, 4, 5), "four numbers"),
        (7, "four numbers"),
        (("a", 0, 1, 1), "four numbers"),
        (np.zeros((1, 4)), "four numbers"),
        ((0, 0, float("nan"), 4), "finite"),
        ((0, 0, float("inf"), 4), "finite"),
        ((3, 0, 3, 4), "is empty"),
        ((0, 4, 3, 2), "is empty"),
    ],
)
def test_a_box_spans_an_area(box, message):
    with pytest.raises(PromptError, match=message):
        ImagePrompt("jar.jpg", box=box)


@pytest.mark.parametrize("box", [(1, 2, 3, 4), [1, 2, 3, 4], np.array([1, 2, 3, 4]), torch.tensor([1.0, 2, 3, 4])])
def test_a_box_is_any_four_numbers(box):
    assert ImagePrompt("jar.jpg", box=box).box == (1.0, 2.0, 3.0, 4.0)


def test_image_prompts():
    with pytest.raises(PromptError, match="both a mask and a box"):
        ImagePrompt("jar.jpg", mask="mask.png", box=(0, 0, 1, 1))
    with pytest.raises(PromptError, match=r"unknown visual-prompt style 'zoom'; known are whole, crop"):
        ImagePrompt("jar.jpg", style="zoom")


def test_embedding_prompts():
    values = [1.0, -2.0, 3.0]
    for source in (values, np.array(values), torch.tensor(values, dtype=torch.float64)):
        embedding = EmbeddingPrompt(source).embedding
        assert embedding.dtype == torch.float32
        assert embedding.tolist() == values
    for shape in ((), (0,), (2, 3)):
        with pytest.raises(PromptError, match="one vector"):
            EmbeddingPrompt(torch.ones(shape))
    with pytest.raises(PromptError, match="not finite"):
        EmbeddingPrompt(torch.tensor([1.0, float("nan")]))
    with pytest.raises(PromptError, match="of numbers, got a str"):
        EmbeddingPrompt("a cat")  # type: ignore[arg-type]


def test_expressions_are_prompts_too():
    cat, dog = TextPrompt("cat"), TextPrompt("dog")
    assert as_prompts("cat AND NOT dog") == [And((cat, Not(dog)))]
    assert as_prompts([cat & ~dog, "wood"]) == [And((cat, Not(dog))), TextPrompt("wood")]
    assert as_prompts(cat & dog) == [And((cat, dog))]
    with pytest.raises(TypeError):
        _ = 0.5 * (cat & dog)
    with pytest.raises(PromptError, match="made of prompts, got a And"):
        MixedPrompt(((1.0, cat & dog),))
    with pytest.raises(PromptError, match="column 8: a phrase is missing"):
        as_prompts(["wood", "cat AND"])


def test_none_at_all_may_be_fine():
    assert as_prompts_if_any(()) == []
    assert as_prompts_if_any("cat") == [TextPrompt("cat")]


def test_means():
    cat, jar = TextPrompt("cat"), ImagePrompt("jar.jpg")
    both = mean_prompt([cat, jar])
    assert both.parts == ((0.5, cat), (0.5, jar))
    assert both.label == "mean of cat, jar"
    assert mean_prompt([cat], label="Tom").label == "Tom"
    with pytest.raises(PromptError, match="no parts"):
        mean_prompt([])
    with pytest.raises(PromptError, match="made of prompts, got a str"):
        mean_prompt(["cat"])


def test_templates():
    assert TextPrompt("cat").texts == ("cat",)
    assert TextPrompt("cat", templates="photo").texts == ("a photo of a cat.",)
    assert TextPrompt("cat", templates="a photo of {}").texts == ("a photo of cat",)
    assert TextPrompt("cat", templates=["the {}"]) == TextPrompt("cat", templates=("the {}",))
    assert hash(TextPrompt("cat", templates=["the {}", "one {}"]))
    assert TextPrompt("cat", templates="photo") != TextPrompt("cat")
    assert TextPrompt("cat", templates="photo").label == "cat"
    with pytest.raises(PromptError, match="unknown templates 'sketch'"):
        TextPrompt("cat", templates="sketch")


def test_styles_with_parameters():
    assert ImagePrompt("jar.jpg", style=VisualStyle(blur=2)).style == VisualStyle(blur=2)
