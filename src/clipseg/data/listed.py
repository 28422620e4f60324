"""Data sets of one's own, whatever their files look like: a list of entries, and what is drawn from it.

The readers of the formats make a `Listing`; `ListedData` is the data set over it.

Shape letters: H, W a picture's size.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clipseg.data.problems import Problems
from clipseg.data.sample import Sample, SampleDataset, Support, check_chance
from clipseg.errors import ClipsegError, DataError, UsageError
from clipseg.formats.classes import one_line
from clipseg.processing.images import to_rgb

FEW = 64  # entries of a thing among which another picture is looked for before the draw; beyond, by drawing
TRIES = 8  # supports that may turn out to be of the same picture or empty, one after the other

_log = logging.getLogger(__name__)


class Marked(NamedTuple):
    """What an entry's annotation says: the mask (H, W) bool, and the pixels (H, W) bool nobody knows about, if any."""

    mask: NDArray[np.bool_]
    ignore: NDArray[np.bool_] | None = None


class Annotation(Protocol):
    """How the mask of an entry is read, when it is drawn."""

    def read(self, size_hw: tuple[int, int]) -> Marked:
        """The upright picture's (H, W) -> what is marked. Raises ClipsegError where it does not fit or is broken."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture and one thing that is asked for in it.

    Fields
        picture      its file
        thing        what a support or a negative goes by: the class, or the first wording; "" where nothing is marked
        phrases      wordings, of which one is drawn; none where only an example can ask
        annotation   how the mask is read; None where nothing is marked: a picture that is good for negatives only
        where, line  the file the entry stands in, for messages
        splits       names of the data's own splits that have it
    """

    picture: Path
    thing: str
    phrases: tuple[str, ...]
    annotation: Annotation | None
    where: Path
    line: int | None = None
    splits: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages and sheets call it."""
        place = self.where.name if self.line is None else f"{self.where.name}, line {self.line}"
        return place if self.where == self.picture else f"{place}, {self.picture.name}"


@dataclass
class Listing:
    """What a reader found. `labels` are the names of the classes, where the data has classes."""

    kind: str
    entries: list[Entry] = field(default_factory=list)
    labels: tuple[str, ...] = ()


def spoken(name: str) -> str:
    """A name as files and classes have it -> as people say it: `remote_control` -> "remote control"."""
    return one_line(name.replace("_", " "))


def thing_of(phrase: str) -> str:
    """A phrase -> the thing it is counted under: letter case and spaces make no difference."""
    return one_line(phrase).casefold()


# Splits

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}


def split_named(name: str) -> str:
    """A split as files call it -> as it is called here: "valid" and "val2017" are "val"; others are their own name."""
    plain = name.strip().casefold()
    return _SPLIT_NAMES.get(re.sub(r"[-_]?(19|20)\d\d$", "", plain), plain)


def drawn_share(picture_name: str) -> float:
    """The name of a picture's file -> a number from 0 to 1, always the same: as good as drawn for it at random."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", picture_name).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_held_out(picture_name: str, val_share: float) -> bool:
    """Whether a picture of that file name belongs to "val", where the data has no such split of its own.

    A hash of the name decides, so that a picture stays on its side when others are added, and all its entries with it.
    """
    return drawn_share(picture_name) < val_share


def in_split(entries: Sequence[Entry], split: str | None, val_share: float) -> list[Entry]:
    """Entries and a split -> those that are in it; all for None.

    Without a "val" of its own, the data's entries (those of "test" aside) are parted by `is_held_out` into "train" and
    "val". Raises DataError for a split that there is not.
    """
    if split is None:
        return list(entries)
    asked, own = split_named(split), {name for entry in entries for name in entry.splits}
    if asked in own and ("val" in own or asked != "train"):
        return [entry for entry in entries if asked in entry.splits]
    if asked not in ("train", "val") or "val" in own:
        known = sorted(own) if "val" in own else sorted({*own, "train", "val"})
        raise DataError(f"there is no split {split!r}; known are {', '.join(known)}")
    rest = [entry for entry in entries if entry.splits != ("test",)]
    return [entry for entry in rest if is_held_out(entry.picture.name, val_share) == (asked == "val")]


class ListedData(SampleDataset):
    """Entries of one's own data -> samples.

    An entry gives its picture, its mask and one of its wordings. With probability `negatives` the phrase becomes that
    of another thing of the data set which the picture is not listed with, or one of `absent`, phrases that no picture
    shows, and the mask is empty; pictures on which nothing is marked are entries only then, and always give this. With
    `visual` a sample has a support: another picture of the same thing in which it is seen, None where there is none.

    `categories` keeps the entries of these things alone. `split` and `val_share` are as for `in_split`.

    An entry that turns out to be broken when it is drawn is a problem of `problems`, and the next one is drawn in its
    place. `unmarked` counts the pictures on which nothing is marked. Raises DataError where no entry is left, and
    UsageError for options out of range.
    """

    def __init__(
        self,
        root: Path,
        listing: Listing,
        problems: Problems,
        *,
        split: str | None = None,
        val_share: float = 0.2,
        categories: Iterable[str] | None = None,
        negatives: float = 0.0,
        absent: Sequence[str] = (),
        visual: bool = False,
        seed: int = 0,
    ) -> None:
        check_chance("negatives", negatives)
        check_chance("val_share", val_share)
        if isinstance(absent, str) or isinstance(categories, str):
            raise UsageError("absent and categories are lists of texts; put a single one into brackets")
        self.root, self.kind, self.problems, self.split, self.seed = root, listing.kind, problems, split, seed
        self._negatives, self._visual = negatives, visual
        self._absent = tuple(filter(None, map(one_line, absent)))
        entries = _of_things(in_split(listing.entries, split, val_share), categories, listing.entries)
        self.entries = [entry for entry in entries if entry.thing or negatives]
        self.unmarked = len({entry.picture for entry in entries if not entry.thing})
        if not any(entry.thing for entry in self.entries):
            raise DataError(_nothing(root, listing, problems, split))
        wanted = (
            {entry.thing for entry in self.entries} if categories is not None else set(map(thing_of, listing.labels))
        )
        self.labels = tuple({thing_of(label): label for label in listing.labels if thing_of(label) in wanted}.values())
        self._label_numbers = {thing_of(label): number for number, label in enumerate(self.labels)}
        self._places: dict[str, list[int]] = {}  # thing -> its entries
        self._shown: dict[Path, set[str]] = {}  # picture -> its things
        for index, entry in enumerate(self.entries):
            if entry.thing:
                self._places.setdefault(entry.thing, []).append(index)
                self._shown.setdefault(entry.picture, set()).add(entry.thing)
        self.things = tuple(self._places)
        self._numbers = {thing: number for number, thing in enumerate(self.things)}
        if negatives and len(self.things) < 2 and not self._absent:
            _log.warning("%s shows one thing only, so there are no negatives; name others with absent=[…]", root)

    def __len__(self) -> int:
        return len(self.entries)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An entry and a source of chance -> a sample it can give; see the class for entries that are broken."""
        for step in range(len(self)):
            place = (index + step) % len(self)
            try:
                return self.read(place, rng)
            except ClipsegError as error:
                entry = self.entries[place]
                self.problems.report(entry.where, entry.line, str(error))
        raise DataError(f"{self.root}: none of its {len(self)} entries can be read; see `clipseg data check`")

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """As `draw`, but an entry that is broken is an error: whatever reading its files raises, all ClipsegErrors."""
        entry = self.entries[index]
        picture = np.asarray(to_rgb(entry.picture))
        size_hw = picture.shape[:2]
        asked = self._negative(entry, rng) if entry.annotation is None or rng.random() < self._negatives else None
        if asked is None or entry.annotation is not None:  # of a negative too: what is broken is so in every draw
            marked = self._marked(entry, (size_hw[0], size_hw[1]))
        if asked is None:
            asked = (entry.thing, entry.phrases)
        else:
            marked = Marked(np.zeros(size_hw, np.bool_))
        thing, phrases = asked
        phrase = phrases[int(rng.integers(len(phrases)))] if phrases else None
        support = self._support(thing, entry.picture, rng) if self._visual else None
        if phrase is None and support is None:
            raise DataError("has no phrase, and there is no other picture of the same thing to ask with")
        label = self._label_numbers.get(thing, index) if self.labels else index
        return Sample(picture, marked.mask, phrase, support, marked.ignore, label, entry.name)

    def _marked(self, entry: Entry, size_hw: tuple[int, int]) -> Marked:
        if entry.annotation is None:
            raise DataError("shows nothing that is marked, and every other thing of the data set is one it has")
        return entry.annotation.read(size_hw)

    def _negative(self, entry: Entry, rng: np.random.Generator) -> tuple[str, tuple[str, ...]] | None:
        """-> a thing that an entry's picture is not listed with, and its wordings; None where there is none."""
        own = sorted(self._numbers[thing] for thing in self._shown.get(entry.picture, ()))
        others = len(self.things) - len(own)
        if others + len(self._absent) == 0:
            return None
        number = int(rng.integers(others + len(self._absent)))
        if number >= others:
            return "", (self._absent[number - others],)
        for taken in own:  # the number-th of those that are not taken
            number += number >= taken
        places = self._places[self.things[number]]
        return self.things[number], self.entries[places[int(rng.integers(len(places)))]].phrases

    def _support(self, thing: str, picture: Path, rng: np.random.Generator) -> Support | None:
        """-> another picture of a thing, in which it is seen; None where there is none."""
        places = self._places.get(thing, [])
        if len(places) <= FEW:
            places = [place for place in places if self.entries[place].picture != picture]
        if not places:
            return None
        for place in rng.choice(len(places), min(TRIES, len(places)), replace=False).tolist():
            entry = self.entries[places[place]]
            if entry.picture == picture:
                continue
            try:
                shown = np.asarray(to_rgb(entry.picture))
                mask = self._marked(entry, (shown.shape[0], shown.shape[1])).mask
            except ClipsegError:  # told when its own turn comes
                continue
            if mask.any():
                return Support(shown, mask)
        return None


def _of_things(entries: Sequence[Entry], categories: Iterable[str] | None, every: Sequence[Entry]) -> Sequence[Entry]:
    """Entries and the categories that are wanted -> those of these, and pictures on which nothing is marked."""
    if categories is None:
        return entries
    things = {entry.thing for entry in every if entry.thing}
    wanted = {thing_of(name) if thing_of(name) in things else thing_of(spoken(name)) for name in categories}
    if not wanted or wanted - things:
        unknown = ", ".join(sorted(wanted - things)) or "given"
        raise UsageError(f"there is no category {unknown}; known are {', '.join(sorted(things)[:8])}")
    return [entry for entry in entries if entry.thing in wanted or not entry.thing]


def _nothing(root: Path, listing: Listing, problems: Problems, split: str | None) -> str:
    """-> why a data set has no entries."""
    if problems:
        return f"{root}: nothing usable ({listing.kind}): {len(problems)} problems, the first: {problems[0]}"
    if listing.entries and split is not None:
        return (
            f"{root}: no picture falls into the split {split!r}; add pictures, or change val_share (data.val_share=0.5)"
        )
    return f"{root}: nothing is marked in it ({listing.kind})"
