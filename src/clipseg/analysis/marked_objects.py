"""A folder of pictures with masks of things in them, read as a list of those things and their names.

    images/kitchen.jpg  masks/kitchen.png                  one mask of each picture, or
    images/kitchen.jpg  masks/kitchen.jar.png              several, each of what it names, or both side by side,
    kitchen.jpg         kitchen.mask.png                   beside the picture,
    kitchen.jpg         kitchen.jar.mask.png               as `clipseg segment` writes them

What a thing is called says, in this order: `names.csv` or `names.json` in the folder (for the mask's file, else for the
picture's); the mask's own name, as "jar" above; the beginning of the picture's, as "jar" of `jar_03.jpg`.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clipseg.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MASK = ".mask"  # at the end of the stem of a mask that lies beside its picture
LAYOUT = "expected images/NAME.jpg with masks/NAME.png, or NAME.jpg with NAME.mask.png beside it"


@dataclass(frozen=True, order=True)
class MarkedObject:
    """A thing in a picture, its mask, and what it is called."""

    picture: Path
    mask: Path
    name: str


def read_objects(folder: str | os.PathLike[str]) -> list[MarkedObject]:
    """A folder in one of the layouts above -> its things, in the order of the files' names.

    Pictures without a mask are left out. Raises DataError where nothing is found, for a mask without a picture, and
    for a file of names that cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; {LAYOUT}")
    apart = (root / "images").is_dir() and (root / "masks").is_dir()
    files = _pictures_in(root / "images") if apart else _pictures_in(root)
    masks = _pictures_in(root / "masks") if apart else [path for path in files if path.stem.endswith(MASK)]
    pictures = {path.stem: path for path in files if apart or path not in masks}
    names = _names(root)
    objects = []
    for mask in masks:
        stem = mask.stem if apart else mask.stem.removesuffix(MASK)
        owner, own_name = _owner(stem, pictures)
        if owner is None:
            raise DataError(f"{mask} has no picture of its name; {LAYOUT}")
        picture = pictures[owner]
        name = names.get(mask.name) or names.get(picture.name) or own_name or owner.rsplit("_", 1)[0]
        objects.append(MarkedObject(picture, mask, _spoken(name)))
    if not objects:
        raise DataError(f"{root} has no picture with a mask; {LAYOUT}")
    return sorted(objects)


def _pictures_in(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _owner(stem: str, pictures: Mapping[str, Path]) -> tuple[str | None, str]:
    """A mask's stem -> the longest picture's stem it begins with, as a whole or up to a dot, and what follows."""
    parts = stem.split(".")
    for count in range(len(parts), 0, -1):
        if (owner := ".".join(parts[:count])) in pictures:
            return owner, ".".join(parts[count:])
    return None, ""


def _spoken(name: str) -> str:
    """A name as files have it -> as people say it."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def _names(root: Path) -> dict[str, str]:
    """-> file name -> the name of the thing; empty where the folder says nothing."""
    if (table := root / "names.json").is_file():
        try:
            content = json.loads(table.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(f"{table} is not readable JSON ({error})") from None
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
            raise DataError(f'{table} is not a JSON object of texts; expected {{"kitchen.jpg": "jar"}}')
        return content
    if (table := root / "names.csv").is_file():
        try:
            with table.open(encoding="utf-8-sig", newline="") as lines:
                rows = [row for row in csv.reader(lines) if row]
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{table} is not readable CSV ({error})") from None
        for row in rows:
            if len(row) != 2:
                raise DataError(f"{table} has a line {','.join(row)!r}; expected a file and a name: kitchen.jpg,jar")
        return {file.strip(): name.strip() for file, name in rows if (file, name) != ("file", "name")}
    return {}
