"""A run -> a data set that other tools read: from its parts alone, as often as one likes, whole or not at all.

finalize("out", to="coco")                                          # out/run-…/coco/annotations/instances.json
finalize("out", to="yolo", val_share=0.2, pictures="link", choice=Choice(min_presence=0.5))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipseg.batch.choosing import Choice, Split
from clipseg.batch.data_sets import PICTURES, WRITERS, Question, Writing
from clipseg.batch.reading import Run
from clipseg.batch.whole_folder import whole_folder
from clipseg.checkpoints.files import write_json
from clipseg.errors import DataError, UsageError
from clipseg.formats.coco import SEGMENTATIONS

RECORD = "finalized.json"
"""What a finished data set says of itself; only a folder that has it is replaced."""


@dataclass(frozen=True)
class Finalized:
    """A data set that was written.

    Fields
        folder       where
        to           its format
        pictures     split -> pictures in it; without a split the one name is empty
        annotations  label -> how often it was found
        failed       pictures that the run could not read
        missing      pictures that the run has not come to
        lost         pictures that were to come along and are not there any more
    """

    folder: Path
    to: str
    pictures: Mapping[str, int]
    annotations: Mapping[str, int]
    failed: int
    missing: int
    lost: int

    def to_dict(self) -> dict[str, Any]:
        """-> the same, ready for JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def finalize(
    out: str | os.PathLike[str],
    to: str = "coco",
    folder: str | os.PathLike[str] | None = None,
    *,
    choice: Choice | None = None,
    val_share: float = 0.0,
    pictures: str = "none",
    segmentation: str = "rle",
    partial: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Finalized:
    """A batch run -> its data set in a format of `data_sets.WRITERS`, in `folder` or beside the run's parts.

    choice        which masks are annotations; None: all that are not empty
    val_share     part of the pictures that is held out as "val"; at 0 there is no split
    pictures      "none" reads nothing but the parts; "link" and "copy" bring the pictures along, too
    segmentation  "rle", "plain" or "polygons", of COCO and WebDataset
    partial       take what is there of a run that is not finished
    workers       processes that trace and encode masks; what they make is the same however many there are

    The folder appears when all of it is there, and replaces an earlier one. The same parts give the same files.
    Raises UsageError for a name or number that is not known, DataError for a run that is not finished, and OutputError.
    """
    for name, value, known in (("to", to, WRITERS), ("pictures", pictures, PICTURES),
                               ("segmentation", segmentation, SEGMENTATIONS)):  # fmt: skip
        if value not in known:
            raise UsageError(f"{name} is {value!r}; known are {', '.join(known)}")
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected at least 1")
    run = Run(out)
    counts = run.counts()
    if not (run.finished or partial):
        raise DataError(
            f"{run.folder.path} is not finished: {counts.missing} of {run.rows} pictures are missing; run the same "
            "command again to go on, or take what is there with --partial"
        )
    target = Path(folder) if folder is not None else _beside(run, to)
    with whole_folder(target, RECORD) as part:
        done = (picture.id for picture in run.pictures(masks=False) if picture.error is None)
        question = Question(run.labels, choice or Choice(), segmentation)
        writing = Writing(run, part, question, Split(val_share, done), pictures, workers, progress)
        WRITERS[to](writing)
        written = {split: writing.written[split] for split in writing.split.names}
        found = {label: writing.annotations[label] for label in run.labels}
        made = Finalized(target, to, written, found, counts.errors, counts.missing, len(writing.lost))
        about = {"run": run.description.fingerprint, "choice": asdict(question.choice), "val_share": val_share}
        write_json(part / RECORD, {**made.to_dict(), **about, "folder": target.name})
    return made


def _beside(run: Run, to: str) -> Path:
    """Where a run's data set is, unless said otherwise. Raises UsageError for a run that is not on this machine."""
    folder = run.folder.storage.folder
    if folder is None:
        raise UsageError(f"{run.folder.path} is not on this machine; say with -o where the data set is to be")
    return folder / to
