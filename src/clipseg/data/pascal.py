"""Pascal VOC as the paper is tested with it: one example of a class (Pascal-5i), and classes never trained on.

    Pascal5i("VOC2012", fold=0)               who finds an aeroplane, given another? pictures of the five test classes
    Pascal5i("VOC2012", "train", fold=0)      the same question about the other 15
    VOCZeroShot("VOC2012", unseen=10)         whole pictures with a class at every pixel

A folder has JPEGImages/*.jpg beside

    SegmentationClassAug/*.png and PFENet's lists, for Pascal5i: val.txt and voc_sbd_merge_noduplicate.txt, lines
        `JPEGImages/2007_000033.jpg SegmentationClassAug/2007_000033.png`, in the folder itself or in lists/pascal/,
        lists/ or ImageSets/ within it
    SegmentationClass/*.png and ImageSets/Segmentation/{train,val}.txt, for VOCZeroShot: lines `2007_000033`

The PNGs are grey or have a palette; what counts is the number: 0 background, 1 to 20 classes, 255 nobody has judged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipseg.data.json_rows import read_utf8
from clipseg.data.labelled import (
    IGNORED,
    LabelledPicture,
    LabelledPictures,
    another,
    check_choice,
    check_layout,
    pixel_counts,
    read_labelled,
)
from clipseg.data.problems import OnProblem, Problems
from clipseg.data.removal import PASCAL_SYNSETS, UNSEEN_PAIRS
from clipseg.data.sample import Sample, SampleDataset
from clipseg.errors import ClipsegError, DataError

VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle"),
    *("bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person"),
    *("pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes 1 to 20 as Pascal VOC spells them; a fold of Pascal-5i tests five in a row."""

ZERO_SHOT_NAMES = ("background", "airplane", *VOC_NAMES[1:])
"""Classes 0 to 20 as generalised zero-shot segmentation spells them."""

FOLD = 5
FOLDS = range(len(VOC_NAMES) // FOLD)

ENOUGH = 2 * 32 * 32
"""A class counts for a picture from so many pixels on (PFENet)."""

_PAIRED = [1 + PASCAL_SYNSETS.index(synset) for pair in UNSEEN_PAIRS for synset in pair]

UNSEEN: Mapping[int | str, tuple[int, ...]] = {
    **{count: tuple(sorted(_PAIRED[:count])) for count in (2, 4, 6, 8, 10)},
    "last-5": tuple(range(16, 21)),  # pottedplant to tvmonitor, in which other work differs
}
"""Protocol -> the numbers of the classes that it keeps from training. Each of 2 to 10 adds a pair to the one before."""

LISTS = {"train": "voc_sbd_merge_noduplicate.txt", "val": "val.txt"}
LIST_FOLDERS = ("", "lists/pascal", "lists", "ImageSets")
"""Where Pascal5i looks for its lists, in this order."""

_PASCAL_LAYOUT = (
    "Pascal VOC 2012 with JPEGImages/*.jpg, SegmentationClassAug/*.png and PFENet's lists "
    f"{' and '.join(LISTS.values())}, in the folder itself or in {', '.join(LIST_FOLDERS[1:])}"
)
_ZERO_SHOT_LAYOUT = (
    "Pascal VOC 2012 with JPEGImages/*.jpg, SegmentationClass/*.png and ImageSets/Segmentation/{train,val}.txt"
)


def fold_classes(fold: int, split: str) -> tuple[int, ...]:
    """A fold and "val" or "train" -> the numbers of its classes: the five that it tests, or the other 15."""
    tested = range(1 + FOLD * fold, 1 + FOLD * (fold + 1))
    return tuple(number for number in range(1, 1 + len(VOC_NAMES)) if (number in tested) == (split == "val"))


class _Files(NamedTuple):
    """A line of a list: its number, a picture and its label map."""

    line: int
    picture: Path
    classes: Path

    def read(self) -> LabelledPicture:
        return read_labelled(self.picture, self.classes, len(VOC_NAMES))


class _Entry(NamedTuple):
    """Files, and the numbers of the classes that count for the picture."""

    files: _Files
    members: tuple[int, ...]


class Pascal5i(SampleDataset):
    """Pictures of a fold's classes with one example each: all pictures of a list, once.

    Asked for is one of the picture's classes, drawn; the phrase is its name and the support another picture of it. Of a
    picture's classes those count that ENOUGH pixels show. (PFENet lists pictures by that rule, but then asks for
    smaller classes in them as well.) `label` is the place of the class in `labels`, the 20 names of Pascal VOC.

    Every label map is read at the start: half a minute for the 10,582 of the training list. Lines without their two
    files, or with files of two sizes, are `problems`, as are classes that no second picture shows. Raises DataError for
    a folder that is no such data set and where nothing is left, UsageError for a split or fold that there is not.
    """

    labels = VOC_NAMES

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        *,
        fold: int = 0,
        seed: int = 0,
        on_problem: OnProblem = "skip",
    ) -> None:
        check_choice("split", split, LISTS)
        check_choice("fold", fold, FOLDS)
        root = Path(root).expanduser()
        self.seed, self.split, self.fold = seed, split, fold
        self.problems = Problems(on_problem)
        self._list = _list_file(root, LISTS[split])
        files = _listed(self._list, self.problems, "image label", lambda *words: [root / word for word in words])
        listed = list(_members(self._list, files, fold_classes(fold, split), ENOUGH, self.problems))
        self._entries, self._places = self._with_supports(listed)
        if not self._entries:
            raise DataError(
                f"{self._list} has no two pictures of any class of fold {fold}, {split}, that {ENOUGH} pixels show; "
                f"{len(self.problems)} lines are malformed"
            )

    def __len__(self) -> int:
        return len(self._entries)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An entry and a source of chance -> a sample; raises PictureError or DataError for files that broke since."""
        entry = self._entries[index]
        number = int(rng.choice(entry.members))
        places = self._places[number]
        other = self._entries[another(rng, places, bisect_left(places, index))]
        shown, name = entry.files.read(), VOC_NAMES[number - 1]
        where = f"{self._list.name}, line {entry.files.line}, {shown.name}, {name}"
        return shown.sample(number, name, other.files.read().support(number), number - 1, where)

    def _with_supports(self, listed: Sequence[_Entry]) -> tuple[list[_Entry], dict[int, list[int]]]:
        """-> the entries that have a class with another picture, and for each such class its entries' places."""
        shown = {number: sum(number in entry.members for entry in listed) for number in range(1, 1 + len(VOC_NAMES))}
        for number, pictures in shown.items():
            if pictures == 1:
                self.problems.report(self._list, None, f"{VOC_NAMES[number - 1]}: only one picture, so no example")
        entries: list[_Entry] = []
        places: dict[int, list[int]] = {}
        for entry in listed:
            members = tuple(number for number in entry.members if shown[number] > 1)
            for number in members:
                places.setdefault(number, []).append(len(entries))
            entries += [entry._replace(members=members)] if members else []
        return entries, places


class VOCZeroShot(LabelledPictures):
    """Pictures of Pascal VOC with a class at every pixel, some of the classes being kept from training.

    `unseen` is one of UNSEEN: how many classes, or "last-5", another protocol with classes of its own. The numbers of
    the classes are in the attributes `seen`, with the background, and `unseen`. `labelled(index)` gives whole pictures;
    a sample asks for one of a picture's classes, drawn, or for the background where there is nothing else. The split
    "train" leaves out pictures that show an unseen class; for that it reads all label maps.

    Lines without their two files are `problems`. Raises as `Pascal5i`.
    """

    labels = ZERO_SHOT_NAMES

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        *,
        unseen: int | str = 10,
        seed: int = 0,
        on_problem: OnProblem = "skip",
    ) -> None:
        check_choice("split", split, ("train", "val"))
        check_choice("unseen", unseen, UNSEEN)
        root = Path(root).expanduser()
        lists = f"ImageSets/Segmentation/{split}.txt"
        check_layout(root, ("JPEGImages", "SegmentationClass", lists), _ZERO_SHOT_LAYOUT)
        self.seed, self.split, self.unseen = seed, split, UNSEEN[unseen]
        self.seen = tuple(number for number in range(len(ZERO_SHOT_NAMES)) if number not in self.unseen)
        self.problems = Problems(on_problem)
        files = _listed(
            root / lists,
            self.problems,
            "name",
            lambda stem: [root / "JPEGImages" / f"{stem}.jpg", root / "SegmentationClass" / f"{stem}.png"],
        )
        if split == "train":
            entries = _members(root / lists, files, range(len(ZERO_SHOT_NAMES)), 1, self.problems)
            files = (entry.files for entry in entries if not set(self.unseen).intersection(entry.members))
        self._files = list(files)
        if not self._files:
            raise DataError(f"{root / lists} leaves no picture; {len(self.problems)} lines are malformed")

    def __len__(self) -> int:
        return len(self._files)

    def labelled(self, index: int) -> LabelledPicture:
        """-> the picture of an entry, and the class at each of its pixels; raises PictureError and DataError."""
        return self._files[index].read()

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An entry and a source of chance -> the question for one of its classes."""
        shown = self.labelled(index)
        there = np.flatnonzero(np.bincount(shown.classes.ravel())[1:IGNORED]) + 1
        number = int(rng.choice(there)) if len(there) else 0
        return shown.sample(number, self.labels[number], None, number, f"{shown.name}, {self.labels[number]}")


def _list_file(root: Path, name: str) -> Path:
    """A folder and a list -> where it is. Raises DataError where it is in none of LIST_FOLDERS."""
    check_layout(root, ("JPEGImages",), _PASCAL_LAYOUT)
    for folder in LIST_FOLDERS:
        if (root / folder / name).is_file():
            return root / folder / name
    raise DataError(f"{root} has no {name}; expected {_PASCAL_LAYOUT}")


def _listed(path: Path, problems: Problems, expected: str, files: Callable[..., Sequence[Path]]) -> Iterator[_Files]:
    """A list, the words expected in a line and what they stand for -> the files of each line; both are there."""
    before: dict[Path, int] = {}
    for line, text in enumerate(read_utf8(path).splitlines(), 1):
        words = text.split()
        if not words:
            continue
        if len(words) != len(expected.split()):
            problems.report(path, line, f"expected `{expected}`, got {text[:80]!r}")
            continue
        picture, classes = files(*words)
        missing = [str(file) for file in (picture, classes) if not file.is_file()]
        if missing:
            problems.report(path, line, f"there is no {' and no '.join(missing)}")
        elif picture in before:
            problems.report(path, line, f"{picture.name} is listed in line {before[picture]} already")
        else:
            before[picture] = line
            yield _Files(line, picture, classes)


def _members(
    path: Path, listed: Iterable[_Files], wanted: Sequence[int], enough: int, problems: Problems
) -> Iterator[_Entry]:
    """Files of a list -> those that have a wanted class, with the ones that `enough` pixels show."""
    for files in listed:
        try:
            counts = pixel_counts(files.picture, files.classes, len(VOC_NAMES))
        except ClipsegError as error:
            problems.report(path, files.line, str(error))
            continue
        members = tuple(number for number in wanted if counts[number] >= enough)
        if members:
            yield _Entry(files, members)
