"""Colours for probabilities, dark for 0 and light for 1, by name.

Each map is made of a few anchor colours, between which it goes straight through Oklab (Björn Ottosson, "A perceptual
color space for image processing", 2020), where equal ways look equally long. It walks at an even pace from the first
anchor to the last, and lightness grows all the way, so that an order seen is an order meant, in print and by people
with any kind of colour vision as well.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from clipseg.errors import UsageError

# Chosen by eye. Lightness must rise from each anchor to the next.
ANCHORS: dict[str, tuple[str, ...]] = {
    "grey": ("#000000", "#ffffff"),
    "ember": ("#05030f", "#4a1260", "#a8234f", "#ea6a25", "#f9c04a", "#fffbe0"),
    "lagoon": ("#1a0b3c", "#263f82", "#1f7f93", "#43b37b", "#b4d94c", "#fdf7b0"),
    "orchid": ("#06061c", "#3a2a86", "#9140a8", "#dd6f9f", "#f7b59c", "#fff6e6"),
    "ice": ("#04070f", "#123a63", "#1f7cae", "#73bcd2", "#eefbfa"),
}
"""Name -> anchor colours."""

DEFAULT_COLORMAP = "ember"

# Linear sRGB -> cone responses; cube roots of these -> Oklab. Both from Ottosson's page.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def colormap(name: str) -> NDArray[np.uint8]:
    """A name of `ANCHORS` -> (256, 3) sRGB, the n-th for the level n. Raises UsageError for another name."""
    if name not in ANCHORS:
        raise UsageError(f"colormap is {name!r}; known are {', '.join(ANCHORS)}")
    anchors = np.array([[int(text[place : place + 2], 16) for place in (1, 3, 5)] for text in ANCHORS[name]])
    lab = to_oklab(anchors)  # (A, 3)
    ways = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    places = np.concatenate(([0], np.cumsum(ways))) / ways.sum()
    steps = np.linspace(0, 1, 256)
    colours = _from_oklab(np.stack([np.interp(steps, places, channel) for channel in lab.T], axis=1))
    colours.flags.writeable = False
    return colours


def to_oklab(colours: NDArray[np.integer]) -> NDArray[np.float64]:
    """(..., 3) sRGB from 0 to 255 -> (..., 3) Oklab: lightness from 0 to 1, green to red, blue to yellow."""
    values = colours / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    lab: NDArray[np.float64] = np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T
    return lab


def _from_oklab(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The way back; what sRGB cannot show is moved to the nearest it can, channel by channel."""
    linear: NDArray[np.float64] = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T).clip(0, 1)
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return levels
