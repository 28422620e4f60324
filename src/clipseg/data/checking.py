"""What is in a data set, and what is wrong with it: every picture and mask opened, counted and looked at once.

Shape letters: H, W a picture's size.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from clipseg.data.listed import ListedData, thing_of
from clipseg.data.problems import Problem, Problems
from clipseg.data.sample import Sample, SampleDataset
from clipseg.errors import ClipsegError, DataError, UsageError
from clipseg.masks.draw import contact_sheet, paint_masks

CONTEXT = 77  # tokens of CLIP's text tower, its first and last included
SHARES = (0.001, 0.01, 0.05, 0.2, 0.5)  # of a picture; where the histogram of masks is cut
TINY = 16**2 / 352**2  # a patch of the model's, as a share of its input
NAMED = 8  # phrases and files that a report names of each kind
CELL_HW = (180, 240)  # pixels
COLUMNS = 4
PREVIEWS = 24

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class DataReport:
    """What was found in a data set.

    Fields
        kind, root, split  what was opened
        samples            entries; `checked` of them were read, and `broken` of these could not be
        pictures           files they are asked of; None where the data set does not tell
        unmarked           further pictures, on which nothing is marked: good for negatives
        empty              samples in which nothing is marked, by name
        sides              least, median and greatest width and height of pictures
        shares             how much of its picture a mask covers: what is counted -> masks, the empty ones first
        phrases            wording -> samples, the most frequent first
        cut_off            wordings of more tokens than a model's text tower takes
        spellings          wordings that differ by letter case or spaces alone
        repeated           what a picture is asked more than once, as "picture: phrase"
        same_pictures      files that hold the same pixels
        problems           entries that cannot be used
        hints              sentences on what else may spoil training
    """

    kind: str
    root: str
    split: str | None
    samples: int
    checked: int
    broken: int
    pictures: int | None
    unmarked: int
    empty: tuple[str, ...]
    sides: dict[str, tuple[int, float, int]]
    shares: dict[str, int]
    phrases: dict[str, int]
    cut_off: tuple[str, ...]
    spellings: tuple[tuple[str, ...], ...]
    repeated: tuple[str, ...]
    same_pictures: tuple[tuple[str, ...], ...]
    problems: tuple[Problem, ...]
    hints: tuple[str, ...]

    def to_dict(self, most: int = 20) -> dict[str, Any]:
        """-> plain values for JSON; of long lists a count, and the first `most`."""
        record: dict[str, Any] = {}
        for name, value in asdict(self).items():
            record[name] = value
            if name == "phrases":
                record[name] = {"count": len(value), "most": dict(list(value.items())[:most])}
            elif name == "problems":
                record[name] = {"count": len(value), "first": [str(problem) for problem in self.problems[:most]]}
            elif isinstance(value, tuple) and name != "hints":
                record[name] = {"count": len(value), "first": list(value[:most])}
        return record

    def table(self) -> list[tuple[str, str]]:
        """-> rows of what and how much, for a person to read."""
        width, height = self.sides["width"], self.sides["height"]
        frequent = ", ".join(f"{phrase} ({count})" for phrase, count in list(self.phrases.items())[:NAMED])
        rows = [
            ("format", self.kind),
            ("samples", f"{self.samples}" + ("" if self.checked == self.samples else f", {self.checked} of them read")),
            ("pictures", "not known" if self.pictures is None else str(self.pictures)),
            *([("with nothing marked", str(self.unmarked))] if self.unmarked else []),
            ("problems", str(len(self.problems))),
            ("width", f"{width[0]} to {width[2]}, median {width[1]:g}"),
            ("height", f"{height[0]} to {height[2]}, median {height[1]:g}"),
            *((f"masks {name}", str(count)) for name, count in self.shares.items()),
            ("phrases", f"{len(self.phrases)} different: {frequent}{', …' if len(self.phrases) > NAMED else ''}"),
            ("longest phrase", max(self.phrases, key=len, default="none")),
        ]
        lists = (
            ("empty masks", self.empty),
            ("cut off", self.cut_off),
            ("spelled differently", [" / ".join(group) for group in self.spellings]),
            ("asked twice", self.repeated),
            ("same picture", [" = ".join(group) for group in self.same_pictures]),
        )
        for name, found in lists:
            if found:
                rows.append((name, f"{len(found)}: {'; '.join(found[:NAMED])}{'; …' if len(found) > NAMED else ''}"))
        return [*rows, *(("hint", hint) for hint in self.hints)]


def check_data(
    data: SampleDataset,
    *,
    limit: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """A data set -> what is in it. Every entry is read, or `limit` of them, spread evenly over all.

    `count_tokens` tells how long a phrase is for a model, its first and last token included; without it none is told
    to be cut off. Entries that cannot be read are added to the data set's problems. Raises DataError where none can.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is a number of samples from 1 on; got {limit}")
    indices = _spread(len(data), limit)
    problems = getattr(data, "problems", None)
    problems = problems if isinstance(problems, Problems) else Problems()
    seen = _Seen()
    for done, index in enumerate(indices, 1):
        try:
            sample = _read(data, index)
        except ClipsegError as error:
            _report(data, index, problems, error)
        else:
            seen.add(sample, data.entries[index].picture if isinstance(data, ListedData) else None)
        if progress is not None:
            progress(done, len(indices))
    if not seen.names:
        raise DataError(
            f"none of {len(indices)} samples can be read; the first problem: {(problems or ['unknown'])[0]}"
        )
    phrases = _phrases(data, seen)
    return DataReport(
        kind=getattr(data, "kind", type(data).__name__),
        root=str(getattr(data, "root", "")),
        split=getattr(data, "split", None),
        samples=len(data),
        checked=len(indices),
        broken=len(indices) - len(seen.names),
        pictures=len({entry.picture for entry in data.entries if entry.thing})
        if isinstance(data, ListedData)
        else None,
        unmarked=data.unmarked if isinstance(data, ListedData) else 0,
        empty=tuple(name for name, share in zip(seen.names, seen.shares, strict=True) if share == 0),
        sides={"width": _range(seen.widths), "height": _range(seen.heights)},
        shares=_histogram(seen.shares),
        phrases=phrases,
        cut_off=tuple(phrase for phrase in phrases if count_tokens is not None and count_tokens(phrase) > CONTEXT),
        spellings=_spellings(phrases),
        repeated=_repeated(data),
        same_pictures=tuple(tuple(map(str, sorted(paths))) for paths in seen.pictures.values() if len(paths) > 1),
        problems=tuple(problems),
        hints=tuple(_hints(data, seen)),
    )


def preview_sheet(data: SampleDataset, count: int = PREVIEWS) -> Image.Image:
    """A data set -> a sheet of up to `count` samples, masks and what is ignored in colour, phrases above.

    Things take turns, so that each is seen before one is seen twice. Raises DataError where no sample can be read.
    """
    cells: list[Image.Image] = []
    titles: list[str] = []
    for index in _turns(data):
        if len(cells) == count:
            break
        try:
            sample = _read(data, index)
        except ClipsegError:  # `check_data` tells
            continue
        cells.append(_cell(sample))
        titles.append(f"{sample.phrase or 'no phrase'}{'' if sample.mask.any() else ' (nothing)'}")
    if not cells:
        raise DataError("no sample can be read, so there is nothing to show")
    return contact_sheet(cells, COLUMNS, titles, CELL_HW, text_height=13)


class _Seen:
    """What is kept of the samples that were read."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.asked: Counter[str] = Counter()
        self.widths: list[int] = []
        self.heights: list[int] = []
        self.shares: list[float] = []
        self.pictures: dict[bytes, set[Path]] = defaultdict(set)
        self._hashed: set[Path] = set()

    def add(self, sample: Sample, path: Path | None) -> None:
        height, width = sample.mask.shape
        self.names.append(sample.name)
        self.shares.append(float(sample.mask.mean()))
        if sample.phrase is not None:
            self.asked[sample.phrase] += 1
        if path in self._hashed:
            return
        self.widths.append(width)
        self.heights.append(height)
        if path is not None:
            self._hashed.add(path)
            pixels = np.ascontiguousarray(sample.picture)
            digest = hashlib.blake2b(f"{pixels.shape}".encode(), digest_size=16)
            digest.update(pixels.data)
            self.pictures[digest.digest()].add(path)


def _read(data: SampleDataset, index: int) -> Sample:
    if isinstance(data, ListedData):  # its draw would give another in place of a broken one
        return data.read(index, np.random.default_rng([data.seed, index]))
    return data[index]


def _report(data: SampleDataset, index: int, problems: Problems, error: ClipsegError) -> None:
    if isinstance(data, ListedData):
        entry = data.entries[index]
        problems.report(entry.where, entry.line, str(error))
    else:
        problems.report(Path(f"sample {index}"), None, str(error))


def _spread(length: int, limit: int | None) -> list[int]:
    count = length if limit is None else min(limit, length)
    return [index * length // count for index in range(count)]


def _turns(data: SampleDataset) -> Iterator[int]:
    """-> indices, things taking turns; evenly spread where things are not known."""
    if not isinstance(data, ListedData):
        yield from _spread(len(data), 4 * PREVIEWS)
        return
    places: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(data.entries):
        places[entry.thing].append(index)
    for turn in range(max(map(len, places.values()))):
        yield from (found[turn] for found in places.values() if turn < len(found))


def _cell(sample: Sample) -> Image.Image:
    """A sample -> its picture, small, with what is marked in the first colour and what is ignored in the second."""
    height, width = sample.mask.shape
    scale = min(CELL_HW[0] / height, CELL_HW[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    masks = [mask for mask in (sample.mask, sample.ignore) if mask is not None]
    small = [np.asarray(Image.fromarray(mask).convert("L").resize(size, Image.Resampling.BOX)) > 0 for mask in masks]
    return paint_masks(Image.fromarray(sample.picture).resize(size, Image.Resampling.BILINEAR), small, 0.45)


def _range(values: Sequence[int]) -> tuple[int, float, int]:
    return min(values), median(values), max(values)


def _histogram(shares: Sequence[float]) -> dict[str, int]:
    """Shares of pictures -> how many masks are empty, below the first bound, between it and the next, and so on."""
    percent = [f"{100 * bound:g}" for bound in SHARES]
    names = [f"below {percent[0]} %", *(f"{a} to {b} %" for a, b in pairwise(percent))]
    found = dict.fromkeys(["empty", *names, f"above {percent[-1]} %"], 0)
    for share in shares:
        place = 0 if share == 0 else 1 + int(np.searchsorted(SHARES, share, side="right"))
        found[list(found)[place]] += 1
    return found


def _phrases(data: SampleDataset, seen: _Seen) -> dict[str, int]:
    if isinstance(data, ListedData):
        return dict(Counter(phrase for entry in data.entries for phrase in entry.phrases).most_common())
    return dict(seen.asked.most_common())


def _spellings(phrases: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = defaultdict(list)
    for phrase in phrases:
        groups[thing_of(phrase)].append(phrase)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _repeated(data: SampleDataset) -> tuple[str, ...]:
    if not isinstance(data, ListedData):
        return ()
    asked = Counter((entry.picture, entry.thing) for entry in data.entries if entry.thing)
    return tuple(f"{picture}: {thing}" for (picture, thing), count in asked.items() if count > 1)


def _hints(data: SampleDataset, seen: _Seen) -> Iterator[str]:
    """-> what may spoil training though nothing of it is broken."""
    read = len(seen.shares)
    marked = [share for share in seen.shares if share > 0]
    if not marked:
        yield "nothing is marked anywhere; are the masks black?"
    if (full := sum(share > 0.999 for share in marked)) > max(1, len(marked) // 10):
        yield f"{full} masks cover their whole picture; are they inverted, or no masks?"
    if (tiny := sum(share < TINY for share in marked)) > read // 3:
        yield f"{tiny} masks are smaller than a patch of the model; crop or tile the pictures"
    if not isinstance(data, ListedData):
        return
    counts = Counter(entry.thing for entry in data.entries if entry.thing)
    (first, most), total = counts.most_common(1)[0], sum(counts.values())
    if len(counts) == 1:
        yield "there is one thing only: name others as absent=[…], or the model learns to mark it whatever is asked"
    elif most > 10 * total / len(counts):
        yield f"{first!r} is asked in {most} of {total} samples, more than ten times the mean of {len(counts)} things"
    if 1 < len(counts) < total and (single := sum(count == 1 for count in counts.values())):
        yield f"{single} of {len(counts)} things are in one sample only, so there is no other picture to show them by"
    splits: dict[Path, set[str]] = defaultdict(set)
    for entry in data.entries:
        splits[entry.picture].update(entry.splits)
    for paths in seen.pictures.values():
        sides = {name for path in paths for name in splits[path] if name in ("train", "val", "test")}
        if len(sides) > 1:
            yield f"{min(paths)} is in {' and '.join(sorted(sides))}, so scores there are too good"
            break
