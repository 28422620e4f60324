import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.masks.lettering import font, printable, shortened


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red cup", "a red cup"),
        (" two\nlines\t", "two lines"),
        ("café crème", "cafe creme"),
        ("Łódź – Straße", "Lodz - Strasse"),
        ("赤い cup", "?? cup"),
        ("👩\u200d🍳", "??"),
        ("\ud800x", "x"),
    ],
)
def test_what_the_font_cannot_draw_is_replaced(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(max_size=60), st.integers(0, 300))
def test_shortened_text_fits_wherever_an_ellipsis_does(text: str, width: int) -> None:
    result = shortened(printable(text), width, 12)
    assert result == printable(text) or result.endswith("…")
    assert font(12).getlength(result) <= max(width, font(12).getlength("…"))


def test_shortening_keeps_as_much_as_fits() -> None:
    text = "something to drink from"
    width = font(12).getlength("something to…")
    assert shortened(text, width, 12) == "something to…"
    assert shortened(text, 1000, 12) == text
