"""Making parts, which is what every engine has done, wherever it runs: a number of a part -> the part, and a report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clipseg.batch.columns import ERROR, Row, table_of
from clipseg.batch.items import Fetched, Item
from clipseg.batch.rows import SegmentRows, Stopped
from clipseg.batch.run_folder import RunFolder
from clipseg.batch.settings import BatchConfig
from clipseg.batch.storage import storage_of
from clipseg.batch.wording import kept, read_again
from clipseg.checkpoints.files import resolve_weights
from clipseg.checkpoints.hub import find_file, local_folder
from clipseg.errors import ClipsegError, ConfigurationError, OutputError
from clipseg.segmenter import Segmenter

_BESIDE = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json", "merges.txt")
"""Files beside a model's weights that decide what it answers; most models have only some of them."""


@dataclass(frozen=True)
class Loading:
    """How a worker loads the model: what changes nothing of what is asked. Keywords of `Segmenter.from_pretrained`."""

    device: str = "auto"
    compile: bool = False
    local_files_only: bool = False


@dataclass(frozen=True)
class Task:
    """What a worker needs to know, and can be told in plain text.

    Fields
        run       the run's folder or URL
        loading   how it loads the model
        retry     whether it makes parts anew that are there, or only the rows in them that have errors
        min_free  bytes that are to stay free
    """

    run: str
    loading: Loading
    retry: bool = False
    min_free: int = 0

    def to_json(self) -> dict[str, Any]:
        """-> plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Task:
        """What `to_json` gave -> the task."""
        return cls(**{**content, "loading": Loading(**content["loading"])})


class Report(NamedTuple):
    """What came of a part: rows in it, those of them with errors, seconds it took, and bytes of its file."""

    part: int
    rows: int
    errors: int
    seconds: float
    size: int


class PartMaker:
    """A run and its model: makes the parts that it is told to make."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.folder = RunFolder(storage_of(task.run))
        self.manifest = self.folder.manifest()
        self.rows = segment_rows(self.folder, load(self.folder, task.loading), own=self.manifest.has_prompts)

    def __call__(
        self,
        part: int,
        contents: Iterable[Fetched] | None = None,
        *,
        stopped: Stopped = lambda: False,
        moved: Callable[[str | None], None] | None = None,
    ) -> Report:
        """Make a part; `moved` is told after each picture why it failed, or None where it did not.

        Raises StoppedError where it is to stop, and OutputError where there is no room.
        """
        begun = time.monotonic()
        self._check_room()
        items = self.manifest.items(*self.folder.bounds(part))
        rows, todo = self._begun(part, items)
        try:
            for place, row in zip(todo, self.rows.rows([items[n] for n in todo], contents, stopped), strict=True):
                rows[place] = row
                if moved is not None:
                    moved(f"{row['id']}: {row['error']}" if row["status"] == ERROR else None)
        except torch.OutOfMemoryError as error:  # after all smaller batches
            raise ClipsegError("the device has too little memory for one picture; try --device cpu") from error
        size = self.folder.write_part(part, table_of(rows, heatmap=self.folder.description().settings.heatmap))
        errors = sum(row["status"] == ERROR for row in rows)
        return Report(part, len(rows), errors, round(time.monotonic() - begun, 3), size)

    def _begun(self, part: int, items: Sequence[Item]) -> tuple[list[Row], Sequence[int]]:
        """-> the rows of a part that stay as they are, and the places of those that are to be made."""
        if not self.task.retry:
            return [{} for _ in items], range(len(items))
        rows: list[Row] = self.folder.read_part(part).to_pylist()
        return rows, [place for place, row in enumerate(rows) if row["status"] == ERROR]

    def _check_room(self) -> None:
        free = self.folder.storage.free()
        if free is not None and free < self.task.min_free:
            raise OutputError(
                f"{self.folder.path} has {free:,} bytes free, fewer than the {self.task.min_free:,} that are to stay "
                "so; make room, and the same command goes on where this one ended"
            )


def segment_rows(folder: RunFolder, segmenter: Segmenter, *, own: bool) -> SegmentRows:
    """A run and its model -> the callable; `own` keeps the text encoder, for items with prompts of their own."""
    config = folder.description().settings
    names = kept(folder.storage, config.phrases)
    rows = SegmentRows(segmenter, config, read_again(config.prompts, names), read_again(config.negative, names))
    if not own and config.backend == "torch":
        rows.embed()
        segmenter.drop_text_encoder()
    return rows


def load(folder: RunFolder, loading: Loading) -> Segmenter:
    """A run -> its model. Raises ConfigurationError where the weights here are not those that it was begun with."""
    description = folder.description()
    found = weights_sum(description.settings, loading)
    if found != description.weights:
        raise ConfigurationError(
            f"the files of {description.settings.model} here are not those that the run was begun with (SHA-256 "
            f"{found[:12]}…, then {description.weights[:12]}…); use the same model, or begin a run in another folder"
        )
    return load_model(description.settings, loading)


def load_model(config: BatchConfig, loading: Loading) -> Segmenter:
    """A configuration -> its model. Raises as `Segmenter.from_pretrained`."""
    return Segmenter.from_pretrained(config.model, dtype=config.dtype, backend=config.backend, **asdict(loading))


def weights_sum(config: BatchConfig, loading: Loading) -> str:
    """A configuration -> the SHA-256 of the model's files, whatever it is called: weights, sizes, steps, vocabulary.

    Raises CheckpointNotFoundError where it is neither here nor reachable.
    """
    whole = hashlib.sha256()
    for path in _model_files(config, loading):
        status = path.stat()
        whole.update(path.name.encode() + _file_sum(path, status.st_size, status.st_mtime_ns))
    return whole.hexdigest()


def _model_files(config: BatchConfig, loading: Loading) -> list[Path]:
    """-> the files that make a model what it is; of one that was exported all that its folder holds."""
    folder = local_folder(config.model)
    if config.backend != "torch" and folder is not None:
        return sorted(path for path in folder.iterdir() if path.is_file())
    where: dict[str, Any] = {"local_files_only": loading.local_files_only}
    others = (find_file(config.model, name, required=False, **where) for name in _BESIDE)
    return [*resolve_weights(config.model, **where), *(path for path in others if path is not None)]


@cache
def _file_sum(path: Path, _size: int, _changed: int) -> bytes:
    """A file, as it is now -> its SHA-256."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.digest()
