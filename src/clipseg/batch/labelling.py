"""A folder of pictures and a list of classes -> a data set with a split, to be looked through and trained on.

    label("photos", read_classes("classes.txt"), "labelled", to="yolo", model="nano")

It is a batch run and what is made of it, so it goes on where it was ended, and its report shows what was found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipseg.batch.choosing import Choice
from clipseg.batch.finalizing import Finalized, finalize
from clipseg.batch.running import Outcome, run
from clipseg.batch.storage import is_url
from clipseg.errors import DataError, PromptError, UsageError
from clipseg.formats.classes import Classes
from clipseg.formats.files import read_text
from clipseg.prompting.expressions import Expression, Term
from clipseg.prompting.prompts import TextPrompt, parse

LABEL_CHOICE = Choice(min_presence=0.5, instances=True)
"""What becomes a label unless said otherwise: connected parts of what the model is rather sure to see at all."""


@dataclass(frozen=True)
class Labelled:
    """What labelling came to: the run, and the data set, which is None where the run was stopped."""

    outcome: Outcome
    data: Finalized | None


def label(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    classes: Sequence[Term],
    out: str | os.PathLike[str],
    *,
    to: str = "coco",
    val_share: float = 0.2,
    choice: Choice = LABEL_CHOICE,
    pictures: str = "link",
    segmentation: str = "polygons",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    **settings: Any,
) -> Labelled:
    """Pictures, and a prompt for each class, labelled with its name -> a data set in `out`/`to`, and the run beside it.

    `to`, `val_share`, `choice`, `pictures` and `segmentation` are those of `finalize`, which can be called again with
    others; all else is as for `batch.run`. Raises as those two.
    """
    if is_url(out):
        raise UsageError(f"{out} is not on this machine, and labels belong beside their pictures; name a folder here")
    outcome = run(source, classes, out, **settings)
    if not outcome.finished:
        return Labelled(outcome, None)
    data = finalize(
        outcome.folder.path,
        to,
        Path(out) / to,
        choice=choice,
        val_share=val_share,
        pictures=pictures,
        segmentation=segmentation,
        workers=settings.get("workers") or 1,
        progress=progress,
    )
    return Labelled(outcome, data)


def read_classes(path: str | os.PathLike[str]) -> list[Term]:
    """A file of classes -> a prompt for each, its label the name of the class.

        cup
        # what follows a colon is looked for, a phrase or an expression
        glass: a drinking glass AND NOT window

    A name alone is the phrase. Empty lines and lines that begin with # are passed over. Raises DataError, which names
    the line, for a file without classes, a name that comes twice and what cannot be read.
    """
    classes: list[Term] = []
    names = Classes()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, text = (part.strip() for part in line.partition(":"))
        try:
            prompt = _named(parse(text), name) if colon else TextPrompt(name)
        except PromptError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        known = len(names.names)
        if not name or names.number(name) < known:
            raise DataError(
                f"{path}, line {number}: expected NAME or NAME: PROMPT, each name once; got {line.strip()!r}"
            )
        classes.append(prompt)
    if not classes:
        raise DataError(f"{path} names no classes; write one on each line")
    return classes


def _named(term: Term, name: str) -> Term:
    """What was read from a text -> the same under that name."""
    return replace(term, label=name) if isinstance(term, (TextPrompt, Expression)) else term
