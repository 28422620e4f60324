from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipseg.errors import UsageError
from clipseg.formats.colormaps import ANCHORS, colormap, to_oklab
from clipseg.formats.drawings import heat_map, write_contours, write_heat_map, write_overlay
from made_masks import masks_of, rectangle

SIZE = (30, 40)
INSIDE = rectangle(SIZE, (10, 5, 30, 20))
PICTURE = Image.effect_noise(SIZE[::-1], 60).convert("RGB")
MASKS = masks_of(INSIDE[None], picture=PICTURE)


@pytest.mark.parametrize("name", ANCHORS)
def test_levels_have_their_own_colours_which_grow_lighter(name: str) -> None:
    assert colormap(name).shape == (256, 3)
    assert (np.diff(to_oklab(colormap(name))[:, 0]) > -0.004).all()
    values = np.arange(256).reshape(16, 16) / 255
    assert np.array_equal(np.array(heat_map(values, name)).reshape(256, 3), colormap(name))


def test_the_scale_is_never_stretched_and_the_picture_shines_through(tmp_path: Path) -> None:
    assert (np.array(heat_map(np.full((2, 2), 0.2), "grey")) == colormap("grey")[51]).all()
    assert heat_map(np.zeros(SIZE), picture=PICTURE, alpha=0.0).tobytes() == PICTURE.tobytes()
    (alone,) = write_heat_map(tmp_path / "a.png", MASKS[0])
    (over,) = write_heat_map(tmp_path / "b.png", MASKS[0], alpha=0.5)
    expected = Image.blend(PICTURE, Image.open(alone), 0.5)
    assert Image.open(over).tobytes() == expected.tobytes()


def test_overlay_and_contours(tmp_path: Path) -> None:
    write_overlay(tmp_path / "a.png", MASKS, 0.5)
    write_contours(tmp_path / "b.png", MASKS)
    with Image.open(tmp_path / "a.png") as overlay, Image.open(tmp_path / "b.png") as contours:
        assert overlay.width == 40
        assert overlay.height > 30  # the legend
        drawn = (np.array(contours) != np.array(PICTURE)).any(axis=2)
        assert contours.size == (40, 30)
    assert drawn[5, 10:30].any()
    assert not drawn[9:16, 15:25].any()


def test_what_cannot_be_drawn() -> None:
    for message, options in (
        ("colormap is 'jet'", {"colormap_name": "jet"}),
        ("alpha", {"alpha": 1.5}),
        ("the picture is 2x3", {"picture": Image.new("RGB", (3, 2))}),
    ):
        with pytest.raises(UsageError, match=message):
            heat_map(np.zeros(SIZE), **options)
