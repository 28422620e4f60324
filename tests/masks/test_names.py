import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.masks.names import MAX_BYTES, slug, unique_slugs

ANY_TEXT = st.text(st.characters(codec=None), max_size=120)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("a red cup", "a-red-cup"),
        ("  A  Red—Cup!! ", "a-red-cup"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden", "hidden"),
        ("C:\\temp\\x", "c-temp-x"),
        ("赤い カップ", "赤い-カップ"),
        ("लाल कप", "लाल-कप"),
        ("Straße № 5", "straße-no-5"),
        ("", "prompt"),
        ("?!", "prompt"),
        ("\x00\n", "prompt"),
        ("\ud800", "prompt"),
        ("NUL", "nul-prompt"),
    ],
)
def test_slugs(label: str, expected: str) -> None:
    assert slug(label) == expected


def test_a_long_label_is_cut_between_letters() -> None:
    assert slug("é" * 500) == "é" * (MAX_BYTES // 2)
    assert slug("日" * 500) == "日" * (MAX_BYTES // 3)


@given(ANY_TEXT)
def test_a_slug_is_always_a_safe_file_name_part(label: str) -> None:
    name = slug(label)
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert name.isprintable()
    assert not set(name) & set('/\\.:*?"<>| \0')
    assert os.path.basename(name) == name
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert slug(name) == name


@given(st.lists(st.one_of(st.sampled_from(["a", "A", "a-2", "a 2", "", "prompt"]), ANY_TEXT), max_size=12))
def test_unique_slugs_differ_even_without_regard_to_case(labels: list[str]) -> None:
    names = unique_slugs(labels)
    assert len(names) == len(labels)
    assert len({name.casefold() for name in names}) == len(names)


def test_the_first_keeps_its_name() -> None:
    assert unique_slugs(["cup", "Cup", "jar", "cup"]) == ["cup", "cup-2", "jar", "cup-3"]
    assert unique_slugs(["a", "a", "a-2"]) == ["a", "a-2", "a-2-2"]
