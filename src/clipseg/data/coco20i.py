"""COCO-20i: episodes of one class and one example of it, in the layout of HSNet.

    COCO20i("COCO-20i", fold=0)                            1,000 episodes of the 20 classes that fold 0 tests
    COCO20i("COCO-20i", "train", fold=0, negatives=0.2)    the other 60, as COCO+N of the paper

    ROOT/{train2014,val2014}/*.jpg
    ROOT/annotations/{train2014,val2014}/*.png      the number of the class at each pixel, 1 to 80; 0 background
    ROOT/splits/coco/{trn,val}/fold{0,1,2,3}.pkl    a dictionary: place of a class, from 0 -> list of pictures,
                                                    "train2014/COCO_train2014_000000000009.jpg"

The lists are pickles. They are read by an unpickler that knows dictionaries, lists, texts and numbers alone, so none of
them can run anything.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import NoReturn

import numpy as np

from clipseg.data.labelled import LabelledPicture, another, check_choice, check_layout, read_labelled
from clipseg.data.problems import OnProblem, Problems
from clipseg.data.sample import Sample, SampleDataset, check_chance
from clipseg.errors import DataError, UnsafeFileError, UsageError

COCO_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
"""The classes as COCO spells them, in its order; fold f tests those at f, f + 4, …, f + 76."""

FOLDS = range(4)
SPLITS = {"train": "trn", "val": "val"}
EPISODES = 1000  # of a test (HSNet)
PICTURES = ("train2014", "val2014")

_TRIES = 50  # pictures of other classes that may show the class after all, before a negative is given up
_LAYOUT = (
    "COCO-20i as HSNet has it: {train2014,val2014}/*.jpg, annotations/{train2014,val2014}/*.png and "
    "splits/coco/{trn,val}/fold{0,1,2,3}.pkl"
)


class COCO20i(SampleDataset):
    """Episodes: a class, a picture of it and another one as example, all alike likely.

    An entry is nothing but its number, of `episodes` in all: 1,000 by default, and for "train" as many as there are
    pictures. (HSNet draws from numpy's global state, so each of its tests has episodes of its own.) The phrase is the
    name of the class, `label` its place in `labels`, the 80 names. With probability `negatives` the query is a picture
    of another class of the fold that shows nothing of this one, and the mask is empty; phrase and support stay. (The
    paper's loader replaces the support and empties its mask, and leaves the query as it was.)

    Pictures that are listed and not there are `problems`, as are classes with fewer than two. Raises DataError for a
    folder that is no such data set, for lists that are malformed and where no class is left; UnsafeFileError, before
    anything of it is run, for a list that holds more than data; UsageError for options out of their range.
    """

    labels = COCO_NAMES

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        *,
        fold: int = 0,
        episodes: int | None = None,
        negatives: float = 0.0,
        seed: int = 0,
        on_problem: OnProblem = "skip",
    ) -> None:
        check_choice("split", split, SPLITS)
        check_choice("fold", fold, FOLDS)
        check_chance("negatives", negatives)
        if episodes is not None and episodes < 1:
            raise UsageError(f"episodes is {episodes}; expected at least 1")
        self._root = root = Path(root).expanduser()
        self._list = root / "splits" / "coco" / SPLITS[split] / f"fold{fold}.pkl"
        check_layout(root, ("annotations", str(self._list.relative_to(root))), _LAYOUT)
        self.seed, self.split, self.fold, self.negatives = seed, split, fold, negatives
        self.problems = Problems(on_problem)
        self._pictures = self._listed(fold_classes(fold, split))  # by class, each list rising
        if not self._pictures:
            raise DataError(f"{self._list} leaves no class with two pictures; {len(self.problems)} problems")
        self._classes = sorted(self._pictures)
        pictures = len(set().union(*self._pictures.values()))
        self._episodes = episodes or (EPISODES if split == "val" else pictures)

    def __len__(self) -> int:
        return self._episodes

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """A source of chance -> an episode; raises PictureError or DataError for files that cannot be read."""
        number = int(rng.choice(self._classes))
        pictures = self._pictures[number]
        query = int(rng.integers(len(pictures)))
        example = self._read(another(rng, pictures, query))
        shown = self._without(number, rng) if self.negatives and rng.random() < self.negatives else None
        shown = shown or self._read(pictures[query])
        name = COCO_NAMES[number]
        where = f"{self._list.name} ({self.split}), episode {index}, {shown.name}, {name}"
        return shown.sample(number + 1, name, example.support(number + 1), number, where)

    def _without(self, number: int, rng: np.random.Generator) -> LabelledPicture | None:
        """-> a picture of another class with nothing of this one; None where none is found."""
        others = [other for other in self._classes if other != number]
        for _ in range(_TRIES if others else 0):
            pictures = self._pictures[int(rng.choice(others))]
            shown = self._read(pictures[int(rng.integers(len(pictures)))])
            if not shown.shows(number + 1):
                return shown
        return None

    def _read(self, picture: str) -> LabelledPicture:
        classes = self._root / "annotations" / Path(picture).with_suffix(".png")
        return read_labelled(self._root / picture, classes, len(COCO_NAMES))

    def _listed(self, wanted: tuple[int, ...]) -> dict[int, list[str]]:
        """-> by class the pictures of the list that are there with their annotations, where they are two or more."""
        listed = read_lists(self._list)
        there = _stems(self._root, ".jpg") & _stems(self._root / "annotations", ".png")
        found = {}
        for number in wanted:
            names = sorted(set(listed.get(number, ())))
            missing = [name for name in names if not name.endswith(".jpg") or name.removesuffix(".jpg") not in there]
            for name in missing:
                self.problems.report(self._list, None, f"{COCO_NAMES[number]}: no picture {name!r} with its annotation")
            if len(names) - len(missing) < 2:
                self.problems.report(self._list, None, f"{COCO_NAMES[number]}: fewer than two pictures, so no example")
            else:
                found[number] = [name for name in names if name not in set(missing)]
        return found


def fold_classes(fold: int, split: str) -> tuple[int, ...]:
    """A fold and "val" or "train" -> the places of its classes: the 20 that it tests, or the other 60."""
    return tuple(number for number in range(len(COCO_NAMES)) if (number % len(FOLDS) == fold) == (split == "val"))


def read_lists(path: Path) -> dict[int, list[str]]:
    """A list of COCO-20i -> the pictures of each class, by its place.

    Raises UnsafeFileError for a pickle that holds more than data, and DataError for one that is damaged or of another
    shape.
    """
    try:
        lists = _DataUnpickler(path).load()
    except UnsafeFileError:
        raise
    except Exception as error:  # a damaged pickle fails in many ways
        raise DataError(f"{path} is a damaged pickle ({error}): fetch it again") from error
    for key, names in lists.items() if isinstance(lists, dict) else [(None, lists)]:
        if type(key) is not int or not isinstance(names, list) or not all(type(name) is str for name in names):
            raise DataError(
                f"{path}: expected a dictionary, place of a class -> list of pictures; got {key!r}: {str(names)[:60]}"
            )
    checked: dict[int, list[str]] = lists
    return checked


class _DataUnpickler(pickle.Unpickler):
    """Builds what the language of pickles has itself, containers, texts and numbers; refuses to look up any name."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.BytesIO(path.read_bytes()))
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise UnsafeFileError(
            f"{self._path} wants {module}.{name}, which lists of pictures do not need: fetch it from where HSNet is "
            "published, or do not use it"
        )


def _stems(folder: Path, suffix: str) -> set[str]:
    """A folder -> files of PICTURES in it that end in `suffix`, without it: "train2014/COCO_train2014_000000000009"."""
    return {
        f"{name}/{entry.name.removesuffix(suffix)}"
        for name in PICTURES
        if (folder / name).is_dir()
        for entry in os.scandir(folder / name)
        if entry.name.endswith(suffix)
    }
