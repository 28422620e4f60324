from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipseg.errors import UsageError
from clipseg.formats.cutouts import box_with_margin, cutout, write_cutout, write_objects
from made_masks import masks_of, rectangle

SIZE = (30, 40)
INSIDE = rectangle(SIZE, (2, 1, 7, 4)) | rectangle(SIZE, (20, 10, 30, 20))
PICTURE = Image.effect_noise(SIZE[::-1], 60).convert("RGB")
MASK = masks_of(INSIDE[None], picture=PICTURE)[0]


def test_a_hard_edge_keeps_colours_inside_and_nothing_outside() -> None:
    pixels = np.array(cutout(PICTURE, INSIDE))
    assert np.array_equal(pixels[..., 3], np.where(INSIDE, 255, 0))
    assert np.array_equal(pixels[INSIDE, :3], np.array(PICTURE)[INSIDE])
    assert not pixels[~INSIDE].any()


def test_opacity_is_the_soft_mask_times_that_of_the_picture() -> None:
    picture = PICTURE.copy()
    picture.putalpha(100)
    values = np.linspace(0, 1, 1200, dtype=np.float32).reshape(SIZE)
    assert np.array_equal(np.array(cutout(picture, values))[..., 3], np.rint(100 * values))


def test_on_a_colour() -> None:
    cut = cutout(PICTURE, INSIDE, "#1e90ff")
    assert cut.mode == "RGB"
    assert np.array_equal(np.array(cut), np.where(INSIDE[..., None], np.array(PICTURE), (0x1E, 0x90, 0xFF)))
    with pytest.raises(UsageError, match="is no colour"):
        cutout(PICTURE, INSIDE, "no colour")


def test_files(tmp_path: Path) -> None:
    feathered = MASK.with_options(feather=3)
    for name, mask, soft, alpha in (
        ("hard", MASK, False, INSIDE),
        ("matte", feathered, False, feathered.matte().numpy()),
        ("soft", MASK, True, MASK.soft().numpy()),
    ):
        (path,) = write_cutout(tmp_path / f"{name}.png", mask, soft=soft)
        with Image.open(path) as picture:
            assert np.array_equal(np.array(picture)[..., 3], np.rint(alpha * np.float32(255)))


def test_each_part_is_cropped_with_a_margin(tmp_path: Path) -> None:
    paths = write_objects(tmp_path / "cup.png", MASK, margin=2)
    assert [path.name for path in paths] == ["cup.1.png", "cup.2.png"]
    for path, (x0, y0, x1, y1) in zip(paths, ((0, 0, 9, 6), (18, 8, 32, 22)), strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(np.array(picture)[..., 3] > 0, INSIDE[y0:y1, x0:x1])
    assert box_with_margin((2, 1, 7, 4), "10%", SIZE) == (0, 0, 10, 7)


def test_pictures_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="the picture is 2x3 but its mask is 30x40"):
        cutout(Image.new("RGB", (3, 2)), INSIDE)
    with pytest.raises(UsageError, match="made without their picture"):
        write_cutout("a.png", masks_of(INSIDE[None])[0])
