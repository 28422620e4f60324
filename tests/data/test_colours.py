"""Names of colours: everyone's own, and dyes that a viewer would call by their name."""

import numpy as np
import pytest

from clipseg.data.colours import COLOURS, colour_shares, dye


def drawing(*rgb: tuple[int, int, int]) -> np.ndarray:
    """A square drawing in stripes of these colours, with a clear border."""
    sprite = np.zeros((24, 24, 4), np.uint8)
    for number, colour in enumerate(rgb):
        width = 20 // len(rgb)
        sprite[2:22, 2 + number * width : 2 + (number + 1) * width] = (*colour, 255)
    return sprite


@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_is_called_by_its_name(name):
    shares = colour_shares(drawing(COLOURS[name])[None])[0]
    assert shares[list(COLOURS).index(name)] == 1


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((255, 0, 0), "red"), ((0, 128, 0), "green"), ((0, 0, 139), "blue"), ((255, 215, 0), "yellow"),
     ((255, 192, 203), "pink"), ((139, 69, 19), "brown"), ((128, 128, 128), "grey"), ((75, 0, 130), "purple")],
)  # fmt: skip
def test_common_colours_are_called_what_the_web_calls_them(rgb, name):
    shares = colour_shares(drawing(rgb)[None])[0]
    assert shares[list(COLOURS).index(name)] == 1


def test_shares_are_of_solid_pixels_and_sum_to_one():
    shares = colour_shares(np.stack([drawing((214, 40, 40), (52, 110, 220)), drawing()]))
    named = dict(zip(COLOURS, shares[0].tolist(), strict=True))
    assert named["red"] == named["blue"] == 0.5
    assert shares[1].sum() == 0, "of nothing, nothing"


@pytest.mark.parametrize("name", COLOURS)
def test_a_dyed_drawing_has_that_colour_and_keeps_its_light_and_shade(name):
    greys = drawing((0, 0, 0), (90, 90, 90), (160, 160, 160), (255, 255, 255)).reshape(-1, 4).astype(np.float32)
    dyed = np.clip(greys @ dye(name), 0, greys[:, 3:])
    sprite = np.concatenate([dyed, greys[:, 3:]], 1).reshape(24, 24, 4)
    assert (sprite[..., :3][sprite[..., 3] == 0] == 0).all(), "what is clear stays clear"
    stripes = sprite[10, [4, 9, 14, 19], :3]
    assert (np.diff(stripes.sum(1)) > 0).all(), "brighter stays brighter"
    middle = np.repeat(np.repeat(stripes[2:3, None], 24, 0), 24, 1).round().astype(np.uint8)
    middle = np.concatenate([middle, np.full((24, 24, 1), 255, np.uint8)], -1)
    assert colour_shares(middle[None])[0][list(COLOURS).index(name)] == 1
