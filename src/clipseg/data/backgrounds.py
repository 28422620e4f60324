"""Procedural backgrounds: flat, shaded, cloudy, tiled and cluttered ones in every colour that objects have.

Most are one scalar field in 0..1, drawn on a small grid where that is enough, and looked up in a ramp of colours: that
is what makes them cheap.

Letters: S side of the square picture in pixels.
"""

import colorsys
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipseg.errors import DataError

Bytes = NDArray[np.uint8]
Field = NDArray[np.float32]


def background(rng: np.random.Generator, size: int) -> Bytes:
    """A generator's state -> (S, S, 3): one random background, with some noise in its pixels.

    The same state gives the same picture. Raises DataError for a size below 8.
    """
    if size < 8:
        raise DataError(f"background size is {size}; expected at least 8 pixels")
    picture: Bytes = _paint(rng, size)
    if rng.random() < 0.25:  # a second one shows through in patches
        picture = np.where(_clouds(rng, size)[..., None] > rng.uniform(0.4, 0.6), _paint(rng, size), picture)
    return add_noise(rng, picture, rng.uniform(0.0, 12.0))


def add_noise(rng: np.random.Generator, picture: Bytes, amplitude: float) -> Bytes:
    """(S, S, 3) -> the same with evenly distributed noise of up to `amplitude` grey levels either way."""
    if amplitude < 0.5:
        return picture
    noise = np.frombuffer(rng.bytes(picture.size), np.uint8).reshape(picture.shape)
    span = np.int16(2 * amplitude + 1)
    shifted = picture + ((noise * span) >> 8) - np.int16(span // 2)  # int16 holds 255 x 25
    noisy: Bytes = np.clip(shifted, 0, 255).astype(np.uint8)
    return noisy


def colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A random colour: any hue, as often pale, grey or dark as saturated."""
    saturation, value = rng.beta(0.9, 0.9), rng.beta(1.6, 0.9)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _paint(rng: np.random.Generator, size: int) -> Bytes:
    painter = _PAINTERS[rng.choice(len(_PAINTERS), p=_SHARES)]
    return painter(rng, size)


def _coloured(rng: np.random.Generator, field: Field, colours: int) -> Bytes:
    """A field (S, S) in 0..1 through a ramp of that many random colours -> (S, S, 3)."""
    stops = np.array([colour(rng) for _ in range(colours)], np.float32)
    places = np.linspace(0, 255, colours)
    ramp = np.stack([np.interp(np.arange(256), places, stops[:, channel]) for channel in range(3)], -1)
    coloured: Bytes = ramp.astype(np.uint8)[(field * 255).astype(np.uint8)]
    return coloured


@lru_cache(maxsize=8)
def _axes(size: int) -> tuple[Field, Field]:
    """Coordinates from -0.5 to 0.5: x as (1, S), y as (S, 1)."""
    line: Field = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5).astype(np.float32)
    line.flags.writeable = False
    return line[None], line[:, None]


def _turned(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Coordinates of a frame turned by a random angle, two of (S, S)."""
    x, y = _axes(size)
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _clouds(rng: np.random.Generator, size: int) -> Field:
    """Value noise of one to four octaves, stretched to 0..1."""
    field = np.zeros((size, size), np.float32)
    cells, weight = int(rng.integers(2, 6)), 1.0
    for _ in range(rng.integers(1, 5)):
        grid = Image.fromarray(rng.random((cells, cells), np.float32))
        field += weight * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
        cells, weight = min(2 * cells, size), 0.55 * weight
    field -= field.min()
    field /= max(float(field.max()), 1e-6)
    return field


def _contrasted(rng: np.random.Generator, wave: Field) -> Field:
    """A wave in -1..1 -> 0..1 with edges from soft to nearly hard."""
    steep: Field = wave * np.float32(rng.choice([0.5, 2.0, 6.0])) + np.float32(0.5)
    return np.clip(steep, 0, 1)


def _flat(rng: np.random.Generator, size: int) -> Bytes:
    return np.full((size, size, 3), colour(rng), np.uint8)


def _linear(rng: np.random.Generator, size: int) -> Bytes:
    along, _ = _turned(rng, size)
    return _coloured(rng, np.clip(along * np.float32(0.72) + np.float32(0.5), 0, 1), int(rng.integers(2, 4)))


def _radial(rng: np.random.Generator, size: int) -> Bytes:
    x, y = _axes(size)
    dx, dy = x - np.float32(rng.uniform(-0.5, 0.5)), y - np.float32(rng.uniform(-0.5, 0.5))
    distance = np.sqrt(dx * dx + dy * dy) / np.float32(rng.uniform(0.5, 1.2))
    return _coloured(rng, np.minimum(distance, 1), int(rng.integers(2, 4)))


def _cloudy(rng: np.random.Generator, size: int) -> Bytes:
    return _coloured(rng, _clouds(rng, size), int(rng.integers(2, 4)))


def _blobs(rng: np.random.Generator, size: int) -> Bytes:
    """Clouds in flat steps, like a map."""
    steps = int(rng.integers(2, 5))
    return _coloured(rng, np.floor(_clouds(rng, size) * np.float32(steps - 0.01)) / np.float32(steps - 1), steps)


def _stripes(rng: np.random.Generator, size: int) -> Bytes:
    along, _ = _turned(rng, size)
    wave = np.sin(along * np.float32(2 * np.pi * rng.uniform(2, 12)))
    return _coloured(rng, _contrasted(rng, wave), int(rng.integers(2, 4)))


def _checks(rng: np.random.Generator, size: int) -> Bytes:
    u, v = _turned(rng, size) if rng.random() < 0.5 else _axes(size)
    scale = np.float32(2 * np.pi * rng.uniform(1.5, 7))
    return _coloured(rng, _contrasted(rng, np.sin(u * scale) * np.sin(v * scale) * 3), 2)


def _dots(rng: np.random.Generator, size: int) -> Bytes:
    u, v = _turned(rng, size)
    scale = np.float32(2 * np.pi * rng.uniform(2, 9))
    bump = (np.cos(u * scale) + np.cos(v * scale)) / 2 - np.float32(rng.uniform(0.1, 0.6))
    return _coloured(rng, np.clip(bump * 5, 0, 1), 2)


def _clutter(rng: np.random.Generator, size: int) -> Bytes:
    """Polygons and ellipses over one another."""
    image = Image.new("RGB", (size, size), colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(5, 25)):
        x, y = rng.uniform(-0.1, 1.1, 2) * size
        radius = rng.uniform(0.04, 0.3) * size
        if rng.random() < 0.3:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius * rng.uniform(-0.5, 1)), fill=colour(rng))
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], -1)
            draw.polygon(corners.ravel().tolist(), fill=colour(rng))
    return np.asarray(image)


# How often each is drawn: structure more often than none, since flat ground is soon learnt.
_ROWS: tuple[tuple[Callable[[np.random.Generator, int], Bytes], float], ...] = (
    (_flat, 0.10),
    (_linear, 0.10),
    (_radial, 0.08),
    (_cloudy, 0.20),
    (_blobs, 0.14),
    (_stripes, 0.08),
    (_checks, 0.08),
    (_dots, 0.08),
    (_clutter, 0.14),
)
_PAINTERS = tuple(painter for painter, _ in _ROWS)
_SHARES = tuple(share for _, share in _ROWS)
