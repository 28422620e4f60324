"""Saying which of several things is meant: "the small red apple on the left", and only where it is true.

    scene, kind ──> a description that clearly holds for some of the kind's objects and clearly not for the others
                ──> a phrase, and the mask of those it holds for

A property clearly holds, clearly does not, or is in doubt (a thing nearly in the middle is neither left nor right);
nothing is ever described by a property in doubt for any object of its kind.

Letters: S side of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipseg.data.colours import COLOURS
from clipseg.data.scenes import Scene, SceneObject

# A word -> the range of shares of the picture's side where it is true, and the wider one outside which it is false.
_Ranges = tuple[tuple[float, float], tuple[float, float]]
SIZES: dict[str, _Ranges] = {
    "small": ((0, 0.33), (0, 0.40)),
    "little": ((0, 0.33), (0, 0.40)),
    "big": ((0.47, 9), (0.40, 9)),
    "large": ((0.47, 9), (0.40, 9)),
}
ACROSS: dict[str, _Ranges] = {"on the left": ((-9, 0.40), (-9, 0.50)), "on the right": ((0.60, 9), (0.50, 9))}
DOWN: dict[str, _Ranges] = {"at the top": ((-9, 0.40), (-9, 0.50)), "at the bottom": ((0.60, 9), (0.50, 9))}

TRUE_SHARE = 0.6  # of a thing's pixels in a colour for it to be called that
FALSE_SHARE = 0.08  # up to which it clearly is not
_TRIES = 6


@dataclass(frozen=True)
class Description:
    """What is said of a thing beside its name; None where nothing is."""

    size: str | None = None
    colour: str | None = None
    place: str | None = None

    def phrase(self, name: str, article: str = "the") -> str:
        """A name -> "the small red apple on the left"."""
        return " ".join(word for word in (article, self.size, self.colour, name, self.place) if word)

    def holds(self, thing: SceneObject) -> bool | None:
        """-> whether all that is said is true of a thing; None where that is in doubt."""
        answers = [self._size(thing), self._colour(thing), self._place(thing)]
        if False in answers:
            return False
        return None if None in answers else True

    def mask(self, scene: Scene, kind: int) -> NDArray[np.bool_] | None:
        """A scene and a kind -> where its objects are (S, S) that this holds for; None if any of them is in doubt."""
        of_kind = [(number, thing) for number, thing in enumerate(scene.objects) if thing.kind == kind]
        answers = [self.holds(thing) for _, thing in of_kind]
        if None in answers:
            return None
        meant = [number for (number, _), answer in zip(of_kind, answers, strict=True) if answer]
        return np.isin(scene.owners, meant)

    def _size(self, thing: SceneObject) -> bool | None:
        return True if self.size is None else _within(SIZES[self.size], thing.side)

    def _colour(self, thing: SceneObject) -> bool | None:
        if self.colour is None:
            return True
        share = thing.colours[list(COLOURS).index(self.colour)]
        return True if share >= TRUE_SHARE else False if share <= FALSE_SHARE else None

    def _place(self, thing: SceneObject) -> bool | None:
        if self.place is None:
            return True
        if self.place in ACROSS:
            return _within(ACROSS[self.place], thing.centre_xy[0])
        return _within(DOWN[self.place], thing.centre_xy[1])


def drawn_description(rng: np.random.Generator) -> Description:
    """-> one to three properties, drawn without a look at any scene."""
    which = rng.random(3) < (0.4, 0.5, 0.4)
    if not which.any():
        which[rng.integers(3)] = True
    return Description(
        size=str(rng.choice(list(SIZES))) if which[0] else None,
        colour=str(rng.choice(list(COLOURS))) if which[1] else None,
        place=str(rng.choice([*ACROSS, *DOWN])) if which[2] else None,
    )


def described(rng: np.random.Generator, scene: Scene, kind: int) -> tuple[Description, NDArray[np.bool_]] | None:
    """A scene and a kind in it -> a description in no doubt, and its mask (S, S), which may be empty.

    Two thirds are drawn to be true of one of the objects; the others mostly are of none. None where no clear one was
    found in a few tries.
    """
    things = [thing for thing in scene.objects if thing.kind == kind]
    for _ in range(_TRIES):
        description = drawn_description(rng)
        if rng.random() < 2 / 3:
            description = _fitted(rng, description, things[rng.integers(len(things))])
        mask = description.mask(scene, kind) if description != Description() else None
        if mask is not None:
            return description, mask
    return None


def _fitted(rng: np.random.Generator, wanted: Description, thing: SceneObject) -> Description:
    """The same properties, each with a word that is true of the thing, or left out where there is none."""
    sizes = [word for word in SIZES if _within(SIZES[word], thing.side)]
    colours = [name for name, share in zip(COLOURS, thing.colours, strict=True) if share >= TRUE_SHARE]
    x, y = thing.centre_xy
    places = [word for word in ACROSS if _within(ACROSS[word], x)] + [word for word in DOWN if _within(DOWN[word], y)]

    def one(words: list[str], asked: str | None) -> str | None:
        return words[rng.integers(len(words))] if asked and words else None

    return Description(one(sizes, wanted.size), one(colours, wanted.colour), one(places, wanted.place))


def _within(ranges: _Ranges, value: float) -> bool | None:
    (low, high), (outer_low, outer_high) = ranges
    if low <= value <= high:
        return True
    return None if outer_low <= value <= outer_high else False
