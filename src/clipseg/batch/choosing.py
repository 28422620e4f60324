"""What of a run becomes a data set: which masks are annotations, what is held out, what files are called.

H W a picture's size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clipseg.batch.reading import Found, Picture
from clipseg.data.listed import drawn_share
from clipseg.errors import UsageError
from clipseg.masks.components import centroids, components, sorted_parts
from clipseg.masks.regions import Region
from clipseg.masks.rules import DEFAULT_ORDER

TRAIN, VAL = "train", "val"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which masks count as found; empty ones never do.

    Fields
        min_score     least mean probability inside, 0 to 1
        min_presence  least probability that the label is in the picture at all, 0 to 1
        min_pixels      least pixels, of each part where parts count
        instances     whether every connected part is an annotation of its own, with the score of its whole mask

    Raises UsageError for what is out of range.
    """

    min_score: float = 0.0
    min_presence: float = 0.0
    min_pixels: int = 0
    instances: bool = False

    def __post_init__(self) -> None:
        for name in ("min_score", "min_presence"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name} is a probability from 0 to 1; got {value!r}")
        if self.min_pixels < 0:
            raise UsageError(f"min_pixels is a number of pixels of at least 0; got {self.min_pixels!r}")

    def of(self, picture: Picture) -> Iterator[Found]:
        """A picture -> what counts as found in it, in the order of the prompts."""
        for found in picture.found:
            if (
                found.area >= max(1, self.min_pixels)
                and found.score >= self.min_score
                and found.presence >= self.min_presence
            ):
                yield found

    def regions(self, picture: Picture) -> Iterator[Region]:
        """A picture -> the same as regions, decoded one at a time: whole masks, or their connected parts."""
        for found in self.of(picture):
            mask = found.mask()
            if not self.instances:
                x, y, width, height = map(int, found.bbox_xywh)
                yield Region(found.label, mask, (x, y, x + width, y + height), found.area, found.score)
                continue
            yield from _parts(found, mask, self.min_pixels)


def _parts(found: Found, mask: NDArray[np.bool_], least: int) -> Iterator[Region]:
    """A mask (H, W) -> its connected parts of that many pixels at least, from left to right."""
    parts = components(mask)
    boxes = ndimage.find_objects(parts.numbers)
    top, left = (side.start for side in parts.window)
    for number in sorted_parts(parts, DEFAULT_ORDER, centroids(parts)):
        area = int(parts.areas[number - 1])
        if area < least:
            continue
        down, across = box = boxes[number - 1]
        x0, y0, x1, y1 = across.start + left, down.start + top, across.stop + left, down.stop + top
        inside = np.zeros(mask.shape, np.bool_)
        inside[y0:y1, x0:x1] = parts.numbers[box] == number
        yield Region(found.label, inside, (x0, y0, x1, y1), area, found.score)


class Split:
    """Which pictures are held out: about `val_share` of them, by a hash of their names, so that each stays on its side.

    However few there are, one is held out and one is not, if there are two at all; at a share of 0 there is no split.
    Raises UsageError for a share that is not from 0 to less than 1.
    """

    def __init__(self, val_share: float, ids: Iterable[str] = ()) -> None:
        if not 0 <= val_share < 1:
            raise UsageError(f"val_share is a part of the pictures, from 0 to less than 1; got {val_share!r}")
        self._share = val_share
        self._least, self._most = 1.0, 0.0
        for share in map(drawn_share, ids) if val_share else ():
            self._least, self._most = min(self._least, share), max(self._most, share)

    @property
    def names(self) -> tuple[str, ...]:
        """The splits there are; one empty name where nothing is held out."""
        return (TRAIN, VAL) if self._share else ("",)

    def of(self, name: str) -> str:
        """The id of a picture -> its split, one of `names`."""
        if not self._share:
            return ""
        share = drawn_share(name)
        return VAL if share < self._most and (share < self._share or share <= self._least) else TRAIN


_ODD = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')


def path_of(name: str) -> PurePosixPath:
    """The id of a picture -> a path below a folder, whatever the id: "s3://shop/a/cat.jpg" -> "s3/shop/a/cat.jpg".

    Folders are kept, what could lead out of the folder or is no part of a file's name is left out. Raises UsageError
    where nothing remains.
    """
    parts = [_ODD.sub("_", part) for part in re.split(r":?[/\\]+", name) if part.strip(". ")]
    if not parts:
        raise UsageError(f"the id {name!r} is no name that a file could have; give the picture another in the manifest")
    return PurePosixPath(*parts)


def stems_of(names: Iterable[str], dots: str = ".") -> Iterator[PurePosixPath]:
    """Ids of pictures -> for each the path of its labels, without a suffix: "a/cat.jpg" -> "a/cat".

    `dots` takes the place of those that remain in a file's name. Raises UsageError for two that would meet in one file,
    on whatever file system.
    """

    def stem(name: str) -> PurePosixPath:
        path = path_of(name).with_suffix("")
        return path.with_name(path.name.replace(".", dots))

    return _apart(names, stem)


def paths_of(names: Iterable[str]) -> Iterator[PurePosixPath]:
    """Ids of pictures -> for each the path of its picture. Raises UsageError for two that would meet in one file."""
    return _apart(names, path_of)


def _apart(names: Iterable[str], placed: Callable[[str], PurePosixPath]) -> Iterator[PurePosixPath]:
    taken: dict[str, str] = {}
    for name in names:
        path = placed(name)
        place = str(path).casefold()
        if place in taken:
            raise UsageError(f"{name!r} and {taken[place]!r} would meet in one file; rename one, or take coco")
        taken[place] = name
        yield path
