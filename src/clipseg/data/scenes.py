"""Synthetic scenes: pictograms over procedural backgrounds, with the exact masks of what is visible.

    seed ──> background ──> objects and plain shapes, placed one by one ──> drawn from back to front ──> picture, masks

An object keeps its place only if no object already there loses too much of itself, so every mask shows a thing that can
be recognised. A scene is a pure function of its seed (for given versions of numpy, Pillow and the font).

Letters: K kinds, S side of the square picture, h w sides of the window that one layer covers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipseg.data.backgrounds import add_noise, background, colour
from clipseg.data.colours import COLOURS, colour_shares, dye
from clipseg.data.kinds import SEEN
from clipseg.data.pictograms import Pictogram, pictograms, sprites
from clipseg.errors import ConfigurationError, DataError

_TRIES = 6  # places tried for an object before it is left out
_INSIDE = 0.7  # share of an object's width, and of its height, that lies inside the picture
_LEVELS = (
    128,
    91,
    64,
    45,
    32,
    23,
    16,
)  # sides of the shrunk sprites: half an octave apart, so that none is shrunk much
_SINGLE_SCALE = (0.55, 0.95)
_DISTRACTOR_SCALE = (0.12, 0.45)
_SMALLEST = 8.0  # least side of an object in pixels; below it nobody could name one
_RANGES: dict[str, tuple[type, float, float]] = {
    "size": (int, 16, 2048),
    "objects": (int, 1, 50),
    "scale": (float, 0.02, 1),
    "rotation": (float, 0, 180),
    "min_visible": (float, 0, 1),
    "distractors": (int, 0, 50),
    "brightness": (float, 0, 0.5),
    "contrast": (float, 0, 0.5),
    "hue": (float, 0, 0.5),
    "noise": (float, 0, 60),
    "repeat": (float, 0, 1),
    "dyed": (float, 0, 1),
}
_PAIRS = ("objects", "scale", "distractors")


@dataclass(frozen=True)
class SceneOptions:
    """What scenes look like. Raises ConfigurationError for a value outside its range.

    Fields
        size         side of the picture in pixels, 16 to 2048
        objects      fewest and most objects tried, 1 to 50; one that finds no place is left out
        scale        smallest and largest side of an object as a share of the picture's side, 0.02 to 1
        rotation     most degrees an object is turned either way, 0 to 180
        flip         whether half of the objects are mirrored left to right
        min_visible  least share of its own pixels every object keeps, 0 to 1
        distractors  fewest and most plain shapes lying over, between and under the objects, 0 to 50
        brightness   most an object is made darker or brighter, as a share, 0 to 0.5
        contrast     most its contrast is lowered or raised, as a share, 0 to 0.5
        hue          most its hue is turned, in turns of the colour wheel, 0 to 0.5
        noise        most noise over the whole picture, in grey levels either way, 0 to 60
        repeat       chance that an object is of a kind already in the scene, 0 to 1; their mask is the union
        dyed         chance that an object is dyed in one of `COLOURS`, 0 to 1; never one that is named after a colour
    """

    size: int = 128
    objects: tuple[int, int] = (2, 5)
    scale: tuple[float, float] = (0.25, 0.6)
    rotation: float = 30.0
    flip: bool = True
    min_visible: float = 0.5
    distractors: tuple[int, int] = (0, 3)
    brightness: float = 0.15
    contrast: float = 0.15
    hue: float = 0.02
    noise: float = 6.0
    repeat: float = 0.1
    dyed: float = 0.0

    def __post_init__(self) -> None:
        for name, (kind, low, high) in _RANGES.items():
            value = getattr(self, name)
            pair = name in _PAIRS
            numbers = value if pair and isinstance(value, tuple) and len(value) == 2 else (value,)
            sound = (
                len(numbers) == 1 + pair
                and all(isinstance(number, int | kind) and not isinstance(number, bool) for number in numbers)
                and low <= numbers[0] <= numbers[-1] <= high
            )
            if not sound:
                what = "whole number" if kind is int else "number"
                expected = f"a rising pair of {what}s" if pair else f"a {what}"
                raise ConfigurationError(
                    f"scene option {name} is {value!r}; expected {expected} from {low:g} to {high:g}"
                )
        if not isinstance(self.flip, bool):
            raise ConfigurationError(f"scene option flip is {self.flip!r}; expected True or False")


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One thing in a scene, and what can be said of it.

    Fields
        kind       which it is
        side       its side before it was turned, as a share of the picture's
        centre_xy  the middle of what is seen of it, as shares of the picture's side
        colours    (C,) which share of it is of each of `COLOURS`; all of one where it is dyed
    """

    kind: int
    side: float
    centre_xy: tuple[float, float]
    colours: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene: its picture (S, S, 3), the kinds in it (rising indices) and, in that order, masks (K, S, S) bool.

    `owners` (S, S) is the place in `objects` of the thing seen at each pixel, -1 where there is none.
    """

    picture: NDArray[np.uint8]
    kinds: tuple[int, ...]
    masks: NDArray[np.bool_]
    seed: int | tuple[int, ...]
    objects: tuple[SceneObject, ...]
    owners: NDArray[np.int16]

    def mask_of(self, kind: int) -> NDArray[np.bool_]:
        """A kind -> its mask (S, S), empty where it is not in the scene."""
        if kind in self.kinds:
            return np.asarray(self.masks[self.kinds.index(kind)])
        return np.zeros(self.picture.shape[:2], dtype=bool)


class _Layer(NamedTuple):
    """Something drawn: colours times alpha and alpha (h, w, 4) at (top, left), already cut to the picture."""

    kind: int  # -1: a plain shape
    height: float  # who covers whom
    top: int
    left: int
    patch: NDArray[np.uint8]
    solid: NDArray[np.bool_]  # (h, w): alpha above a half
    area: int  # solid pixels before the picture's border cut any away
    side: float = 0.0  # of an object, in pixels
    dye: str | None = None  # what it is to be dyed in

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.solid.shape[0]), slice(self.left, self.left + self.solid.shape[1])


class SceneGenerator:
    """Kinds of pictograms -> scenes of them; reads the font and CLDR once, when made.

    A kind is an index into `pictograms` (and into `sprites`, (K, 128, 128, 4) RGBA). Raises MissingPackageError where
    the font or CLDR is not installed.
    """

    def __init__(
        self,
        characters: Iterable[str] = SEEN,
        options: SceneOptions | None = None,
        *,
        font: str | Path | None = None,
        cldr: str | Path | None = None,
    ) -> None:
        self.options = options or SceneOptions()
        self.pictograms: list[Pictogram] = pictograms(characters, font=font, cldr=cldr)
        self.sprites = sprites([kind.character for kind in self.pictograms], _LEVELS[0], font)
        # "RGBa" is Pillow's name for colours already times alpha: the only ones that may be averaged.
        whole = [Image.fromarray(sprite).convert("RGBa") for sprite in self.sprites]
        self._colours = colour_shares(self.sprites)  # (K, C)
        self._dyeable = [
            not any(word in COLOURS for name in (kind.name, *kind.synonyms) for word in name.split())
            for kind in self.pictograms
        ]
        self._levels = [[image.resize((side, side), Image.Resampling.BICUBIC) for side in _LEVELS] for image in whole]

    def scene(
        self, seed: int | Sequence[int], kinds: Sequence[int] | None = None, *, must_contain: int | None = None
    ) -> Scene:
        """A seed (whole numbers of at least 0) -> its scene, with at least one object.

        `kinds` are the only ones drawn, `must_contain` is one that is in the scene whatever else is. Raises DataError
        for a kind there is not, or a required one that may not be drawn.
        """
        options = self.options
        pool = self._pool(kinds)
        if must_contain is not None and must_contain not in pool:
            raise DataError(f"must_contain is {must_contain}; expected one of the {len(pool)} kinds that may be drawn")
        rng, seed = _seeded(seed)
        ground = background(rng, options.size)
        wanted = int(rng.integers(options.objects[0], options.objects[1] + 1))
        shapes = int(rng.integers(options.distractors[0], options.distractors[1] + 1))
        fresh = [int(kind) for kind in rng.permutation(pool)]
        if must_contain is not None:
            fresh.remove(must_contain)
            fresh.insert(0, must_contain)
        layers: list[_Layer] = []
        for place in range(wanted):
            present = [layer.kind for layer in layers]
            if present and (rng.random() < options.repeat or place >= len(fresh)):
                kind = present[rng.integers(len(present))]
            else:
                kind = fresh[place]
            for _ in range(_TRIES):
                if self._fits(candidate := [*layers, self._object(rng, kind, options.size, options.scale)]):
                    layers = candidate
                    break
            else:
                if not layers:  # upright in the middle, where nothing can be cut off: a scene is never empty
                    layers = [self._object(rng, kind, options.size, options.scale, centred=True)]
        for _ in range(shapes):
            if self._fits(candidate := [*layers, _shape(rng, options.size)]):
                layers = candidate
        layers.sort(key=lambda layer: layer.height)
        picture = self._drawn(rng, ground, layers)
        owner = _owner(layers, options.size)
        present = sorted({layer.kind for layer in layers if layer.kind >= 0})
        of_layer = np.array([-1, *(layer.kind for layer in layers)])[owner]  # (S, S): the kind seen at each pixel
        masks = of_layer == np.array(present)[:, None, None]  # (K, S, S)
        things = [number for number, layer in enumerate(layers, 1) if layer.kind >= 0]
        places = np.full(len(layers) + 1, -1, np.int16)
        places[things] = np.arange(len(things))
        owners = places[owner]
        objects = tuple(self._described(layers[number - 1], owners == place) for place, number in enumerate(things))
        return Scene(picture, tuple(present), masks, seed, objects, owners)

    def single(self, seed: int | Sequence[int], kind: int, size: int = 64) -> NDArray[np.uint8]:
        """A seed and a kind -> (S, S, 3): that object alone and large on a background of its own."""
        self._pool([kind])
        if size < 16:
            raise DataError(f"size is {size}; expected at least 16 pixels")
        rng, _ = _seeded(seed)
        ground = background(rng, size)
        return self._drawn(rng, ground, [self._object(rng, kind, size, _SINGLE_SCALE)])

    def _described(self, layer: _Layer, seen: NDArray[np.bool_]) -> SceneObject:
        """A layer and where it is seen (S, S) -> what can be said of it."""
        size = len(seen)
        rows, columns = np.nonzero(seen)
        colours = self._colours[layer.kind]
        if layer.dye is not None:
            colours = np.array([name == layer.dye for name in COLOURS], np.float32)
        centre = (float(columns.mean() + 0.5) / size, float(rows.mean() + 0.5) / size)
        return SceneObject(layer.kind, layer.side / size, centre, colours)

    def _pool(self, kinds: Sequence[int] | None) -> list[int]:
        count = len(self.pictograms)
        pool = list(range(count)) if kinds is None else sorted({int(kind) for kind in kinds})
        if not pool or pool[0] < 0 or pool[-1] >= count:
            raise DataError(f"kinds are {pool}; expected at least one index from 0 to {count - 1}")
        return pool

    def _object(
        self, rng: np.random.Generator, kind: int, size: int, scale: tuple[float, float], *, centred: bool = False
    ) -> _Layer:
        """A kind -> its sprite scaled, turned and put somewhere."""
        options = self.options
        side = max(_SMALLEST, rng.uniform(*scale) * size)
        angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation)) * (not centred)
        mirror = -1.0 if options.flip and rng.random() < 0.5 else 1.0
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        extent = side * (abs(cos) + abs(sin))
        slack = (_INSIDE - 0.5) * extent  # how close to the border the middle may come
        inner = (slack, size - slack) if 2 * slack < size and not centred else (size / 2, size / 2)
        x, y = rng.uniform(*inner, 2)
        left, top = int(np.floor(x - extent / 2)), int(np.floor(y - extent / 2))
        window = int(np.ceil(extent)) + 1
        level = max((i for i, base in enumerate(_LEVELS) if base >= side), default=0)
        base, ratio = _LEVELS[level], _LEVELS[level] / side
        # From a pixel of the window back to one of the sprite, about their middles: unturned, unscaled, mirrored.
        across = (mirror * ratio * cos, mirror * ratio * sin)
        down = (-ratio * sin, ratio * cos)
        dx, dy = x - left, y - top
        back = (*across, base / 2 - across[0] * dx - across[1] * dy, *down, base / 2 - down[0] * dx - down[1] * dy)
        # Bilinear costs half; only where a sprite is enlarged is the difference to be seen.
        filtered = Image.Resampling.BICUBIC if side > base else Image.Resampling.BILINEAR
        turned = self._levels[kind][level].transform((window, window), Image.Transform.AFFINE, back, filtered)
        layer = _layer(rng, kind, np.asarray(turned), top, left, size)._replace(side=side)
        if options.dyed and rng.random() < options.dyed and self._dyeable[kind]:
            layer = layer._replace(dye=str(rng.choice(list(COLOURS))))
        return layer

    def _fits(self, layers: list[_Layer]) -> bool:
        """Whether every object keeps its share of visible pixels."""
        ordered = sorted(layers, key=lambda layer: layer.height)
        visible = np.bincount(_owner(ordered, self.options.size).ravel(), minlength=len(ordered) + 1)[1:]
        return all(
            layer.kind < 0 or seen >= max(1, self.options.min_visible * layer.area)
            for layer, seen in zip(ordered, visible.tolist(), strict=True)
        )

    def _drawn(self, rng: np.random.Generator, ground: NDArray[np.uint8], layers: list[_Layer]) -> NDArray[np.uint8]:
        """A background and layers from back to front -> the picture."""
        canvas = ground.astype(np.float32)
        for layer in layers:
            patch = layer.patch.reshape(-1, 4).astype(np.float32)  # (h w, 4)
            alpha = patch[:, 3:]
            if layer.dye is not None:
                patch = np.hstack([np.clip(patch @ dye(layer.dye), 0, alpha), alpha])
            colours = np.clip(patch @ self._jitter(rng) if layer.kind >= 0 else patch[:, :3], 0, alpha)
            below = canvas[layer.window]  # (h, w, 3)
            below *= (1 - alpha / 255).reshape(*below.shape[:2], 1)
            below += colours.reshape(below.shape)
        picture = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
        return add_noise(rng, picture, rng.uniform(0, self.options.noise))

    def _jitter(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """A random change of colour, (4, 3), for rows of colour times alpha and alpha.

        Hue is turned about the grey axis (Rodrigues' formula), contrast changes about mid-grey, brightness is a gain.
        """
        options = self.options
        angle = 2 * np.pi * rng.uniform(-options.hue, options.hue)
        contrast = 1 + rng.uniform(-options.contrast, options.contrast)
        brightness = 1 + rng.uniform(-options.brightness, options.brightness)
        cos, even, odd = np.cos(angle), (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
        hue = cos * np.eye(3) + even + odd * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
        return (brightness * np.vstack([contrast * hue, np.full(3, (1 - contrast) / 2)])).astype(np.float32)


def _seeded(seed: int | Sequence[int]) -> tuple[np.random.Generator, int | tuple[int, ...]]:
    numbers = (seed,) if isinstance(seed, int) else tuple(int(number) for number in seed)
    if not numbers or min(numbers) < 0:
        raise DataError(f"seed is {seed!r}; expected whole numbers of at least 0")
    return np.random.default_rng(numbers), seed if isinstance(seed, int) else numbers


def _owner(layers: list[_Layer], size: int) -> NDArray[np.int16]:
    """Layers from back to front -> (S, S): which one is seen at each pixel, from 1; 0 is background."""
    owner = np.zeros((size, size), np.int16)
    for number, layer in enumerate(layers, 1):
        owner[layer.window][layer.solid] = number
    return owner


def _layer(rng: np.random.Generator, kind: int, patch: NDArray[np.uint8], top: int, left: int, size: int) -> _Layer:
    """A patch (h, w, 4) at a place that may lie across the border -> a layer cut to the picture, at a random height."""
    solid = patch[..., 3] > 127
    rows = slice(max(0, -top), max(0, min(patch.shape[0], size - top)))
    columns = slice(max(0, -left), max(0, min(patch.shape[1], size - left)))
    area = int(np.count_nonzero(solid))
    return _Layer(kind, rng.random(), max(0, top), max(0, left), patch[rows, columns], solid[rows, columns], area)


def _shape(rng: np.random.Generator, size: int) -> _Layer:
    """A polygon, an ellipse or a ring, flat or shaded from one colour to another, put anywhere."""
    side = max(4, round(rng.uniform(*_DISTRACTOR_SCALE) * size))
    canvas = Image.new("L", (2 * side, 2 * side))  # twice the size, for smooth edges
    draw = ImageDraw.Draw(canvas)
    form = rng.integers(4)
    if form < 2:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        radii = side * rng.uniform(0.5, 1, angles.size)
        draw.polygon(
            np.stack([side + radii * np.cos(angles), side + radii * np.sin(angles)], -1).ravel().tolist(), fill=255
        )
    else:
        squeeze = side * rng.uniform(0.4, 1)
        box = (0, side - squeeze, 2 * side - 1, side + squeeze - 1)
        if form == 2:
            draw.ellipse(box, fill=255)
        else:
            draw.ellipse(box, outline=255, width=max(2, int(squeeze * rng.uniform(0.15, 0.5))))
    alpha = np.asarray(canvas.reduce(2))[..., None]  # (h, w, 1)
    first = np.array(colour(rng), np.float32)
    last = np.array(colour(rng), np.float32) if rng.random() < 0.5 else first
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    shaded = (first + (last - first) * (ramp if rng.random() < 0.5 else ramp.transpose(1, 0, 2))) * (
        alpha / np.float32(255)
    )
    top, left = (int(value) for value in rng.uniform(-side / 2, size - side / 2, 2))
    return _layer(rng, -1, np.concatenate([shaded.astype(np.uint8), alpha], -1), top, left, size)
