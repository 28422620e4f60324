"""Templates of names, and names that do not collide."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.cli.naming import DEFAULT, DEFAULT_OF_INSTANCES, FIELDS, NameTemplate, check_names, unique_stems
from clipseg.errors import UsageError

VALUES = {"stem": "cat", "prompt": "a-cup", "kind": "soft", "index": 2, "instance": 3, "picture": 7, "folder": "pets"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (DEFAULT, "cat.a-cup.soft.png"),
        (DEFAULT_OF_INSTANCES, "cat.a-cup.3.soft.png"),
        ("{stem}", "cat.png"),
        ("{stem}.PNG", "cat.PNG"),
        ("{stem}.png", "cat.png"),
        ("{prompt}/{folder}-{picture:04d}-{index}", "a-cup/pets-0007-2.png"),
        ("plain", "plain.png"),
        ("{{stem}}", "{stem}.png"),
    ],
)
def test_templates(text: str, name: str) -> None:
    assert NameTemplate(text).formatted(VALUES, ".png") == name


def test_every_field_is_known() -> None:
    template = NameTemplate("".join(f"{{{name}}}" for name in FIELDS))
    assert template.fields == set(FIELDS) == set(VALUES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{stm}", "did you mean 'stem'?"),
        ("{}", "no field {}"),
        ("{stem", "is no template"),
        ("{stem:d}", "is no template"),
        ("{stem.__class__}", "no field"),
        ("/tmp/{stem}", "below the folder of results"),
        ("../{stem}", "below the folder of results"),
        ("{stem}/", "below the folder of results"),
        ("", "below the folder of results"),
    ],
)
def test_refused_templates(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$") as error:
        NameTemplate(text)
    assert message in str(error.value)


@settings(deadline=None)
@given(st.text("{}stempro/.:!d[]é\0", max_size=12))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with suppress(UsageError):
        template = NameTemplate(text)
        assert template.formatted(VALUES, ".png")


def test_check_names(tmp_path: Path) -> None:
    check_names([tmp_path / "a.png", tmp_path / "b.png"], [str(tmp_path / "c.png")])
    with pytest.raises(UsageError, match="two results would be called"):
        check_names([tmp_path / "a.png", tmp_path / "A.png"], [])
    with pytest.raises(UsageError, match="is one of the inputs"):
        check_names([tmp_path / "a.png"], [str(tmp_path / "x" / ".." / "a.png")])
    with pytest.raises(UsageError, match="is longer than 255 bytes"):
        check_names([tmp_path / ("é" * 126 + ".png")], [])


def test_stems() -> None:
    assert unique_stems(["cat", "cat", "Cat", "cat-2", "dog.tar"]) == ["cat", "cat-2", "Cat-3", "cat-2-2", "dog.tar"]


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(names | st.sampled_from(["a", "A", "a-2"])))
def test_stems_differ_and_fit(given: list[str]) -> None:
    stems = unique_stems(given)
    assert len(stems) == len(given)
    assert len({stem.casefold() for stem in stems}) == len(stems)
    assert all(0 < len(stem.encode()) <= 160 for stem in stems)
