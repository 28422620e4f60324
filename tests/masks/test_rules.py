from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.masks.rules import SORT_KEYS, Area, Hysteresis, Keep, Level, Otsu, parse_keep, parse_rule


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0.4, Level(0.4)),
        (1, Level(1)),
        ("0.4", Level(0.4)),
        ("40%", Level(0.4)),
        (" Otsu ", Otsu()),
        ("area:0.2", Area(0.2)),
        ("area:20%", Area(0.2)),
        ("area:0", Area(0)),
        ("hysteresis:0.3,0.6", Hysteresis(0.3, 0.6)),
        ("hysteresis: 0.5 , 0.5", Hysteresis(0.5, 0.5)),
    ],
)
def test_thresholds_are_read(written: object, meant: object) -> None:
    rule = parse_rule(written)
    assert rule == meant
    assert type(rule) is type(meant)


@pytest.mark.parametrize(
    "wrong",
    ["", "otsu:1", "area", "area:", "area:2", "area:.1,.2", "hysteresis:.3", "hysteresis:.1,x", "nan", 2, True, []],
)
def test_what_is_no_threshold_lists_what_is(wrong: object) -> None:
    with pytest.raises(UsageError, match=r'"otsu", "area:F" or "hysteresis:L,H"; got'):
        parse_rule(wrong)


def test_a_hysteresis_the_wrong_way_round_is_turned_in_the_message() -> None:
    with pytest.raises(UsageError, match=r"hysteresis:0\.3,0\.6$"):
        parse_rule("hysteresis:0.6,0.3")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("all", Keep(None, None)),
        ("largest", Keep("big-to-small", (1,))),
        ("top-to-bottom", Keep("top-to-bottom", None)),
        ("Small-To-Big:2,-1", Keep("small-to-big", (2, -1))),
        ("1, -1", Keep("left-to-right", (1, -1))),
        (-1, Keep("left-to-right", (-1,))),
        ([3, 1], Keep("left-to-right", (3, 1))),
    ],
)
def test_what_to_keep_is_read(written: object, meant: Keep) -> None:
    assert parse_keep(written) == meant


@pytest.mark.parametrize("wrong", ["", "0", "1.5", 0, 1.5, True, None, [], [1, 0], "left-to-right:", "largest:1", {}])
def test_what_cannot_be_kept_lists_what_can(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"^keep is .*big-to-small"):
        parse_keep(wrong)


def test_a_misspelt_key_is_guessed() -> None:
    with pytest.raises(UsageError, match="did you mean 'left-to-right'"):
        parse_keep("left-to-rigth:1")


@given(
    st.text(max_size=20),
    st.sampled_from(["", "area:", "hysteresis:", *(f"{key}:" for key in SORT_KEYS)]),
    st.sampled_from([parse_rule, parse_keep]),
)
def test_no_text_breaks_the_reading(text: str, start: str, read: Callable[[object], object]) -> None:
    with suppress(UsageError):
        read(start + text)
