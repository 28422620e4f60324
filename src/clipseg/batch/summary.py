"""The end of a run: every part is read once, checked against the manifest, and counted. Nothing here sees a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipseg.batch.columns import ERROR, PER_PROMPT, check_part
from clipseg.batch.packages import arrow
from clipseg.batch.run_folder import RunFolder
from clipseg.errors import DataError

EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of the histogram of areas, as parts of the picture; what is empty is counted by itself."""

MOST_PROMPTS = 10_000
"""Labels that are counted each for itself; items with prompts of their own may have more."""


@dataclass
class PromptCount:
    """What was found of one label."""

    asked: int = 0
    found: int = 0
    area: int = 0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))

    def to_json(self) -> dict[str, Any]:
        """-> plain values."""
        mean = self.area / self.found if self.found else 0.0
        return {"asked": self.asked, "found": self.found, "area_mean": round(mean, 1)}


class Counts:
    """Parts, one after the other -> what they hold in all."""

    def __init__(self) -> None:
        self.rows = 0
        self.errors: Counter[str] = Counter()
        self.prompts: dict[str, PromptCount] = {}

    def add(self, table: Any) -> None:
        """Count a part's table."""
        compute = arrow("compute")
        self.rows += len(table)
        broken = table.filter(compute.equal(table.column("status"), ERROR))
        self.errors.update(str(told).partition(":")[0] for told in broken.column("error").to_pylist())
        lists = table.column("prompt").combine_chunks()
        if not len(table) or lists.null_count == len(table):
            return
        pixels = compute.cast(table.column("width"), "int64").to_numpy(zero_copy_only=False) * compute.cast(
            table.column("height"), "int64"
        ).to_numpy(zero_copy_only=False)
        sizes = pixels[compute.list_parent_indices(lists).to_numpy(zero_copy_only=False)]
        areas = compute.list_flatten(table.column("area").combine_chunks()).to_numpy(zero_copy_only=False)
        labels = compute.list_flatten(lists).dictionary_encode()
        which = labels.indices.to_numpy(zero_copy_only=False)
        for place, label in enumerate(labels.dictionary.to_pylist()):
            if label in self.prompts or len(self.prompts) < MOST_PROMPTS:
                mine = which == place
                self._count(self.prompts.setdefault(label, PromptCount()), areas[mine], sizes[mine])

    def _count(self, count: PromptCount, areas: NDArray[np.int64], sizes: NDArray[np.float64]) -> None:
        found = areas > 0
        count.asked += len(areas)
        count.found += int(found.sum())
        count.area += int(areas.sum())
        count.histogram += np.histogram(areas[found] / sizes[found], EDGES)[0]

    def to_json(self) -> dict[str, Any]:
        """-> what a summary says of them."""
        errors = sum(self.errors.values())
        return {
            "rows": self.rows,
            "ok": self.rows - errors,
            "errors": errors,
            "error_kinds": dict(self.errors.most_common()),
            "prompts": {label: count.to_json() for label, count in self.prompts.items()},
            "area_histogram": {
                "edges": list(EDGES),
                "counts": {label: count.histogram.tolist() for label, count in self.prompts.items()},
            },
        }


def counted(folder: RunFolder) -> Counts:
    """A run of which all parts are there -> what they hold, checked.

    Raises DataError for a part that is not there or damaged, and for one whose rows are not those of the manifest, each
    with an entry for each prompt or an error.
    """
    description, manifest, counts = folder.description(), folder.manifest(), Counts()
    columns = ["id", "width", "height", *PER_PROMPT, "status", "error"]
    for number in range(description.parts):
        table = folder.read_part(number, columns)
        try:
            check_part(table, manifest.table(*folder.bounds(number)).column("id").to_pylist())
        except DataError as error:
            name = folder.storage.at(folder.part_name(number))
            raise DataError(f"{name}: {error}; delete it, and the same command makes it again") from error
        counts.add(table)
    return counts


def throughput(folder: RunFolder) -> dict[str, float]:
    """-> the seconds that were worked on a run, by its log, and pictures a second."""
    parts = [entry for entry in folder.entries() if entry["event"] == "part"]
    seconds = _covered((float(entry["time"]) - float(entry["seconds"]), float(entry["time"])) for entry in parts)
    rows = sum(int(entry["rows"]) for entry in parts)
    return {"seconds": round(seconds, 3), "pictures_per_second": round(rows / seconds, 3) if seconds else 0.0}


def summary_of(folder: RunFolder, counts: Counts) -> Mapping[str, Any]:
    """A run and what its parts hold -> what its summary says."""
    return {**counts.to_json(), **throughput(folder), "fingerprint": folder.description().fingerprint}


def _covered(spans: Any) -> float:
    """Spans of time -> how long any of them lasted: what several processes did at once counts once."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
