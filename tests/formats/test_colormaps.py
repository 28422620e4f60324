"""Maps of colour: from the first anchor to the last at an even pace, ever lighter."""

import numpy as np
import pytest

from clipseg.errors import UsageError
from clipseg.formats.colormaps import ANCHORS, DEFAULT_COLORMAP, colormap, to_oklab


def rgb(anchor: str) -> list[int]:
    return list(bytes.fromhex(anchor[1:]))


@pytest.mark.parametrize("name", ANCHORS)
def test_it_goes_through_its_anchors(name: str) -> None:
    colours = colormap(name).astype(int)
    assert colours[0].tolist() == rgb(ANCHORS[name][0])
    assert colours[-1].tolist() == rgb(ANCHORS[name][-1])
    places = [int(np.abs(colours - rgb(anchor)).sum(axis=1).argmin()) for anchor in ANCHORS[name]]
    assert places == sorted(places)
    for place, anchor in zip(places, ANCHORS[name], strict=True):
        assert np.abs(colours[place] - rgb(anchor)).max() <= 4  # it passes between two levels


@pytest.mark.parametrize("name", ANCHORS)
def test_its_steps_are_even_and_upwards(name: str) -> None:
    lab = to_oklab(colormap(name))
    assert (np.diff(lab[16::8, 0]) > 0).all()  # sRGB has hardly a level darker than the 16th of "grey"
    ways = np.linalg.norm(np.diff(lab[15::15], axis=0), axis=1)  # 16 steps; whole levels make shorter ones coarse
    assert ways.max() / ways.min() < 1.35
    assert len(np.unique(colormap(name), axis=0)) > 200


def test_oklab() -> None:
    """The table of the page that defines it has XYZ alone; these are its well known values for sRGB."""
    known = {
        (255, 255, 255): (1, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (255, 0, 0): (0.62796, 0.22486, 0.12585),
        (0, 255, 0): (0.86644, -0.23389, 0.17950),
        (0, 0, 255): (0.45201, -0.03246, -0.31153),
    }
    assert np.allclose(to_oklab(np.array(list(known))), list(known.values()), atol=1e-4)


def test_grey_is_grey() -> None:
    grey = colormap("grey").astype(int)
    assert (np.abs(grey - grey.mean(axis=1, keepdims=True)) < 1).all()
    assert np.abs(to_oklab(grey[16:])[:, 0] - np.arange(16, 256) / 255).max() < 0.02


def test_it_is_made_once_and_cannot_be_painted_over() -> None:
    assert colormap(DEFAULT_COLORMAP) is colormap(DEFAULT_COLORMAP)
    with pytest.raises(ValueError, match="read-only"):
        colormap(DEFAULT_COLORMAP)[0] = 0


def test_another_name() -> None:
    with pytest.raises(UsageError, match="colormap is 'viridis'; known are grey, ember"):
        colormap("viridis")
