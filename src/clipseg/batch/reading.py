"""A batch run, read back: its pictures one by one in the order of the manifest, and what was found in each.

    run = Run("out")
    for picture in run.pictures():
        for found in picture.found:
            found.label, found.score, found.mask()

Whatever is there is read, of a run that is not finished as well; no more than one part is in memory. H W a picture's
size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipseg.batch.columns import HEATMAP, OK, PER_PROMPT
from clipseg.batch.items import open_item
from clipseg.batch.manifest import Manifest
from clipseg.batch.packages import arrow
from clipseg.batch.run_folder import RunFolder
from clipseg.formats.classes import Classes
from clipseg.masks.rle import Rle, decode

_PLAIN = ("id", "uri", "width", "height", "status", "error", "ms")


@dataclass(frozen=True, slots=True)
class Found:
    """What one prompt found in one picture.

    Fields
        label      the prompt's
        prompt_id  a hash of what the prompt was made of
        counts     COCO's compressed run lengths
        area       pixels
        bbox_xywh  COCO's box: x, y, width, height; zeros for an empty mask
        score      the mean probability inside, 0 for an empty mask
        presence   how sure the model is that the label is in the picture at all, 0 to 1: `Masks.scores`
        size_hw    the picture's height and width
        heatmap    PNG of the map at low resolution, where the run kept it
    """

    label: str
    prompt_id: str
    counts: str
    area: int
    bbox_xywh: tuple[float, float, float, float]
    score: float
    presence: float
    size_hw: tuple[int, int]
    heatmap: bytes | None = None

    @property
    def rle(self) -> Rle:
        """COCO's run lengths, ready for JSON."""
        return {"size": list(self.size_hw), "counts": self.counts}

    def mask(self) -> NDArray[np.bool_]:
        """-> (H, W) bool. Raises DataError for run lengths that are broken."""
        return decode(self.rle)


@dataclass(frozen=True, slots=True)
class Picture:
    """A row of a run: one picture, and what was found in it; nothing where `error` says why.

    Fields
        number   its place in the manifest, from 1
        id       its name in the manifest
        uri      where it is
        size_hw  height and width, upright; None where it could not be read
        found    one for each prompt, in the order of the prompts
        error    the kind of error and its message; None for a picture that was done
        ms       milliseconds that it took
    """

    number: int
    id: str
    uri: str
    size_hw: tuple[int, int] | None
    found: tuple[Found, ...]
    error: str | None
    ms: float


class Counts(NamedTuple):
    """How many pictures are done, have failed, and are not in any part yet."""

    ok: int
    errors: int
    missing: int


class Run:
    """A run in a folder or at a URL: OUT itself, or the `run-…` in it. Raises DataError where there is none.

    What is read are the parts that are there now, also where more of them come while it is read.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.folder = RunFolder.find(out)
        self.description = self.folder.description()
        self.parts = tuple(sorted(self.folder.done()))

    @property
    def rows(self) -> int:
        """How many pictures the manifest has."""
        return self.description.rows

    @property
    def finished(self) -> bool:
        """Whether every part is there and was checked."""
        return self.folder.finished()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of all prompts: those of the run, then those that pictures have of their own, as they come.

        Written on one line each, as data sets name classes; labels that are one then are one class.
        """
        classes, compute = Classes(), arrow("compute")
        for label in self.description.settings.labels:
            classes.number(label)
        for table in self.tables(["prompt"]) if self._manifest.has_prompts else ():
            for label in compute.unique(compute.list_flatten(table.column("prompt"))).to_pylist():
                classes.number(label)
        return classes.names

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        """-> some columns of the parts, as pyarrow has them, in order, one part at a time."""
        return (self.folder.read_part(part, columns) for part in self.parts)

    def counts(self) -> Counts:
        """-> how far the run is."""
        compute, ok, errors = arrow("compute"), 0, 0
        for table in self.tables(["status"]):
            done = compute.sum(compute.equal(table.column("status"), OK)).as_py() or 0
            ok += done
            errors += table.num_rows - done
        return Counts(ok, errors, self.rows - ok - errors)

    def pictures(self, *, masks: bool = True, heatmaps: bool = False) -> Iterator[Picture]:
        """-> the pictures that are in the parts, in the order of the manifest.

        Without `masks` nothing is read of what was found, which is quicker; `heatmaps` reads these as well, where the
        run kept them.
        """
        lists = [*PER_PROMPT, *[HEATMAP] * (heatmaps and self.description.settings.heatmap)] if masks else []
        for part in self.parts:
            rows = self.folder.read_part(part, [*_PLAIN, *lists]).to_pylist()
            for number, row in enumerate(rows, self.folder.bounds(part)[0] + 1):
                yield _picture(number, row, lists)

    def some(self, numbers: Iterable[int]) -> Iterator[Picture]:
        """Places in the manifest, from 1 -> those pictures, in its order; each part is read once."""
        size = self.description.part_rows
        for part, places in groupby(sorted(set(numbers)), lambda number: (number - 1) // size):
            table = self.folder.read_part(part, [*_PLAIN, *PER_PROMPT])
            for number in places:
                (row,) = table.slice((number - 1) % size, 1).to_pylist()
                yield _picture(number, row, PER_PROMPT)

    def ids(self) -> Iterator[str]:
        """-> the ids of the same pictures, in the same order."""
        for table in self.tables(["id"]):
            yield from table.column("id").to_pylist()

    def content(self, picture: Picture) -> bytes:
        """A picture -> the bytes of its file, from where it was when the run began. Raises PictureError."""
        (item,) = self._manifest.items(picture.number - 1, picture.number)
        return open_item(item.uri, item.offset, item.size)

    @cached_property
    def _manifest(self) -> Manifest:
        return self.folder.manifest()


def _picture(number: int, row: dict[str, Any], lists: Sequence[str]) -> Picture:
    """A row of a part -> the picture."""
    if row["status"] != OK:
        return Picture(number, row["id"], row["uri"], None, (), row["error"] or "", row["ms"])
    size_hw = (row["height"], row["width"])
    found = (
        Found(label, prompt_id, counts, area, (box[0], box[1], box[2], box[3]), score, presence, size_hw, *heatmap)
        for label, prompt_id, counts, area, box, score, presence, *heatmap in zip(
            *(row[name] for name in lists), strict=True
        )
    )
    return Picture(number, row["id"], row["uri"], size_hw, tuple(found), None, row["ms"])
