"""Two options that are small languages: where a probability becomes yes, and which parts of a mask stay.

    0.4   "otsu"   "area:0.2"   "hysteresis:0.3,0.6"   None for a soft result
    "all"   "largest"   "left-to-right"   "big-to-small:1,2"   [1, -1]

Here they become values; `thresholds` and `components` apply them. Nothing here knows an array.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple, TypeAlias

from clipseg.errors import UsageError
from clipseg.masks.lengths import finite

DEFAULT_THRESHOLD = 0.4
"""The middle of what tools around CLIPSeg use, which is 0.3 to 0.5."""

SORT_KEYS = ("left-to-right", "right-to-left", "top-to-bottom", "bottom-to-top", "big-to-small", "small-to-big")
DEFAULT_ORDER = SORT_KEYS[0]

THRESHOLDS = 'a number from 0 to 1, "otsu", "area:F" or "hysteresis:L,H"'
KEEPS = f'all, largest, numbers such as "1,-1" (the first and the last), {", ".join(SORT_KEYS)}, or "big-to-small:1,2"'


class Level(NamedTuple):
    """Yes above a probability."""

    probability: float


class Otsu(NamedTuple):
    """Yes above the probability that parts the map's own values best."""


class Area(NamedTuple):
    """Yes for the most probable pixels, until they are this fraction of the picture."""

    fraction: float


class Hysteresis(NamedTuple):
    """Yes above `low` in every connected region that somewhere exceeds `high`."""

    low: float
    high: float


Rule: TypeAlias = Level | Otsu | Area | Hysteresis


class Keep(NamedTuple):
    """Which components stay: the `numbers` in that `order`, 1 the first and -1 the last; None is all of them."""

    order: str | None
    numbers: tuple[int, ...] | None


def parse_rule(value: object) -> Rule:
    """One threshold as people write it -> what it says. Raises UsageError for one that says nothing."""
    text = value.strip().lower() if isinstance(value, str) else ""
    name, _, rest = text.partition(":")
    fractions = [_fraction(part) for part in rest.split(",")]
    match name, fractions:
        case "otsu", _ if not rest:
            return Otsu()
        case "area", [float(fraction)]:
            return Area(fraction)
        case "hysteresis", [float(low), float(high)] if low <= high:
            return Hysteresis(low, high)
        case "hysteresis", [float(low), float(high)]:
            raise UsageError(f"threshold is {value!r}; the first number is the lower one: hysteresis:{high:g},{low:g}")
    level = _fraction(value)
    if level is None:
        raise UsageError(f"threshold must be {THRESHOLDS}; got {value!r}")
    return Level(level)


def parse_keep(value: object) -> Keep:
    """Which components to keep as people write it -> what it says. Raises UsageError for what it cannot say."""
    text = value.strip().lower() if isinstance(value, str) else ""
    key, colon, listed = text.partition(":")
    if text == "all":
        return Keep(None, None)
    if text == "largest":
        return Keep("big-to-small", (1,))
    if key in SORT_KEYS:
        return Keep(key, _numbers(value, listed.split(",")) if colon else None)
    if isinstance(value, str) and text[:1].isalpha():
        near = get_close_matches(key, ("all", "largest", *SORT_KEYS), 1)
        raise UsageError(
            f"keep is {value!r}; " + (f"did you mean {near[0]!r}? " if near else "") + f"known are {KEEPS}"
        )
    if isinstance(value, str):
        return Keep(DEFAULT_ORDER, _numbers(value, text.split(",")))
    return Keep(DEFAULT_ORDER, _numbers(value, value if isinstance(value, Iterable) else [value]))


def _numbers(value: object, listed: Iterable[object]) -> tuple[int, ...]:
    try:
        numbers = tuple(int(str(number)) for number in listed)  # by way of text: neither 1.5 nor True is a position
    except ValueError:
        numbers = ()
    if not numbers or 0 in numbers:
        raise UsageError(
            f"keep is {value!r}; expected whole numbers, 1 the first component and -1 the last, or {KEEPS}"
        )
    return numbers


def _fraction(value: object) -> float | None:
    """A number from 0 to 1, or its text, "20%" too -> the number; anything else -> None."""
    if isinstance(value, str) and value.endswith("%"):
        percent = finite(value[:-1])
        return None if percent is None else _fraction(percent / 100)
    number = finite(value)
    return number if number is not None and 0 <= number <= 1 else None
