"""Which pixels of a mask's file are inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import own_data_files as files
from clipseg.data.mask_files import MaskFile, check_sizes, pictures_in
from clipseg.errors import DataError, PictureError
from clipseg.formats.png import label_picture

INSIDE = files.TRUTH["cat_1", "cat"]
SIZE = (30, 40)


def levels(inside: int, outside: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.where(INSIDE, inside, outside).astype(dtype)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(levels(255)),
        Image.fromarray(levels(1)),
        Image.fromarray(levels(7)),
        Image.fromarray(levels(65535, dtype=np.uint16)),
        Image.fromarray(INSIDE),
        label_picture(levels(3)),
        Image.fromarray(levels(255)).quantize(4),
        Image.fromarray(np.stack([levels(200), levels(10), levels(0)], axis=2)),
        Image.fromarray(np.stack([levels(255, 255)] * 3 + [levels(255)], axis=2)),
    ],
    ids=["255", "1", "7", "16 bits", "1 bit", "palette", "palette of greys", "colour", "alpha"],
)
def test_one_value_is_inside(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    marked = MaskFile(tmp_path / "mask.png").read(SIZE)
    assert_array_equal(marked.mask, INSIDE)
    assert marked.ignore is None


def test_soft_masks_are_cut_in_the_middle(tmp_path: Path) -> None:
    Image.fromarray(levels(255)).save(tmp_path / "mask.jpg", quality=60)  # with noise around 0 and 255
    assert_array_equal(MaskFile(tmp_path / "mask.jpg").read(SIZE).mask, INSIDE)
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    assert_array_equal(MaskFile(tmp_path / "ramp.png").read(SIZE).mask, ramp > 127)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "ramp16.png")
    assert_array_equal(MaskFile(tmp_path / "ramp16.png").read(SIZE).mask, ramp > 127)


def test_label_maps_need_a_value(tmp_path: Path) -> None:
    classes = levels(1)
    classes[:, 30:] = 2
    wide = np.array([0, 100, 200], np.uint8)[classes]
    for name, image in {
        "small": Image.fromarray(classes),
        "palette": label_picture(classes),
        "wide": Image.fromarray(wide),
    }.items():
        path = tmp_path / f"{name}.png"
        image.save(path)
        with pytest.raises(DataError, match=rf"{name}\.png looks like a label map, with the values 0, 1.*mask_value"):
            MaskFile(path).read(SIZE)
        assert_array_equal(MaskFile(path, 100 if name == "wide" else 1).read(SIZE).mask, INSIDE)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "black.png")
    assert not MaskFile(tmp_path / "black.png").read(SIZE).mask.any()


def test_refused(tmp_path: Path) -> None:
    files.save_mask(tmp_path / "mask.png", INSIDE)
    with pytest.raises(DataError, match=r"mask\.png is 30x40 but its picture 40x30; the picture is turned"):
        MaskFile(tmp_path / "mask.png").read((40, 30))
    files.write_pictures(tmp_path, "cat_1", "cup_3")
    check_sizes(tmp_path / "cat_1.jpg", tmp_path / "mask.png")
    with pytest.raises(DataError, match="is 30x40 but its picture 40x30"):
        check_sizes(tmp_path / "cup_3.jpg", tmp_path / "mask.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(PictureError, match="no picture that can be read"):
        check_sizes(tmp_path / "cat_1.jpg", tmp_path / "text.png")
    with pytest.raises(PictureError, match="no picture"):
        MaskFile(tmp_path / "none.png").read(SIZE)


def test_pictures_in_a_folder(tmp_path: Path) -> None:
    files.write_pictures(tmp_path / "b", "cat_1")
    files.write_pictures(tmp_path / ".checkpoints", "cat_1")
    for name in ("z.PNG", "a.jpeg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pictures_in(tmp_path)] == ["a.jpeg", "z.PNG"]
    assert [path.name for path in pictures_in(tmp_path, deep=True)] == ["a.jpeg", "cat_1.jpg", "z.PNG"]


@pytest.mark.parametrize("highest", [1, 255])
def test_tiff_of_floats(highest: int, tmp_path: Path) -> None:
    inside = np.zeros((6, 8), np.bool_)
    inside[1:4, 2:5] = True
    Image.fromarray(inside.astype(np.float32) * highest).save(tmp_path / "mask.tif")
    assert_array_equal(MaskFile(tmp_path / "mask.tif").read((6, 8)).mask, inside)
