"""The data sets by name, for recipes and the command line: what each is, where its class lives, what it takes."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clipseg.data.sample import SampleDataset
from clipseg.errors import UsageError


@dataclass(frozen=True)
class Row:
    """A kind of data set: the module and name of what opens it, what it is, and whether it has a folder."""

    module: str
    name: str
    about: str
    has_root: bool = True


DATASETS: Mapping[str, Row] = {
    "phrasecut": Row("clipseg.data.phrasecut", "PhraseCut", "phrases in pictures of Visual Genome"),
    "pascal5i": Row("clipseg.data.pascal", "Pascal5i", "one-shot folds of Pascal VOC"),
    "voc-zero-shot": Row("clipseg.data.pascal", "VOCZeroShot", "classes of Pascal VOC, some never trained on"),
    "coco20i": Row("clipseg.data.coco20i", "COCO20i", "one-shot folds of COCO"),
    "lvis": Row("clipseg.data.lvis", "LVISPrompts", "affordances, attributes and parts in LVIS"),
    "own": Row("clipseg.data.own", "open_data", "your own pictures and masks, in any of the formats of docs/data.md"),
    "scenes": Row("clipseg.data.scene_samples", "SceneSamples", "synthetic scenes, drawn as they are asked for", False),
}
"""Kind -> its row."""


def opener(kind: str) -> Callable[..., SampleDataset]:
    """A key of DATASETS -> the class, or function, that opens such a data set. Raises UsageError for another name."""
    if kind not in DATASETS:
        raise UsageError(f"unknown kind of data set {kind!r}; {_hint(kind, DATASETS)}")
    row = DATASETS[kind]
    found: Callable[..., SampleDataset] = getattr(importlib.import_module(row.module), row.name)
    return found


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raise UsageError for a kind that is not known, or an option that its class does not take."""
    parameters = inspect.signature(opener(kind)).parameters
    known = {name: None for name in parameters if name != "root"}
    for name in options:
        if name not in known:
            raise UsageError(f"unknown option {name!r} of {kind} data; {_hint(name, known)}")


def open_dataset(kind: str, root: str, options: Mapping[str, Any]) -> SampleDataset:
    """A kind, its folder and options -> the data set. Raises UsageError for what it does not take, and DataError."""
    check_options(kind, options)
    if not DATASETS[kind].has_root:
        return opener(kind)(**options)
    if not root:
        raise UsageError(f"{kind} data lie in a folder, and none is given; name it with data=DIR")
    return opener(kind)(root, **options)


def _hint(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
