import math

import pytest

from clipseg.errors import UsageError
from clipseg.masks.lengths import checked_length, pixels, square_pixels


@pytest.mark.parametrize(
    ("written", "length", "area"),
    [(12, 12, 12), (1.5, 1.5, 1.5), ("12px", 12, 12), ("30%", 60, 18000), (" .5 % ", 1, 300), ("29%", 58, 17400)],
)  # fmt: skip
def test_lengths_are_of_the_shorter_side_and_areas_of_the_picture(written: object, length: float, area: float) -> None:
    size_hw = (300, 200)
    checked = checked_length("grow", written, "the shorter side")
    assert pixels(checked, size_hw) == length
    assert square_pixels(checked, size_hw) == area
    assert pixels(checked, (200, 300)) == length
    assert checked_length("grow", checked, "the shorter side") == checked


@pytest.mark.parametrize(
    "wrong", [-1, "-1", "1e3", "1%px", "%", "px", "", "1.2.3", "1 cm", math.nan, math.inf, True, None, [1]]
)
def test_anything_else_says_how_lengths_are_written(wrong: object) -> None:
    with pytest.raises(UsageError, match=r'^grow is .* such as 12, or a part of the shorter side, such as "1%"$'):
        checked_length("grow", wrong, "the shorter side")
