from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipseg.errors import DataError, UsageError
from clipseg.formats.png import (
    label_picture,
    read_binary,
    read_label_map,
    read_soft,
    soft16_picture,
    soft_picture,
    voc_palette,
    write_binary,
    write_label_map,
    write_soft,
    write_soft16,
)
from made_masks import blobs, masks_of, rectangle

SIZE = (30, 40)


def test_binary_is_0_and_255(tmp_path: Path) -> None:
    inside = blobs(0, SIZE)
    assert write_binary(tmp_path / "a.png", masks_of(inside[None])[0]) == [tmp_path / "a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.array(picture), np.where(inside, 255, 0))
    assert np.array_equal(read_binary(tmp_path / "a.png"), inside)


def test_soft_is_rounded_and_never_stretched(tmp_path: Path) -> None:
    mask = masks_of(blobs(0, SIZE)[None])[0]
    values = mask.soft().numpy().astype(np.float64)
    assert 0 < values.min() < values.max() < 1
    for write, mode, most in ((write_soft, "L", 255), (write_soft16, "I;16", 65535)):
        (path,) = write(tmp_path / f"{most}.png", mask)
        with Image.open(path) as picture:
            assert picture.mode == mode
            assert np.array_equal(np.array(picture), np.rint(values * most))
        assert np.abs(read_soft(path) - values).max() <= 0.5 / most + 1e-6


def test_every_level_comes_back() -> None:
    for picture_of, most in ((soft_picture, 255), (soft16_picture, 65535)):
        levels = np.arange(most + 1)
        assert np.array_equal(np.array(picture_of(levels[None] / most))[0], levels)


def test_labels_are_indexed_in_the_colours_of_voc(tmp_path: Path) -> None:
    inside = np.stack([rectangle(SIZE, (0, 0, 10, 10)), rectangle(SIZE, (20, 20, 30, 30))])
    (path,) = write_label_map(tmp_path / "a.png", masks_of(inside))
    with Image.open(path) as picture:
        assert picture.mode == "P"
        colours = np.array(picture.convert("RGB"))
    assert np.array_equal(read_label_map(path), inside[0] + 2 * inside[1])
    assert [colours[0, 0].tolist(), colours[25, 25].tolist(), colours[0, 39].tolist()] == [
        [128, 0, 0],
        [0, 128, 0],
        [0, 0, 0],
    ]
    assert voc_palette()[[15, 20, 255]].tolist() == [[192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_void_stays() -> None:
    assert np.array(label_picture(np.array([[0, 254, 255]]))).tolist() == [[0, 254, 255]]


@pytest.mark.parametrize("values", [np.full((2, 2), 1.1), np.full((2, 2), np.nan), np.ones(3), np.ones((2, 2), int)])
def test_what_is_no_soft_mask(values: np.ndarray) -> None:
    for picture_of in (soft_picture, soft16_picture):
        with pytest.raises(UsageError, match="a soft mask"):
            picture_of(values)


@pytest.mark.parametrize("classes", [np.full((2, 2), 256), np.full((2, 2), -1), np.ones((2, 2)), np.ones(3, int)])
def test_what_is_no_label_map(classes: np.ndarray) -> None:
    with pytest.raises(UsageError):
        label_picture(classes)


def test_more_labels_than_an_indexed_picture_holds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="254 labels; these masks have 255"):
        write_label_map(tmp_path / "a.png", masks_of(np.zeros((255, 2, 2), bool)))
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_something_else(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="levels between 0 and 255"):
        read_binary(tmp_path / "grey.png")
    for read in (read_binary, read_soft, read_label_map):
        for name in ("colour.png", "text.png", "missing.png"):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)
