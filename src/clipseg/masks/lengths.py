"""Lengths and areas as people give them: in pixels of the result, or in parts of it.

    "12", "12px", 12   pixels                "500", 500   square pixels
    "1.5%"             of the shorter side   "0.1%"       of the picture

Nothing here knows an array, so that a command line can check its options before anything heavy is imported.
"""

import math
import re
from typing import TypeAlias

from clipseg.errors import UsageError

Length: TypeAlias = float | str
"""Pixels, or "N%"."""

_WRITTEN = re.compile(r"(\d+\.?\d*|\.\d+)\s*(px|%|)")


def finite(value: object) -> float | None:
    """A number, or its text -> the number; None for anything else, and for one that no float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def checked_length(name: str, value: object, whole: str) -> Length:
    """An option's value -> pixels as a number, or "N%" of `whole`. Raises UsageError unless it is at least 0."""
    if isinstance(value, str):
        if (match := _WRITTEN.fullmatch(value.strip())) and (number := finite(match[1])) is not None:
            return f"{match[1]}%" if match[2] == "%" else number
    elif isinstance(value, int | float) and finite(value) is not None and value >= 0:
        return value
    expected = f'a number of pixels of at least 0, such as 12, or a part of {whole}, such as "1%"'
    raise UsageError(f"{name} is {value!r:.80}; expected {expected}")


def pixels(length: Length, size_hw: tuple[int, int]) -> float:
    """A checked length and a picture's size -> pixels; percentages are of its shorter side."""
    return length if isinstance(length, int | float) else float(length[:-1]) * min(size_hw) / 100


def square_pixels(area: Length, size_hw: tuple[int, int]) -> float:
    """A checked area and a picture's size -> square pixels; percentages are of all of it."""
    return area if isinstance(area, int | float) else float(area[:-1]) * size_hw[0] * size_hw[1] / 100
