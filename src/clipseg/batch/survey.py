"""A run in figures: one pass over its parts, column by column, that keeps counts and a few numbers of pictures.

Memory depends on how many labels there are and not on how many pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipseg.batch.columns import OK
from clipseg.batch.packages import arrow
from clipseg.batch.reading import Counts, Run
from clipseg.batch.summary import EDGES, MOST_PROMPTS
from clipseg.data.listed import drawn_share
from clipseg.formats.classes import one_line

BINS = 20  # of probabilities, from 0 to 1
MS_EDGES = tuple(2.0**power for power in range(18))  # milliseconds, up to two minutes
FAILURES = 50  # that are told; all are counted

_COLUMNS = ("id", "width", "height", "prompt", "area", "score", "presence", "status", "error", "ms")

Ranked = list[tuple[float, int]]
"""Something to sort by, and the number of a picture."""


@dataclass
class PromptSurvey:
    """What was found for one label.

    Fields
        label      the label
        asked      pictures that were asked for it
        found      of these, those with a mask that is not empty
        scores     (BINS,) masks that are not empty, by the mean probability inside
        presences  (BINS,) all masks, by their presence
        areas      masks that are not empty, by the part of the picture that they cover, between `summary.EDGES`
        share      the sum of these parts
        surest     the masks with the highest scores, the highest first
        doubtful   the masks with the lowest, the lowest first; they may be among the surest
    """

    label: str
    asked: int = 0
    found: int = 0
    scores: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    presences: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    areas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))
    share: float = 0.0
    surest: Ranked = field(default_factory=list)
    doubtful: Ranked = field(default_factory=list)

    @property
    def mean_share(self) -> float:
        """The part of a picture that a mask covers, on average; 0 where there is none."""
        return self.share / self.found if self.found else 0.0


@dataclass
class Survey:
    """What a run has found.

    Fields
        counts    how many pictures are done, failed and missing
        prompts   a survey for each label, of the first `summary.MOST_PROMPTS`
        kinds     kind of error -> how many pictures
        failures  the ids of the first few, and their errors
        times     pictures by the milliseconds they took, from each of `MS_EDGES` on
        sample    numbers of pictures drawn at random, the same ones each time
    """

    counts: Counts
    prompts: list[PromptSurvey]
    kinds: Counter[str]
    failures: list[tuple[str, str]]
    times: NDArray[np.int64]
    sample: list[int]


def survey(run: Run, *, sample: int = 24, each: int = 6) -> Survey:
    """A run -> its survey, with so many pictures drawn at random, and so many of the surest and least sure masks."""
    prompts = {label: PromptSurvey(label) for label in run.labels[:MOST_PROMPTS]}
    kinds: Counter[str] = Counter()
    failures: list[tuple[str, str]] = []
    times = np.zeros(len(MS_EDGES), np.int64)
    drawn: Ranked = []
    ok = 0
    for part in run.parts:
        table = run.folder.read_part(part, _COLUMNS)
        numbers = np.arange(len(table)) + run.folder.bounds(part)[0] + 1
        done = table.column("status").to_numpy() == OK
        whole, failed = (table.filter(arrow().array(chosen)) for chosen in (done, ~done))
        ok += len(whole)
        for name, error in zip(failed.column("id").to_pylist(), failed.column("error").to_pylist(), strict=True):
            kinds[(error or "unknown").partition(":")[0]] += 1
            if len(failures) < FAILURES:
                failures.append((name, error or ""))
        times += _counted(table.column("ms").to_numpy(), MS_EDGES)
        shares = map(drawn_share, whole.column("id").to_pylist())
        drawn = nsmallest(sample, [*drawn, *zip(shares, numbers[done].tolist(), strict=True)])
        _count(prompts, whole, numbers[done], each)
    counts = Counts(ok, kinds.total(), run.rows - ok - kinds.total())
    return Survey(counts, list(prompts.values()), kinds, failures, times, sorted(number for _, number in drawn))


def _count(prompts: dict[str, PromptSurvey], table: Any, numbers: NDArray[np.int64], each: int) -> None:
    """Rows that were done, and their numbers -> added to what is known of each prompt."""
    compute, table = arrow("compute"), table.combine_chunks()  # so that a parent's index is one of the whole table
    if not len(table):
        return
    names = compute.list_flatten(table.column("prompt")).combine_chunks().dictionary_encode()
    owners = compute.list_parent_indices(table.column("prompt")).to_numpy()
    area, score, presence = (
        compute.list_flatten(table.column(name)).to_numpy() for name in ("area", "score", "presence")
    )
    pixels = table.column("width").to_numpy().astype(np.int64) * table.column("height").to_numpy()
    shares = area / pixels[owners]
    places = names.indices.to_numpy()
    for place, name in enumerate(names.dictionary.to_pylist()):
        prompt = prompts.get(one_line(name))
        if prompt is None:
            continue
        asked = places == place
        found = asked & (area > 0)
        prompt.asked += int(asked.sum())
        prompt.found += int(found.sum())
        prompt.share += float(shares[found].sum())
        prompt.scores += np.histogram(score[found], BINS, (0, 1))[0]
        prompt.presences += np.histogram(presence[asked], BINS, (0, 1))[0]
        prompt.areas += np.histogram(shares[found], EDGES)[0]
        ranked = list(zip(score[found].tolist(), numbers[owners[found]].tolist(), strict=True))
        prompt.surest = nlargest(each, [*prompt.surest, *ranked])
        prompt.doubtful = nsmallest(each, [*prompt.doubtful, *ranked])


def _counted(values: NDArray[np.floating[Any]], edges: Sequence[float]) -> NDArray[np.int64]:
    """Values -> how many lie from each edge to the next; what lies beyond the edges is at their ends."""
    places = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 1)
    return np.bincount(places, minlength=len(edges))
