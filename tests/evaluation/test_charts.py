"""Charts: lines are where their points are."""

from __future__ import annotations

import numpy as np
import pytest

from clipseg.errors import UsageError
from clipseg.evaluation.charts import LEFT, RIGHT, TOP, line_chart
from clipseg.masks.draw import PALETTE


def pixels_of(chart, number):
    """-> (x, y) of the pixels in a line's own colour above the legend."""
    y, x = np.nonzero((np.abs(np.asarray(chart).astype(int) - PALETTE[number]).sum(-1) < 30)[:410])
    return x, y


def test_lines_lie_between_their_points():
    curves = {"rising": [(0, 0), (1, 1)], "flat": [(0, 0.5), (0.5, 0.5)]}
    chart = line_chart(curves, title="two", across="threshold")
    x, y = pixels_of(chart, 0)
    assert (x.min(), x.max()) == (pytest.approx(LEFT, abs=3), pytest.approx(640 - RIGHT, abs=3))
    assert y[x.argmax()] == pytest.approx(TOP, abs=3)
    assert np.corrcoef(x, y)[0, 1] < -0.999
    x, y = pixels_of(chart, 1)
    assert np.ptp(y) <= 3
    assert x.max() == pytest.approx((LEFT + 640 - RIGHT) / 2, abs=3)


def test_points_alone_and_outside():
    chart = line_chart({"one": [(0.5, 7.0)]}, title="", across="", y=(0, 1))
    x, y = pixels_of(chart, 0)
    assert x.mean() == pytest.approx((LEFT + 640 - RIGHT) / 2, abs=2)
    assert y.min() == pytest.approx(TOP, abs=5), "on the border"


@pytest.mark.parametrize(("curves", "x"), [({}, (0, 1)), ({"a": [(0, 0)]}, (1, 1))])
def test_refused(curves, x):
    with pytest.raises(UsageError, match="needs a curve"):
        line_chart(curves, title="", across="", x=x)
