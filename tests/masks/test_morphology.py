import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from clipseg.masks.morphology import grown, shrunk

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14)))
RADII = st.floats(0, 20) | st.integers(0, 20)
SHAPES = st.sampled_from(["disk", "square"])


@settings(max_examples=80, deadline=None)
@given(MASKS, RADII, SHAPES)
def test_grown_is_all_within_the_radius(mask: NDArray[np.bool_], radius: float, shape: str) -> None:
    if not mask.any():
        expected = mask
    elif shape == "disk":
        expected = ndimage.distance_transform_edt(~mask) <= radius
    else:
        expected = ndimage.distance_transform_cdt(~mask, "chessboard") <= radius
    assert np.array_equal(grown(mask, radius, shape), expected)


@settings(max_examples=60, deadline=None)
@given(MASKS, RADII, SHAPES)
def test_growing_and_shrinking_are_monotone_and_opposite(mask: NDArray[np.bool_], radius: float, shape: str) -> None:
    closed = shrunk(grown(mask, radius, shape), radius, shape)
    opened = grown(shrunk(mask, radius, shape), radius, shape)
    assert (mask <= closed).all()
    assert (opened <= mask).all()
    assert np.array_equal(shrunk(grown(closed, radius, shape), radius, shape), closed)
    assert np.array_equal(shrunk(mask, radius, shape), ~grown(~mask, radius, shape))
    assert (mask <= grown(mask, radius, shape)).all()
    assert (grown(mask, radius, shape) <= grown(mask, radius + 1, shape)).all()


@pytest.mark.parametrize("shape", ["disk", "square"])
def test_what_fills_the_picture_does_not_shrink_from_its_border(shape: str) -> None:
    assert shrunk(np.ones((5, 6), bool), 3, shape).all()
    assert not grown(np.zeros((5, 6), bool), 3, shape).any()


def test_one_pixel_grows_into_the_shape() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert grown(mask, 2, "disk").sum() == 13
    assert grown(mask, 2, "square").sum() == 25
    assert grown(mask, 0.9, "square").sum() == 1
    assert mask.sum() == 1, "the mask itself is left alone"
