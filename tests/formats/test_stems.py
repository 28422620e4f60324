import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import PictureError, UsageError
from clipseg.formats.stems import Stems


def test_stems() -> None:
    stems = Stems()
    assert stems.taken("a/cat.jpg") == "cat"
    assert stems.taken("cat.2.png") == "cat.2"
    for again in ("b/cat.png", "a/cat.jpg", "CAT.gif"):
        with pytest.raises(UsageError, match=r"and 'a/cat.jpg' would be labelled in one file"):
            stems.taken(again)
    with pytest.raises(UsageError, match="no name of a picture"):
        stems.taken("")


@pytest.mark.parametrize("name", ["a\nb.jpg", " cat.jpg", "cat .jpg", "\udc80.png", "a\u2028b.png", "\x00.jpg"])
def test_names_that_no_list_holds(name: str) -> None:
    with pytest.raises(PictureError, match="rename it"):
        Stems().taken(name)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(), max_size=6))
def test_a_stem_is_a_line_that_comes_back(name: str) -> None:
    try:
        stem = Stems().taken(f"{name}.jpg")
    except (PictureError, UsageError):
        return
    assert f"{stem}\n".encode().decode().split("\n") == [stem, ""]
    assert "/" not in stem
