import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from clipseg.masks.hints import hints_of


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.floats(0, 1, width=32)))
def test_hints_point_at_what_they_say(soft: NDArray[np.float32]) -> None:
    box, points, inside = hints_of(soft)
    if not (soft > 0.4).any():
        assert box is None
        assert len(points) == len(inside) == 0
        return
    assert box is not None
    ys, xs = np.nonzero(soft > 0.4)
    assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert points.shape == (len(inside), 2)
    assert inside[0]
    values = soft[np.floor(points[:, 1]).astype(int), np.floor(points[:, 0]).astype(int)]
    assert (values[inside] > 0.4).all()
    assert (values[~inside] < 0.1).all()


def test_points_lie_deep_inside_and_well_beside() -> None:
    soft = np.zeros((600, 900), np.float32)
    soft[100:300, 100:400] = 0.9
    soft[400:500, 700:760] = 0.8
    soft[10, 10] = 0.9
    box, points, inside = hints_of(soft, positives=2, negatives=2)
    assert box == (10, 10, 760, 500)
    assert inside.tolist() == [True, True, False, False]
    assert abs(points[0, 1] - 200) < 8
    assert 180 < points[0, 0] < 320
    assert points[1] == pytest.approx([730, 450], abs=8)
    assert np.linalg.norm(points[2] - points[3]) > 100


def test_a_line_too_thin_for_the_small_mask_still_has_a_point() -> None:
    soft = np.zeros((2000, 2000), np.float32)
    soft[np.arange(2000), np.arange(2000)] = 0.9
    box, points, inside = hints_of(soft)
    assert box == (0, 0, 2000, 2000)
    assert inside[0]
    assert soft[int(points[0, 1]), int(points[0, 0])] > 0.4
