import pytest

from clipseg.errors import PromptError
from clipseg.prompting.templates import TEMPLATE_NAMES, TEMPLATES, filled, templates_named


def test_named_sets():
    assert tuple(TEMPLATES) == TEMPLATE_NAMES == ("plain", "photo", "fixed", "shuffle", "shuffle+")
    assert filled("plain", "a cat") == ("a cat",)
    assert filled("photo", "cat") == filled("fixed", "cat") == ("a photo of a cat.",)
    assert filled("shuffle", "cat")[1:] == ("a photograph of a cat.", "an image of a cat.", "cat.")
    assert filled("shuffle+", "cat")[:4] == filled("shuffle", "cat")
    assert filled("shuffle+", "cat")[4:] == (
        "a cropped photo of a cat.", "a good photo of a cat.", "a photo of one cat.", "a bad photo of a cat.",
        "a photo of the cat.",
    )  # fmt: skip


def test_ones_own():
    assert filled("a photo of {}", "cats") == ("a photo of cats",)
    assert filled(["{} seen from above", "the {}"], "roof") == ("roof seen from above", "the roof")
    assert filled("{}", "{} {0} %s") == ("{} {0} %s",), "a phrase is nothing to fill"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sketch", "unknown templates 'sketch'; known are plain, photo, fixed"),
        ("", "unknown templates ''"),
        ("a {} and a {}", "one place for the phrase"),
        ("a {cat}", "one place for the phrase"),
        (["a cat"], "one place for the phrase"),
        ([7], "one place for the phrase"),
        ([], "a name .* or a list of sentences"),
        (7, "a name .* or a list of sentences"),
    ],
)
def test_what_are_no_templates(given, message):
    with pytest.raises(PromptError, match=message):
        templates_named(given)
