"""Pascal VOC's folders as one's own data: every class that a picture has is asked for; void pixels are ignored.

    JPEGImages/cat_1.jpg   SegmentationClass/cat_1.png   ImageSets/Segmentation/train.txt   labelmap.txt

The names of classes are those of `labelmap.txt` (as CVAT, Datumaro and `clipseg segment` write it), of
`class_names.txt` (labelme), or VOC's own where there is neither. Label pictures are indexed, or in the colours that
`labelmap.txt` gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipseg.data.json_rows import read_utf8
from clipseg.data.listed import Entry, Listing, Marked, split_named, spoken, thing_of
from clipseg.data.mask_files import check_sizes, pictures_in, sizes_differ
from clipseg.data.problems import Problems
from clipseg.errors import ClipsegError, DataError
from clipseg.formats.png import VOID, voc_palette
from clipseg.formats.voc import LABELMAP, MASKS, PICTURES
from clipseg.processing.images import decoded

CLASS_NAMES = "class_names.txt"
LABELS = (MASKS, "SegmentationClassPNG")  # the second as older exports of labelme call it
LISTS = "ImageSets/Segmentation"
VOID_COLOUR = (224, 224, 192)  # what VOC's palette has at 255
OWN_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog"),
    *("horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor"),
)

_ROW = re.compile(r"(.+?):(?:(\d+),(\d+),(\d+))?(?::[^:]*:[^:]*)?")
_BACKGROUNDS = ("background", "_background_", "__background__")


class Classes(NamedTuple):
    """Number -> name, and colour as 0xRRGGBB -> number, for label pictures that are no indexed ones."""

    names: Mapping[int, str]
    numbers: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class VocMask:
    """One class of a label picture."""

    path: Path
    number: int
    classes: Classes

    def read(self, size_hw: tuple[int, int]) -> Marked:
        """The picture's (H, W) -> where the class is, and what is void. Raises ClipsegError as `class_map`."""
        numbers = class_map(self.path, self.classes)
        if numbers.shape != size_hw:
            raise DataError(sizes_differ(self.path, (numbers.shape[0], numbers.shape[1]), size_hw))
        void = numbers == VOID
        return Marked(numbers == self.number, void if void.any() else None)


def class_map(path: Path, classes: Classes) -> NDArray[np.uint8]:
    """A label picture -> (H, W) uint8: each pixel's number, 255 where it is void.

    Raises PictureError for no picture, DataError for a colour that no class has.
    """
    picture = decoded(path)
    if picture.mode in ("P", "L"):
        return np.asarray(picture)
    channels = np.asarray(picture.convert("RGB")).astype(np.int32)
    colours, places = np.unique(_packed(channels), return_inverse=True)
    unknown = [colour for colour in colours.tolist() if colour not in classes.numbers]
    if unknown:
        raise DataError(f"{path.name} has the colour {_shown(unknown[0])}, which no class of {LABELMAP} has")
    found = np.array([classes.numbers[colour] for colour in colours.tolist()], np.uint8)
    return found[places].reshape(channels.shape[:2])


def is_voc(root: Path) -> bool:
    """Whether a folder has label pictures as VOC keeps them."""
    return root.is_dir() and any((root / name).is_dir() for name in LABELS)


def read_voc(root: Path, problems: Problems) -> Listing:
    """Folders -> what they hold; the lists of pictures are splits, or all label pictures where there are no lists.

    A picture that is not there, without a label picture, of another size or with a number or colour that names no
    class is a problem. Raises DataError for a broken file of names.
    """
    classes = read_names(root)
    listing = Listing("voc", labels=tuple(classes.names.values()))
    folder = next(root / name for name in LABELS if (root / name).is_dir())
    pictures = {path.stem: path for path in pictures_in(root / PICTURES)} if (root / PICTURES).is_dir() else {}
    for stem, (where, line, splits) in _stems(root, folder).items():
        label = folder / f"{stem}.png"
        try:
            if stem not in pictures:
                raise DataError(f"there is no picture {stem!r} in {root / PICTURES}")
            if not label.is_file():
                raise DataError(f"there is no label picture {label}")
            check_sizes(pictures[stem], label)
            numbers = np.unique(class_map(label, classes)).tolist()
            unknown = [number for number in numbers if number not in (0, VOID, *classes.names)]
            if unknown:
                raise DataError(f"{label.name} has the number {unknown[0]}, but {len(classes.names)} classes are named")
        except ClipsegError as error:
            problems.report(where, line, str(error))
            continue
        named = [number for number in numbers if number in classes.names]
        for number in named:
            name, mask = classes.names[number], VocMask(label, number, classes)
            listing.entries.append(Entry(pictures[stem], thing_of(name), (name,), mask, where, line, splits))
        if not named:
            listing.entries.append(Entry(pictures[stem], "", (), None, where, line, splits))
    return listing


def read_names(root: Path) -> Classes:
    """A folder -> the names of its classes. Raises DataError, which names the line."""
    if (path := root / LABELMAP).is_file():
        return _labelmap(path)
    names: tuple[str, ...] = OWN_CLASSES
    if (path := root / CLASS_NAMES).is_file():
        lines = [line.strip() for line in read_utf8(path).splitlines() if line.strip() and line.strip() != "__ignore__"]
        if not lines or lines[0] not in _BACKGROUNDS:
            raise DataError(f"{path}:1: expected a class on each line, the first of them {_BACKGROUNDS[1]}")
        names = tuple(lines[1:])
    named = {number: spoken(name) for number, name in enumerate(names, 1)}
    return Classes(named, {_hex(voc_palette()[number]): number for number in (0, *named, VOID)})


def _labelmap(path: Path) -> Classes:
    names: dict[int, str] = {}
    colours = {_hex(np.array(VOID_COLOUR)): VOID}
    number = 0
    for line, text in enumerate(read_utf8(path).splitlines(), 1):
        text = text.strip()
        if not text or text.startswith("#"):
            continue
        row = _ROW.fullmatch(text)
        if row is None:
            raise DataError(f"{path}:{line}: expected NAME:R,G,B::; got {text[:60]!r}")
        if (number == 0) != (row[1] in _BACKGROUNDS):
            raise DataError(f"{path}:{line}: expected the class background first, and only there; got {row[1]!r}")
        if number:
            names[number] = spoken(row[1])
        colour = [int(value) for value in row.groups()[1:]] if row[2] else voc_palette()[number].tolist()
        colours[_hex(np.array(colour))] = number
        number += 1
        if number > VOID:
            raise DataError(f"{path}:{line}: an indexed picture holds {VOID - 1} classes, and here are more")
    if not names:
        raise DataError(f"{path}: names no class; expected lines NAME:R,G,B::, the first of them background")
    return Classes(names, colours)


def _stems(root: Path, folder: Path) -> dict[str, tuple[Path, int | None, tuple[str, ...]]]:
    """-> the stem of every picture: the file and line that list it, and the splits it is in."""
    found: dict[str, tuple[Path, int | None, tuple[str, ...]]] = {}
    for path in sorted((root / LISTS).glob("*.txt")):
        for line, text in enumerate(read_utf8(path).splitlines(), 1):
            if words := text.split():
                where, first, splits = found.get(words[0], (path, line, ()))
                found[words[0]] = where, first, tuple(dict.fromkeys((*splits, split_named(path.stem))))
    if not found:
        found = {path.stem: (path, None, ()) for path in pictures_in(folder)}
    return found


def _packed(channels: NDArray[np.integer]) -> NDArray[np.integer]:
    """(..., 3) -> (...) 0xRRGGBB."""
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def _hex(colour: NDArray[np.integer]) -> int:
    return int(_packed(colour.astype(np.int32)))


def _shown(colour: int) -> str:
    return f"{colour >> 16},{colour >> 8 & 255},{colour & 255}"
