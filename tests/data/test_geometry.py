"""The training crop and the way to a model's size, against the paper's rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipseg.data.geometry import CROP_TRIES, crop_square, cropped, to_pixels, to_target
from clipseg.data.sample import Sample, Support
from clipseg.errors import DataError, UsageError
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD

SIDES = st.integers(1, 40)


def a_mask(seed: int, height: int, width: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


@given(SIDES, SIDES, st.integers(0, 99), st.sampled_from([0.0, 0.01, 0.1, 1.0]))
@settings(max_examples=60)
def test_crop_is_a_square_inside_and_follows_the_rule(height: int, width: int, seed: int, share: float) -> None:
    mask = a_mask(seed, height, width, share)
    window = crop_square(mask, np.random.default_rng(seed))
    side = min(height, width)
    assert mask[window].shape == (side, side)
    assert all(part.start >= 0 and part.stop <= length for part, length in zip(window, mask.shape, strict=True))
    # The same positions, tried one by one.
    starts = np.random.default_rng(seed).integers(max(height, width) - side + 1, size=CROP_TRIES)
    windows = [
        (slice(start, start + side), slice(0, side)) if height > width else (slice(0, side), slice(start, start + side))
        for start in starts.tolist()
    ]
    counts = [int(mask[place].sum()) for place in windows]
    good = [place for place, count in zip(windows, counts, strict=True) if count > 0.05 * height * width]
    assert window == (good[0] if good else windows[counts.index(max(counts))])


def test_crop_finds_a_small_thing_in_a_long_picture() -> None:
    mask = np.zeros((10, 200), bool)
    mask[4, 150] = True  # 1 of 2000 pixels, far below the share: the best of fifty positions has it
    seen = sum(mask[crop_square(mask, np.random.default_rng(seed))].any() for seed in range(50))
    assert seen >= 40
    assert crop_square(mask.T, np.random.default_rng(3)) == crop_square(mask, np.random.default_rng(3))[::-1]


def test_crop_share_is_of_the_whole_picture() -> None:
    mask = np.zeros((10, 100), bool)
    mask[:, :5] = True  # 50 pixels: not more than 5 % of 1000, so only the most will do
    starts = [crop_square(mask, np.random.default_rng(seed))[1].start for seed in range(200)]
    assert np.mean([start < 10 for start in starts]) > 0.95
    mask[0, 5] = True  # 51 pixels: the first position that shows all of them ends the search
    assert len({crop_square(mask, np.random.default_rng(seed))[1].start for seed in range(200)}) > 3


def test_crop_of_an_empty_mask_is_anywhere_and_takes_the_same_numbers() -> None:
    empty, full = np.zeros((8, 30), bool), np.ones((8, 30), bool)
    starts = {crop_square(empty, np.random.default_rng(seed))[1].start for seed in range(200)}
    assert starts == set(range(23))
    left, right = np.random.default_rng(1), np.random.default_rng(1)
    crop_square(empty, left), crop_square(full, right)
    assert left.random() == right.random()


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3, 1)])
def test_crop_refuses_what_is_no_mask(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="at least one pixel"):
        crop_square(np.zeros(shape, bool), np.random.default_rng(0))


def test_cropped_cuts_picture_mask_and_ignore_alike_and_the_support_by_its_own() -> None:
    numbers = np.arange(6 * 9).reshape(6, 9)
    picture = np.repeat(numbers[..., None], 3, axis=2).astype(np.uint8)
    example = np.zeros((20, 5, 3), np.uint8)
    example[12:15] = 200
    sample = Sample(
        picture,
        numbers > 40,
        "a thing",
        Support(example, example[..., 0] > 0),
        ignore=numbers % 2 == 0,
        label=3,
        name="n",
    )
    seen = set()
    for seed in range(30):
        cut = cropped(sample, np.random.default_rng(seed))
        assert cut.picture.shape == (6, 6, 3)
        assert (cut.mask == (cut.picture[..., 0] > 40)).all()
        assert cut.ignore is not None
        assert (cut.ignore == (cut.picture[..., 0] % 2 == 0)).all()
        assert cut.support is not None
        assert cut.support.picture.shape == (5, 5, 3)
        assert (cut.support.mask == (cut.support.picture[..., 0] > 0)).all()
        assert cut.support.mask.sum() > 0.05 * 100
        assert (cut.phrase, cut.label, cut.name) == ("a thing", 3, "n")
        seen.add(int(cut.picture[0, 0, 0]))
    assert len(seen) > 1
    plain = cropped(Sample(picture, numbers > 40, "a thing"), np.random.default_rng(0))
    assert plain.support is None
    assert plain.ignore is None


@given(SIDES, SIDES, st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=40)
def test_pixels_are_squashed_between_corners_and_normalised(height: int, width: int, size: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    picture.flags.writeable = False  # as decoders give it
    pixels = to_pixels(picture, size)
    assert pixels.shape == (3, size, size)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    # A bilinear interpolation written out, in double precision.
    expected = picture / 255
    for axis, length in enumerate((height, width)):
        places = np.linspace(0, length - 1, size) if size > 1 else np.zeros(1)
        low = np.minimum(places.astype(int), length - 1)
        high = np.minimum(low + 1, length - 1)
        share = (places - low).reshape([-1 if place == axis else 1 for place in range(3)])
        expected = expected.take(low, axis) * (1 - share) + expected.take(high, axis) * share
    expected = (expected - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(pixels.permute(1, 2, 0).numpy(), expected, atol=2e-5)


@given(SIDES, SIDES, st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=40)
@example(1, 26, 22, 0)  # where float32 falls just short of a whole number
def test_target_is_the_nearest_of_torch(height: int, width: int, size: int, seed: int) -> None:
    mask = a_mask(seed, height, width, 0.5)
    mask.flags.writeable = False
    target = to_target(mask, size)
    whole = torch.from_numpy(mask.astype(np.float32))
    assert target.dtype == torch.float32
    assert torch.equal(target, F.interpolate(whole[None, None], size=(size, size), mode="nearest")[0, 0])


def test_shapes_and_sizes_that_are_none() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        to_target(np.ones((2, 2), bool), 0)
    with pytest.raises(UsageError, match="at least 1"):
        to_pixels(np.ones((2, 2, 3), np.uint8), 0)
    with pytest.raises(DataError, match=r"\(H, W, 3\)"):
        to_pixels(np.ones((2, 2), np.uint8), 4)
    with pytest.raises(DataError, match=r"\(H, W\)"):
        to_target(np.ones((2, 0), bool), 4)
