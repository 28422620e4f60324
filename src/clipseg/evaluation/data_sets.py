"""Which data set lies in a folder, and how a task asks of it: what the published protocols set for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipseg.data.sample import SampleDataset
from clipseg.data.table import open_dataset
from clipseg.errors import DataError, UsageError
from clipseg.evaluation.options import EvaluationOptions, options_for


@dataclass(frozen=True)
class Protocol:
    """How one kind of data set is evaluated.

    Fields
        marks     files or folders of which one tells that a folder is of this kind
        tasks     those it can be asked
        options   of the data set, unless others are given
        examples  those that give every sample an example
        authors   those that differ by the authors' protocol where examples ask
        paper     options of the evaluation that the authors' protocol sets here, beside those of the task
        stream    added to the seed, where drawn data would otherwise be what training drew
    """

    marks: tuple[str, ...]
    tasks: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)
    authors: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    stream: int = 0


PROTOCOLS: Mapping[str, Protocol] = {
    "phrasecut": Protocol(
        ("image_data_split3000.json", "refer_test.json", "refer_val.json", "refer_miniv.json"),
        ("referring", "one-shot"),
        {"split": "test"},
        {"visual": True, "only_visual": True, "support_may_be_query": False},
        {"support_may_be_query": True},
    ),
    "pascal5i": Protocol(("SegmentationClassAug",), ("one-shot",), paper={"geometry": "placed"}),
    "coco20i": Protocol(("splits/coco",), ("one-shot",), paper={"threshold": 0.1}),
    "voc-zero-shot": Protocol(("SegmentationClass",), ("zero-shot",)),
    "lvis": Protocol(("lvis_v1_val.json", "annotations/lvis_v1_val.json", "category_info.json"), ("generalised",)),
    "scenes": Protocol((), ("referring", "one-shot"), examples={"visual": True}, stream=9_300_000),
    "own": Protocol((), ("referring", "one-shot", "generalised"), {}, {"visual": True}),
}
"""Key of `data.table.DATASETS` -> its protocol; the first whose marks are there is what a folder is taken for."""


def kind_of(root: str | Path, task: str) -> str:
    """A folder and a task -> the key of PROTOCOLS that it looks like, "own" if none. Raises DataError for no folder."""
    place = Path(root).expanduser()
    if not place.exists():
        raise DataError(f"there is no folder {place}; name the one that holds the data set")
    for kind, protocol in PROTOCOLS.items():
        if task in protocol.tasks and any((place / mark).exists() for mark in protocol.marks):
            return kind
    return "own"


def opened_data(
    kind: str, root: str, task: str, options: EvaluationOptions, *, seed: int = 0, **given: Any
) -> SampleDataset:
    """A kind, its folder, a task and how it is asked -> the data set; options `given` go to it, None for its own.

    Raises UsageError for a kind that the task does not ask of and options that it does not take, and DataError.
    """
    protocol = PROTOCOLS[kind]
    if task not in protocol.tasks:
        able = ", ".join(name for name, row in PROTOCOLS.items() if task in row.tasks)
        raise UsageError(f"{kind} data have no answers for --task {task}; {able} have")
    chosen = {**protocol.options, "seed": protocol.stream + seed}
    if options.prompt == "example":
        chosen.update(protocol.examples)
        chosen.update(protocol.authors if options.paper else {})
    return open_dataset(kind, root, chosen | {name: value for name, value in given.items() if value is not None})


def options_of(kind: str, task: str, *, paper: bool = False, **given: Any) -> EvaluationOptions:
    """As `options_for`, with what the authors' protocol sets for a kind of data set."""
    chosen = {name: value for name, value in given.items() if value is not None}
    return options_for(task, paper=paper, **{**(PROTOCOLS[kind].paper if paper else {}), **chosen})
