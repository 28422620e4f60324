"""How a data set is asked and scored: the tasks of the paper, and the options they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from clipseg.errors import UsageError
from clipseg.prompting.styles import DEFAULT_STYLE, VisualStyle, style_named
from clipseg.prompting.templates import Templates, templates_named

PROMPTS = ("text", "example")
GEOMETRIES = ("own", "squash", "placed")


@dataclass(frozen=True)
class EvaluationOptions:
    """How it is asked and scored. Raises UsageError or PromptError for a value that is not known.

    Fields
        paper       metrics as the authors compute them, with +1 in every denominator; else textbook definitions
        prompt      "text": the phrase of a sample; "example": its support, a picture with a mask
        style       how examples are shown; a name of `styles.STYLES` or a style
        templates   what phrases are put into; a name of `templates.TEMPLATES`, or sentences with {}
        threshold   of the probability, for figures that need one; curves and best values have all of them
        geometry    "own": pictures through the model's own processor, masks scored at the picture's size; "squash": as
                    the authors do it, resized without antialiasing to the model's square, scored there; "placed": as
                    they do it on Pascal-5i, on black, scored in a square of the picture's longer side
        background  factor on the probability of the prompt "background" where classes compete; 0: no such prompt, and
                    the background is not scored
        limit       only so many samples, the first ones; None: all
        worst       how many of the worst answers are kept for the sheet
    """

    paper: bool = False
    prompt: str = "text"
    style: str | VisualStyle = DEFAULT_STYLE
    templates: Templates = "plain"
    threshold: float = 0.4  # of masks elsewhere as well, see masks/options.py
    geometry: str = "own"
    background: float = 3.0
    limit: int | None = None
    worst: int = 12

    def __post_init__(self) -> None:
        _one_of("prompt", self.prompt, PROMPTS)
        _one_of("geometry", self.geometry, GEOMETRIES)
        style_named(self.style)
        templates_named(self.templates)
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold is {self.threshold}; expected a probability from 0 to 1")
        if not self.background >= 0:
            raise UsageError(f"background is {self.background}; expected a factor of at least 0")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit is {self.limit}; expected at least 1")
        if self.worst < 0:
            raise UsageError(f"worst is {self.worst}; expected at least 0")

    def samples(self, there: int) -> int:
        """How many samples a data set has -> how many are asked."""
        return there if self.limit is None else min(there, self.limit)


@dataclass(frozen=True)
class Task:
    """One of the paper's tasks.

    Fields
        about    what it asks
        classes  whether classes compete for every pixel, so that there is one answer for each picture
        own      options in which it differs from the defaults
        paper    those that the authors' protocol sets beside `paper`
    """

    about: str
    own: Mapping[str, Any]
    paper: Mapping[str, Any]
    classes: bool = False


_SQUASHED = {"geometry": "squash"}
TASKS: Mapping[str, Task] = {
    "referring": Task("phrases, as they are", {}, {**_SQUASHED, "threshold": 0.3}),
    "one-shot": Task(
        "one example of a class", {"prompt": "example", "templates": "photo"}, {**_SQUASHED, "threshold": 0.3}
    ),
    "zero-shot": Task("names of classes, which compete for every pixel", {}, _SQUASHED, classes=True),
    "generalised": Task("what things afford, what they are and what they have", {}, {**_SQUASHED, "threshold": 0.3}),
}
"""Name -> task. "one-shot" with prompt="text" is the paper's zero-shot segmentation in the one-shot protocol."""


def options_for(task: str, *, paper: bool = False, **given: Any) -> EvaluationOptions:
    """A name of TASKS and what was asked for -> its options; None stands for what the task has by itself.

    Raises UsageError for a task or an option that is not known.
    """
    _one_of("task", task, tuple(TASKS))
    known = {field.name for field in fields(EvaluationOptions)}
    for name in given:
        if name not in known:
            raise UsageError(f"evaluation has no option {name!r}; known are {', '.join(sorted(known))}")
    row = TASKS[task]
    values = {name: value for name, value in given.items() if value is not None}
    return EvaluationOptions(paper=paper, **{**row.own, **(row.paper if paper else {}), **values})


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        near = get_close_matches(str(value), known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{name} is {value!r}; {hint}known are {', '.join(known)}")
