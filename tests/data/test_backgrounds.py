import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.data.backgrounds import add_noise, background, colour
from clipseg.errors import DataError


@given(seed=st.integers(0, 2**32), size=st.integers(8, 96))
def test_a_background_is_a_picture_and_a_function_of_its_seed(seed, size):
    picture = background(np.random.default_rng(seed), size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, background(np.random.default_rng(seed), size))


def test_backgrounds_are_varied():
    pictures = np.stack([background(np.random.default_rng(seed), 32) for seed in range(200)]).astype(float)
    means = pictures.mean((1, 2))  # (200, 3)
    spreads = pictures.std((1, 2)).max(-1)
    assert means.std(0).min() > 30, "every colour occurs"
    assert (spreads < 12).any(), "some are flat"
    assert (spreads > 60).any(), "some are busy"


def test_no_background_is_too_small_to_draw():
    with pytest.raises(DataError, match="background size is 4"):
        background(np.random.default_rng(0), 4)


@given(amplitude=st.floats(0, 60), grey=st.integers(0, 255))
def test_noise_stays_within_its_amplitude_and_the_range_of_bytes(amplitude, grey):
    picture = np.full((24, 24, 3), grey, np.uint8)
    change = add_noise(np.random.default_rng(0), picture, amplitude).astype(int) - grey
    assert abs(change).max() <= amplitude + 1
    if 60 < grey < 195:
        assert abs(change.mean()) < 1 + amplitude / 20, "noise has no bias"
        assert (amplitude < 1) or change.any()


def test_colours_reach_from_grey_to_saturated_and_from_dark_to_bright():
    rng = np.random.default_rng(0)
    colours = np.array([colour(rng) for _ in range(500)])
    chroma = np.ptp(colours, axis=1)
    assert (chroma < 25).mean() > 0.05
    assert (chroma > 180).mean() > 0.05
    assert (colours.max(1) < 80).mean() > 0.02
    assert (colours.min(1) > 170).mean() > 0.02
