"""What the class-labelled data sets share: reading, drawing another, and the geometry of the tests on Pascal-5i."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from class_set_files import painted, picture_of
from clipseg.data.geometry import normalised
from clipseg.data.labelled import (
    GRID,
    LabelledPicture,
    another,
    check_choice,
    check_layout,
    pixel_counts,
    placed,
    placed_size,
    read_labelled,
    squared_truth,
)
from clipseg.errors import DataError, PictureNotFoundError, UsageError
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD

BLACK = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
SIDES = st.integers(1, 90)


def write(folder: Path, *classes: int) -> tuple[Path, Path]:
    numbers = painted(classes)
    picture_of(numbers).save(folder / "picture.png")
    Image.fromarray(numbers).save(folder / "classes.png")
    return folder / "picture.png", folder / "classes.png"


def test_a_picture_and_its_classes(tmp_path: Path) -> None:
    shown = read_labelled(*write(tmp_path, 3, 7), highest=20)
    assert shown.name == "picture.png"
    assert shown.picture.shape == (*shown.classes.shape, 3)
    assert np.array_equal(shown.classes, painted([3, 7]))
    assert (shown.shows(3), shown.shows(4)) == (True, False)
    sample = shown.sample(7, "bus", shown.support(3), 6, "line 1")
    assert np.array_equal(sample.mask, shown.classes == 7)
    assert np.array_equal(sample.ignore, shown.classes == 255)
    assert np.array_equal(sample.support.mask, shown.classes == 3)
    assert (sample.phrase, sample.label, sample.name) == ("bus", 6, "line 1")


def test_nothing_is_ignored_where_all_is_judged() -> None:
    shown = LabelledPicture(np.zeros((4, 5, 3), np.uint8), np.ones((4, 5), np.uint8))
    assert shown.sample(1, "thing", None, 0, "").ignore is None


def test_counts_of_pixels(tmp_path: Path) -> None:
    counts = pixel_counts(*write(tmp_path, 3, 7), highest=20)
    assert len(counts) == 21
    assert {number: int(counts[number]) for number in np.flatnonzero(counts)[1:]} == {3: 48 * 44, 7: 48 * 44}


@pytest.mark.parametrize("read", [read_labelled, pixel_counts])
def test_files_that_do_not_go_together(tmp_path: Path, read: object) -> None:
    assert callable(read)
    picture, classes = write(tmp_path, 3, 7)
    with pytest.raises(DataError, match=r"classes\.png has pixels of class 7; expected 0 to 5, or 255"):
        read(picture, classes, 5)
    Image.new("RGB", (30, 20)).save(picture)
    with pytest.raises(DataError, match=r"picture\.png is 20x30 but its classes, classes\.png, are 64x112"):
        read(picture, classes, 20)
    picture.unlink()
    with pytest.raises(PictureNotFoundError):
        read(picture, classes, 20)


def test_another_is_any_other() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(another(rng, "abcd", 2) for _ in range(600))
    assert set(drawn) == set("abd")
    assert min(drawn.values()) > 150


@pytest.mark.parametrize("value", [4, -1, 1.0, True, "0", None])
def test_a_choice_is_one_of_those_there_are(value: object) -> None:
    check_choice("fold", 1, range(4))
    with pytest.raises(UsageError, match=rf"^fold is {value!r}; known are 0, 1, 2, 3$"):
        check_choice("fold", value, range(4))


def test_a_layout_is_told_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"there is no folder {tmp_path}/no; expected a and b"):
        check_layout(tmp_path / "no", ["a"], "a and b")
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=rf"{tmp_path} has no b, c; expected a, b and c"):
        check_layout(tmp_path, ["a", "b", "c"], "a, b and c")
    check_layout(tmp_path, ["a"], "a")


# The geometry of the tests on Pascal-5i


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((375, 500), (264, 352)),  # most of Pascal VOC
        ((500, 333), (352, 232)),  # 234, down to a multiple of 8
        ((353, 353), (352, 352)),
        ((352, 100), (352, 100)),  # no side is longer, so nothing changes, multiple of 8 or not
        ((201, 77), (201, 77)),
        ((1000, 10), (352, 1)),  # not nothing
    ],
)
def test_placed_size(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert placed_size(size_hw, 352) == expected


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.integers(1, 8))
def test_placed_is_the_picture_top_left_on_black(height: int, width: int, eighths: int) -> None:
    size = GRID * eighths
    picture = np.random.default_rng([height, width]).integers(1, 256, (height, width, 3), np.uint8)
    pixels = placed(picture, size)
    assert pixels.shape == (3, size, size)
    assert pixels.dtype == torch.float32
    inner = placed_size((height, width), size)
    black = torch.isclose(pixels, BLACK[:, None, None], atol=1e-6).all(0)
    assert black[inner[0] :].all()
    assert black[:, inner[1] :].all()
    assert not black[: inner[0], : inner[1]].any()
    if max(height, width) <= size:
        whole = torch.from_numpy(picture).permute(2, 0, 1).float()
        assert torch.equal(pixels[:, :height, :width], normalised(whole))
    else:
        assert max(height, width) * size // max(height, width) == size
        assert all(side % GRID == 0 or side == 1 for side in inner)


def test_a_smaller_picture_is_the_mean_of_its_pixels() -> None:
    """Half the size between pixel centres: each pixel lies in the middle of four."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    means = picture.reshape(16, 2, 8, 2, 3).astype(np.float32).mean((1, 3))
    expected = normalised(torch.from_numpy(means).permute(2, 0, 1).contiguous())
    assert torch.allclose(placed(picture, 16)[:, :, :8], expected, atol=1e-5)


def test_placed_leaves_its_picture_alone() -> None:
    picture = np.full((16, 16, 3), 200, np.uint8)
    placed(picture, 16)
    assert (picture == 200).all()


def test_what_cannot_be_placed() -> None:
    with pytest.raises(DataError, match=r"\(H, W, 3\)"):
        placed(np.zeros((4, 4), np.uint8), 16)
    with pytest.raises(UsageError, match="at least 8"):
        placed(np.zeros((4, 4, 3), np.uint8), 7)


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES, st.sampled_from([(np.uint8, 255), (np.bool_, False), (np.bool_, True), (np.int64, -1)]))
def test_truth_is_squared(height: int, width: int, kind: tuple[type, int]) -> None:
    dtype, fill = kind
    values = np.random.default_rng([height, width]).integers(0, 2, (height, width)).astype(dtype)
    square = squared_truth(values, fill)
    assert square.shape == (max(height, width),) * 2
    assert square.dtype == dtype
    assert np.array_equal(square[:height, :width], values)
    assert (square[height:] == fill).all()
    assert (square[:, width:] == fill).all()
