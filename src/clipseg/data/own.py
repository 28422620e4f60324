"""The door for one's own data: a folder or a file in, whatever its format, and a data set out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipseg.data.coco import coco_files, read_coco
from clipseg.data.folder import blame_tables, is_layout, read_layout, read_tables, tables_in
from clipseg.data.json_rows import is_object
from clipseg.data.listed import ListedData, Listing, split_named
from clipseg.data.phrase_tables import RANDOM, SUFFIXES
from clipseg.data.problems import OnProblem, Problems
from clipseg.data.voc import is_voc, read_voc
from clipseg.data.yolo import read_yolo, yolo_file
from clipseg.errors import DataError

LOOKED_FOR = (
    "data.yaml with names, train and val (YOLO); a folder SegmentationClass (Pascal VOC); a .json file with images and "
    "annotations (COCO), here or in annotations/; a .csv, .jsonl or .json table with columns image, mask and phrase; "
    "folders images/ and masks/, or NAME.THING.mask.png beside NAME.jpg; folders train/ and val/ with any of these"
)


@dataclass(frozen=True)
class _Options:
    """What the readers are told."""

    phrase: str | None
    wording: str
    mask_value: int | None
    images: Path | None
    visual: bool


def open_data(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    negatives: float = 0.0,
    visual: bool = False,
    absent: Sequence[str] = (),
    categories: Iterable[str] | None = None,
    phrase: str | None = None,
    wording: str = RANDOM,
    mask_value: int | None = None,
    images: str | os.PathLike[str] | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    on_problem: OnProblem = "skip",
) -> ListedData:
    """A folder, or a file of annotations, in a format of `LOOKED_FOR` -> its data set.

    `split` is one of the data's own, "train" or "val" where it has none (a hash of each picture's name then decides,
    `val_share` of them are "val"), None for everything. `negatives`, `visual`, `absent` and `categories` are those of
    `ListedData`; `phrase` and `wording` those of `read_tables`, `mask_value` that of `mask_files`, `images` a folder
    to look for pictures in first.

    An entry that cannot be used is a problem: under "skip" it is left out, logged, and listed in `problems`; under
    "raise" it is a DataError. Raises DataError where nothing usable is found, saying what was looked for, and for a
    file that is broken as a whole; UsageError for options out of range.
    """
    path = Path(root)
    problems = Problems(on_problem)
    images = None if images is None else Path(images)
    listing = _listing(path, problems, _Options(phrase, wording, mask_value, images, visual))
    return ListedData(
        path,
        listing,
        problems,
        split=split,
        val_share=val_share,
        categories=categories,
        negatives=negatives,
        absent=absent,
        visual=visual,
        seed=seed,
    )


def _listing(path: Path, problems: Problems, options: _Options) -> Listing:
    if not path.exists():
        raise DataError(f"there is no folder or file {path}")
    read = _reader(path, options)
    if read is not None:
        listing = read(problems)
        if listing.kind == "folder" and not any(entry.thing for entry in listing.entries):
            blame_tables(path)
        return listing
    found: list[Listing] = []
    for folder in sorted(path.iterdir()) if path.is_dir() else ():
        split = split_named(folder.name)
        read = _reader(folder, options) if folder.is_dir() and split in ("train", "val", "test") else None
        if read is not None:
            part = read(problems)
            part.entries = [replace(entry, splits=(split,)) for entry in part.entries]
            found.append(part)
    if not found:
        raise DataError(f"{path} is no data set that is known here; looked for {LOOKED_FOR}")
    labels = tuple(dict.fromkeys(label for part in found for label in part.labels))
    return Listing(found[0].kind, [entry for part in found for entry in part.entries], labels)


def _reader(path: Path, options: _Options) -> Callable[[Problems], Listing] | None:
    """A folder or file -> what reads it; None where it is of no known format."""

    def tables(files: list[Path], root: Path) -> Callable[[Problems], Listing]:
        return lambda problems: read_tables(
            files,
            root,
            problems,
            phrase=options.phrase,
            wording=options.wording,
            mask_value=options.mask_value,
            images=options.images,
            only_examples=options.visual,
        )

    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in (".yaml", ".yml"):
            return lambda problems: read_yolo(path, problems)
        if suffix == ".json" and is_object(path):
            return lambda problems: read_coco([path], path.parent, problems, images=options.images)
        return tables([path], path.parent) if suffix in SUFFIXES else None
    if (yaml := yolo_file(path)) is not None:
        return lambda problems: read_yolo(yaml, problems)
    if is_voc(path):
        return lambda problems: read_voc(path, problems)
    if files := coco_files(path):
        return lambda problems: read_coco(files, path, problems, images=options.images)
    if files := tables_in(path):
        return tables(files, path)
    if is_layout(path):
        return lambda problems: read_layout(path, problems, phrase=options.phrase, mask_value=options.mask_value)
    return None
