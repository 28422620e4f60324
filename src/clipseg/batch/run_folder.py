"""What a run leaves behind, and finds again.

    OUT/run-<hash12>/run.json                       what it is, the fingerprint spelled out
    OUT/run-<hash12>/manifest.parquet               what it is of
    OUT/run-<hash12>/prompts.safetensors            embeddings of prompts that are no phrases, if there are any
    OUT/run-<hash12>/parts/part-00042-of-01000.parquet
    OUT/run-<hash12>/log.jsonl                      a JSON object a line
    OUT/run-<hash12>/summary.json                   counts, areas, throughput
    OUT/run-<hash12>/_SUCCESS                       written last

A part that has its final name is done: there is no other record of progress, so any process may be killed, and any may
do a part again. `run.json` is written last of what a run begins with; a folder without one is not begun.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clipseg.batch.columns import part_of, read_part
from clipseg.batch.manifest import MANIFEST, Manifest
from clipseg.batch.settings import BatchConfig, differing
from clipseg.batch.storage import Storage, storage_of
from clipseg.errors import ConfigurationError, DataError

RUN_FILE, PARTS, LOG, SUMMARY, SUCCESS = "run.json", "parts", "log.jsonl", "summary.json", "_SUCCESS"
FORMAT = 1
"""Of the files of a run; what has another is refused."""

_FOLDER = re.compile(r"run-[0-9a-f]{12}")
_PART = re.compile(r"part-(\d+)-of-(\d+)\.parquet")
_LOG = re.compile(r"log.*\.jsonl")


@dataclass(frozen=True)
class RunDescription:
    """What `run.json` says.

    Fields
        settings     what it was asked to do
        fingerprint  a hash of all that decides what comes out, and of the manifest
        decided      the same, spelled out: what another run is compared with
        rows         of the manifest
        part_rows    of a part; of the last one perhaps fewer
        created      seconds since 1970
        versions     of what it was begun with
    """

    settings: BatchConfig
    fingerprint: str
    decided: Mapping[str, Any]
    rows: int
    part_rows: int
    created: float
    versions: Mapping[str, str]

    @property
    def parts(self) -> int:
        """-> how many parts there are to be."""
        return -(-self.rows // self.part_rows)

    @property
    def weights(self) -> str:
        """-> the SHA-256 of the model's weights."""
        return str(self.decided["weights"])

    def to_json(self) -> dict[str, Any]:
        """-> what `run.json` holds."""
        return {"format": FORMAT, **vars(self), "settings": self.settings.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], origin: str) -> RunDescription:
        """What a `run.json` holds -> the description. Raises DataError, and ConfigurationError, which name `origin`."""
        if content.get("format") != FORMAT:
            raise DataError(f"{origin} has format {content.get('format')!r}, known is {FORMAT}; update clipseg")
        try:
            values = {name: content[name] for name in cls.__dataclass_fields__}
            return cls(**{**values, "settings": BatchConfig.from_json(values["settings"])})
        except (KeyError, TypeError) as error:
            raise DataError(f"{origin} is damaged ({error}); begin a run in another folder") from error


class RunFolder:
    """The folder of one run: run-<hash12>."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.path = storage.root

    @classmethod
    def find(cls, out: str | os.PathLike[str]) -> RunFolder:
        """A folder that runs were written to, or a run's own -> the run. Raises DataError where there is none."""
        storage = storage_of(out)
        if storage.exists(RUN_FILE):
            return cls(storage)
        found = cls.inside(storage)
        if found is None:
            raise DataError(f"there is no run in {storage.root}; `clipseg batch PICTURES -o {storage.root}` begins one")
        return found

    @classmethod
    def inside(cls, out: Storage) -> RunFolder | None:
        """A folder -> the run that was begun in it; None where none was. Raises DataError for several."""
        names = [name for name in out.names() if _FOLDER.fullmatch(name) and out.exists(f"{name}/{RUN_FILE}")]
        if len(names) > 1:
            raise DataError(f"{out.root} holds the runs {', '.join(names)}; name the folder of one of them")
        return cls(out.below(names[0])) if names else None

    # -- what it is ----------------------------------------------------------------------------------------------

    @cached_property
    def _description(self) -> RunDescription:
        name = self.storage.at(RUN_FILE)
        try:
            content = json.loads(self.storage.read(RUN_FILE))
        except ValueError as error:
            raise DataError(f"{name} is not readable JSON ({error}); begin a run in another folder") from error
        return RunDescription.from_json(content, name)

    def description(self) -> RunDescription:
        """-> what the run is. Raises DataError, and ConfigurationError for one of another version."""
        return self._description

    def claim(self, description: RunDescription) -> None:
        """Write what the folder is of, after all else that a run begins with. Raises OutputError."""
        self._write_json(RUN_FILE, description.to_json())

    def check(self, decided: Mapping[str, Any]) -> None:
        """Raise ConfigurationError, naming the keys, where the folder holds a run that decides otherwise."""
        told = differing(json.loads(json.dumps(decided)), self.description().decided)
        if told:
            shown = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
            raise ConfigurationError(
                f"{self.path} holds a run of other settings, and results are never mixed; differing are {shown}; "
                "give another folder, or the same settings to go on"
            )

    def manifest(self) -> Manifest:
        """-> what the run is of. Raises DataError when it is first read."""
        return Manifest(self.storage, MANIFEST)

    # -- parts ---------------------------------------------------------------------------------------------------

    def part_name(self, number: int) -> str:
        """The number of a part -> its file."""
        return f"{PARTS}/part-{number:05d}-of-{self.description().parts:05d}.parquet"

    def bounds(self, number: int) -> tuple[int, int]:
        """The number of a part -> the number of its first row in the manifest, and that after its last."""
        size = self.description().part_rows
        return number * size, min((number + 1) * size, self.description().rows)

    def done(self) -> set[int]:
        """-> the numbers of the parts that are there."""
        matches = map(_PART.fullmatch, self.storage.names(PARTS))
        return {int(match[1]) for match in matches if match is not None}

    def write_part(self, number: int, table: Any) -> int:
        """A part's table -> its file, whole or not at all, and the bytes of it. Raises OutputError."""
        content = part_of(table)
        self.storage.write(self.part_name(number), content)
        return len(content)

    def read_part(self, number: int, columns: Sequence[str] | None = None) -> Any:
        """The number of a part that is there -> its pyarrow table, or some columns of it. Raises DataError."""
        name = self.part_name(number)
        with self.storage.open(name) as file:
            try:
                return read_part(file, columns)
            except Exception as error:  # pyarrow's own, and OSError for bytes that are no Parquet
                raise DataError(
                    f"{self.storage.at(name)} is damaged ({error}); delete it, and the same command makes it again"
                ) from error

    def each_part(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """-> the tables of the parts that are there, in order, one at a time; see `read_part`."""
        for number in sorted(self.done()):
            yield self.read_part(number, columns)

    # -- the end -------------------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether everything is there, and was checked."""
        return self.storage.exists(SUCCESS)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """A summary -> its file, and the mark that readers wait for. Raises OutputError."""
        self._write_json(SUMMARY, summary)
        self.storage.write(SUCCESS, b"")

    def summary(self) -> dict[str, Any]:
        """-> what `finish` was given. Raises DataError."""
        content: dict[str, Any] = json.loads(self.storage.read(SUMMARY))
        return content

    # -- log -----------------------------------------------------------------------------------------------------

    def write_log(self, event: str, name: str = LOG, **values: Any) -> None:
        """Append one JSON line to the log. Raises OutputError."""
        self.storage.append(name, json.dumps({"time": round(time.time(), 3), "event": event, **values}) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """-> what was logged by all processes, by time; a line that a crash cut short is passed over."""
        lines = [
            line
            for name in self.storage.names()
            if _LOG.fullmatch(name)
            for line in self.storage.read(name).decode("utf-8", "replace").splitlines()
        ]
        return sorted((entry for line in lines if (entry := _entry(line))), key=lambda entry: float(entry["time"]))

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.storage.write(name, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry
