"""A folder of pictures and masks with phrases: named by a table, or by the names of files and folders.

    images/cat_1.jpg   masks/cat/cat_1.png         the folder of a mask names the thing
    images/cat_1.jpg   masks/cat_1.cat.png         its own name does, between dots
    cat_1.jpg          cat_1.cat.mask.png          the same beside the picture, as `clipseg segment` writes it
    images/cat_1.jpg   masks/cat_1.png             the picture's name does, if it ends in a number and is no camera's
    images/train/cat_1.jpg   masks/train/cat_1.png     folders named as splits are splits

Tables are those of `phrase_tables`; one named train, val or test is that split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipseg.data.json_rows import is_object
from clipseg.data.listed import Annotation, Entry, Listing, Marked, split_named, spoken, thing_of
from clipseg.data.mask_files import MaskFile, check_sizes, pictures_in
from clipseg.data.phrase_tables import RANDOM, SUFFIXES, TableRow, is_table, table_rows
from clipseg.data.problems import Problems
from clipseg.errors import ClipsegError, DataError
from clipseg.formats.classes import one_line

IMAGES = ("images", "image", "imgs", "img", "pictures")
MASKS = ("masks", "mask", "labels", "annotations")
TABLES = (".", "anns", "annotations")
SPLITS = ("train", "val", "test")

_MASK_MARK = re.compile(r"[._-](mask|masklabel|seg)$", re.IGNORECASE)  # at the end of a mask's stem
_NUMBERED = re.compile(r"(.*[^\W\d_])[\W_]*\d+", re.DOTALL)
_CAMERAS = {
    *("img", "image", "dsc", "dscf", "dscn", "pxl", "photo", "picture", "pic", "frame", "scan", "sample", "mvi", "p"),
    *("screenshot", "whatsapp image", "wp", "im", "gopr", "dji", "file"),
}


@dataclass(frozen=True, slots=True)
class Nothing:
    """The annotation of a phrase that is not in its picture."""

    def read(self, size_hw: tuple[int, int]) -> Marked:
        """The picture's (H, W) -> an empty mask."""
        return Marked(np.zeros(size_hw, np.bool_))


# Tables


def tables_in(root: Path) -> list[Path]:
    """A folder -> the tables in it, and in its folders of annotations."""
    return [path for path in _table_files(root) if is_table(path)]


def blame_tables(root: Path) -> None:
    """Raise DataError for the first file of a folder that may have been meant as a table, saying why it is none."""
    for path in _table_files(root):
        if path.suffix.lower() != ".json" or not is_object(path):
            list(table_rows(path, Problems("raise")))


def _table_files(root: Path) -> list[Path]:
    folders = (root / name for name in TABLES if (root / name).is_dir())
    files = (path for folder in folders for path in sorted(folder.iterdir()))
    return [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]


def read_tables(
    tables: Sequence[Path],
    root: Path,
    problems: Problems,
    *,
    phrase: str | None = None,
    wording: str = RANDOM,
    mask_value: int | None = None,
    images: Path | None = None,
    only_examples: bool = False,
) -> Listing:
    """Tables -> what they list. Files are named from the table, from `root` or from its folders of pictures and masks.

    `phrase` is that of rows without one, `wording` the key of the prompts that are asked with (all of them by chance
    under "random"). With `only_examples` an empty wording is no problem: the sample then has no phrase. Every file has
    to be there and of the size of its picture; what is not is a problem of its row.
    """
    listing = Listing("table")
    for table in tables:
        bases = list(dict.fromkeys([*([images] if images else []), table.parent, root, *_folders(root, IMAGES)]))
        mask_bases = list(dict.fromkeys([table.parent, root, *_folders(root, MASKS)]))
        by_name = split_named(table.stem)
        for row in table_rows(table, problems):
            try:
                picture = _file(row.image, bases, "picture")
                annotation: Annotation = Nothing()
                if row.mask:
                    mask = _file(row.mask, mask_bases, "mask")
                    check_sizes(picture, mask)
                    annotation = MaskFile(mask, mask_value)
                thing, phrases = _asked(row, phrase, wording, only_examples)
            except ClipsegError as error:
                problems.report(table, row.line, str(error))
                continue
            split = split_named(row.split) if row.split else by_name if by_name in SPLITS else None
            splits = () if split is None else (split,)
            listing.entries.append(Entry(picture, thing, phrases, annotation, table, row.line, splits))
    return listing


def _asked(row: TableRow, phrase: str | None, wording: str, only_examples: bool) -> tuple[str, tuple[str, ...]]:
    """A row -> the thing it is about, and the phrases it may be asked with. Raises DataError."""
    every = [text for texts in row.phrases.values() for text in texts if text]
    if not every and phrase is not None:
        every, row = [phrase], TableRow(row.line, row.image, row.mask, {"": (phrase,)}, row.split)
    if not every:
        raise DataError("has no phrase; give it one, or name that of all with phrase=")
    if wording == RANDOM or "" in row.phrases:
        return thing_of(every[0]), tuple(every)
    if wording not in row.phrases:
        raise DataError(f"has no prompt {wording!r}; it has {', '.join(row.phrases)}")
    chosen = tuple(filter(None, row.phrases[wording]))
    if not chosen and not only_examples:
        raise DataError(f"its prompt {wording!r} is empty, so nothing asks; take visual=True or another wording")
    return thing_of(every[0]), chosen


def _file(name: str, bases: Sequence[Path], what: str) -> Path:
    name = name.replace("\\", "/")
    for base in bases:
        if (path := base / name).is_file():
            return path
    raise DataError(f"there is no {what} {name!r} in {', '.join(str(base) for base in bases)}")


def _folders(root: Path, names: Sequence[str]) -> list[Path]:
    """-> the folders in a folder that are called so, in any letter case, in the order of the names."""
    found = [path for path in sorted(root.iterdir()) if path.name.casefold() in names and path.is_dir()]
    return sorted(found, key=lambda path: names.index(path.name.casefold()))


# Names of files and folders


def is_layout(root: Path) -> bool:
    """Whether a folder is one of those layouts: it has a folder of pictures and one of masks, or masks beside them."""
    if not root.is_dir():
        return False
    apart = _folders(root, IMAGES) and any(pictures_in(folder, deep=True) for folder in _folders(root, MASKS))
    return bool(apart) or any(_MASK_MARK.search(path.stem) for path in pictures_in(root))


def read_layout(root: Path, problems: Problems, *, phrase: str | None = None, mask_value: int | None = None) -> Listing:
    """A folder in one of those layouts -> what is in it; `phrase` is what a mask shows that nothing names.

    A mask without a picture, of another size or without a name is a problem. Pictures without a mask are for negatives.
    """
    listing = Listing("folder")
    labels = dict[str, str]()
    marked = set[Path]()
    images, masks = (_folders(root, names) for names in (IMAGES, MASKS))
    apart = bool(images and masks)
    picture_root, mask_root = (images[0], masks[0]) if apart else (root, root)
    files = pictures_in(picture_root, deep=True)
    pictures = {_key(path, picture_root): path for path in files if apart or not _MASK_MARK.search(path.stem)}
    found = pictures_in(mask_root, deep=True)
    for mask in found if apart else [path for path in found if _MASK_MARK.search(path.stem)]:
        try:
            picture, words, splits = _owner(mask, mask_root, pictures)
            words = words or phrase or _name_of(picture)
            check_sizes(picture, mask)
        except ClipsegError as error:
            problems.report(mask, None, str(error))
            continue
        marked.add(picture)
        labels.setdefault(thing_of(words), words)
        listing.entries.append(
            Entry(picture, thing_of(words), (words,), MaskFile(mask, mask_value), mask, None, splits)
        )
    listing.labels = tuple(labels[thing] for thing in sorted(labels))
    listing.entries += [Entry(path, "", (), None, path) for path in pictures.values() if path not in marked]
    return listing


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _owner(mask: Path, root: Path, pictures: dict[str, Path]) -> tuple[Path, str, tuple[str, ...]]:
    """A mask -> its picture, what its folder or its own name says it shows ("" for nothing), and its splits.

    Raises DataError where no picture has its name.
    """
    *folders, stem = _key(mask, root).split("/")
    splits = tuple(dict.fromkeys(split_named(name) for name in folders if split_named(name) in SPLITS))
    for owner, own in _candidates(folders, _MASK_MARK.sub("", stem)):
        if owner in pictures:
            inner = owner.split("/")[:-1]
            named = [name for name in folders if name not in inner] or inner
            named = [name for name in named if split_named(name) not in SPLITS]
            words = own or (named[-1] if named else "")
            return pictures[owner], spoken(words.replace("-", " ")), splits
    raise DataError("there is no picture of this mask's name")


def _candidates(folders: Sequence[str], stem: str) -> Iterator[tuple[str, str]]:
    """-> keys that the mask's picture may have, and what then follows in the mask's name; the likeliest first.

    The picture lies in the same folders, or in these without one, which names the thing, or without the first ones.
    """
    without_one = ([*folders[:place], *folders[place + 1 :]] for place in reversed(range(len(folders))))
    kept = [list(folders), *without_one, *(list(folders[place:]) for place in range(2, len(folders) + 1))]
    parts = stem.split(".")
    for count in range(len(parts), 0, -1):
        for names in kept:
            yield "/".join([*names, ".".join(parts[:count])]), ".".join(parts[count:])


def _name_of(picture: Path) -> str:
    """A picture -> the thing that the beginning of its name tells. Raises DataError where it tells none."""
    match = _NUMBERED.fullmatch(picture.stem)
    name = spoken(match[1].replace("-", " ")) if match else ""
    if not name or name.casefold() in _CAMERAS or not re.search(r"[^\W\d_]{2}", name):
        raise DataError("nothing says what it shows; put it into a folder of that name, or give phrase=")
    return one_line(name)
