"""Colours by name: what a drawing is mostly of, and how to dye one.

Letters: K drawings, S side of a square one, C colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (244, 132, 28),
    "yellow": (248, 212, 52),
    "green": (64, 160, 64),
    "blue": (52, 110, 220),
    "purple": (136, 72, 190),
    "pink": (244, 140, 186),
    "brown": (128, 84, 52),
    "grey": (140, 140, 140),
    "black": (44, 44, 48),
    "white": (244, 244, 244),
}
"""The colour that each name dyes things in, as RGB."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_DEEPEST = 0.5  # of the dye's brightness that is left where a drawing is black


def dye(name: str) -> NDArray[np.float32]:
    """A colour's name -> the change (4, 3) that gives rows of colour times alpha, and alpha, that colour.

    Light and shade of the drawing stay: its brightness goes into that of the dye.
    """
    colour = np.array(COLOURS[name], np.float32) / 255
    shades = np.outer(_LUMA, colour) * (1.15 - _DEEPEST)
    return np.vstack([shades, colour * _DEEPEST]).astype(np.float32)


def colour_shares(drawings: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Drawings (K, S, S, 4) RGBA -> (K, C): which share of each one's solid pixels is nearest to each named colour.

    Nearest by hue, where there is one to see, else by brightness.
    """
    return np.stack([_shares(drawing) for drawing in drawings])


def _shares(drawing: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = drawing[drawing[..., 3] > 127][:, :3].astype(np.float32) / np.float32(255)  # (n, 3)
    named = np.zeros(len(COLOURS), np.float32)
    if len(pixels):
        counts = np.bincount(_nearest(pixels), minlength=len(COLOURS))
        named = (counts / len(pixels)).astype(np.float32)
    return named


def _nearest(pixels: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pixels (n, 3) from 0 to 1 -> the place of the colour in `COLOURS` that a person would call each."""
    value, low = pixels.max(1), pixels.min(1)
    spread = value - low
    saturation = spread / np.maximum(value, 1e-6)
    hue = _hue(pixels, value, spread)
    place = {name: number for number, name in enumerate(COLOURS)}
    conditions = [
        (value < 0.22),
        (saturation < 0.15) & (value > 0.85),
        (saturation < 0.15),
        ((hue < 20) | (hue >= 330)) & (saturation < 0.55) & (value > 0.75),
        (hue >= 285) & (hue < 345),
        (hue < 50) & (value < 0.68),
        (hue < 14) | (hue >= 345),
        (hue < 40),
        (hue < 68),
        (hue < 170),
        (hue < 255),
    ]
    names = ["black", "white", "grey", "pink", "pink", "brown", "red", "orange", "yellow", "green", "blue"]
    return np.select(conditions, [place[name] for name in names], place["purple"]).astype(np.int64)


def _hue(pixels: NDArray[np.float32], value: NDArray[np.float32], spread: NDArray[np.float32]) -> NDArray[np.float32]:
    """-> hue in degrees, 0 to 360; 0 for greys."""
    red, green, blue = pixels.T
    safe = np.maximum(spread, 1e-6)
    sectors = np.select(
        [value == red, value == green], [(green - blue) / safe % 6, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    hue: NDArray[np.float32] = (60 * sectors * (spread > 0)).astype(np.float32)
    return hue
