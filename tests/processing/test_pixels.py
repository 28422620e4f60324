import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipseg.errors import PictureError
from clipseg.processing.pixels import (
    center_crop,
    channels_first,
    is_scaled,
    per_channel,
    pixels_of,
    resize,
    resized_hw,
    scaled,
    scaled_bytes,
    three_channels,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"height": 5, "width": 7}, (5, 7)),
        ({"shortest_edge": 224}, (224, 298)),  # 298.67, truncated
        ({"shortest_edge": 480}, (480, 640)),
    ],
)
def test_sizes(size, expected):
    assert resized_hw(480, 640, size) == expected
    assert resized_hw(640, 480, size) == (expected if "height" in size else expected[::-1])


def test_sizes_without_bounds():
    with pytest.raises(PictureError, match="too long and thin: it would become 1000x"):
        resized_hw(1, 300_000, {"shortest_edge": 1000})


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([np.uint8, np.float32, bool]))
def test_arrays_and_tensors_are_laid_out_alike(height, width, dtype):
    array = (RNG.random((height, width, 3)) * 255).astype(dtype)
    for layout in ("channels_last", "channels_first"):
        found, said = channels_first(array, layout, rgb=False)
        tensor, _ = channels_first(torch.from_numpy(array), layout, rgb=False)
        assert np.array_equal(found, array.transpose(2, 0, 1) if layout == "channels_last" else array)
        assert np.array_equal(found, tensor)
        assert said == layout


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((3, 9, 9), "channels_first"),
        ((9, 9, 4), "channels_last"),
        ((3, 9, 3), "channels_first"),
        ((9, 9), "channels_first"),
    ],
)
def test_layouts_are_seen_from_the_shape(shape, layout):
    for asked in (None, "none"):
        pixels, said = channels_first(np.zeros(shape), asked, rgb=False)
        assert said == layout
        assert pixels.ndim == 3
        assert pixels.shape[0] in (1, 3, 4)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_three_channels(channels, dtype):
    pixels = RNG.random((channels, 5, 6))
    pixels = (pixels * 255).astype(dtype) if dtype is np.uint8 else pixels.astype(dtype)
    found, tensor = three_channels(pixels), three_channels(torch.from_numpy(pixels))
    assert (found.shape, found.dtype) == ((3, 5, 6), dtype)
    np.testing.assert_allclose(tensor, found, atol=1 if dtype is np.uint8 else 1e-6)
    if channels == 4:
        top = 255 if dtype is np.uint8 else 1
        expected = Image.alpha_composite(
            Image.new("RGBA", (6, 5), "white"),
            Image.fromarray((pixels.transpose(1, 2, 0) * (255 / top)).round().astype(np.uint8)),
        )
        np.testing.assert_allclose(found / top, pixels_of(expected)[:3] / 255, atol=0.01)


def test_one_bit_pictures_with_alpha_stay_one_bit():
    pixels = RNG.random((4, 5, 6)) < 0.5
    assert np.array_equal(three_channels(pixels), pixels[:3] | ~pixels[3:])


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [(np.ones(3), True), (np.ones(3, np.uint8), False), (np.full(3, 1.1), False), (-np.ones(3), False)],
)
def test_what_is_scaled_already(pixels, expected):
    assert is_scaled(pixels) is expected
    assert is_scaled(torch.from_numpy(pixels)) is expected


def test_resizing_floats_goes_by_way_of_bytes():
    picture = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    small = resize(picture, {"height": 9, "width": 8}, 2)
    found = resize((picture / 255).astype(np.float32), {"height": 9, "width": 8}, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, small / 255, atol=1.5 / 255)
    assert np.array_equal(resize(picture.astype(np.float64), {"height": 9, "width": 8}, 2), small)


def test_the_odd_row_of_padding_is_above_and_left():
    found = center_crop(np.ones((1, 2, 2), np.uint8), 5, 4)
    assert found[0].tolist() == [[0] * 4, [0] * 4, [0, 1, 1, 0], [0, 1, 1, 0], [0] * 4]


@pytest.mark.parametrize("scale", [None, 1 / 255, -1.0])
@pytest.mark.parametrize("statistics", [None, ((0.1, 0.2), (0.3, 0.4))])
def test_every_byte_is_in_the_table(scale, statistics):
    mean, std = statistics or (None, None)
    pixels = RNG.integers(0, 256, (2, 9, 9), dtype=np.uint8)
    table = scaled_bytes(2, scale, mean, std)
    expected = scaled(pixels, scale, mean, std)
    assert np.array_equal(np.stack([table[channel][pixels[channel]] for channel in range(2)]), expected)
    assert not table.flags.writeable


def test_one_value_for_each_channel():
    assert per_channel(0.5, 2) == (0.5, 0.5)
    assert per_channel([0.1, 0.2], 2) == (0.1, 0.2)
    with pytest.raises(PictureError, match="has 1 channels"):
        per_channel([0.1, 0.2], 1)
