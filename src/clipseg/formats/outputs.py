"""Which formats are written, with which parameters: `png` or `overlay:alpha=0.5,legend=no`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from clipseg.errors import UsageError
from clipseg.formats.table import FORMATS, Format
from clipseg.formats.values import named_values, near

MASK = next(iter(FORMATS))  # the first row is what people expect of a mask: black and white
CUTOUT, OVERLAY, PREVIEW, SOFT = "cutout", "overlay", "preview", "soft"
SOFT_PARAMETERS: Mapping[str, Mapping[str, Any]] = {CUTOUT: {"soft": True}, "npz": {"kind": "soft"}, OVERLAY: {}}
"""Formats that have a threshold and can do without one, and how they are told."""


@dataclass(frozen=True)
class Output:
    """One kind of file that is written.

    Fields
        name        its key in the records
        kind        of its file's name
        suffix      empty for a folder
        scope       what one file is made of
        writer      as `formats.table` says, with its parameters
        parameters  which the writer has been given
    """

    name: str
    kind: str
    suffix: str
    scope: Literal["mask", "picture", "data set"]
    writer: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def read_formats(texts: Sequence[str], *, soft: bool, instances: bool) -> list[Output]:
    """The values of --format -> outputs, in order, each once. Without any, masks: soft ones where nothing is decided.

    Raises UsageError for formats and parameters that are not known, or that need what there is not.
    """
    asked = [pair for text in texts for pair in named_values("--format", text)] or [(SOFT if soft else MASK, {})]
    outputs: dict[str, Output] = {}
    for name, parameters in asked:
        if name not in FORMATS:
            raise UsageError(f"there is no format {name!r}; {near(name, tuple(FORMATS))}")
        row = FORMATS[name]
        known = tuple(key for key in row.options if key != "threshold")
        for key in parameters:
            if key not in known:
                raise UsageError(f"format {name} has no parameter {key!r}; known are {', '.join(known) or 'none'}")
        if "colours" in parameters:
            from clipseg.masks.draw import read_colours

            read_colours(parameters["colours"])  # refused before any work is done
        if soft and ("threshold" in row.options or row.scope == "data set"):
            if name not in SOFT_PARAMETERS:
                raise UsageError(f"format {name} needs masks that are decided; give a --threshold that is not none")
            parameters = {**SOFT_PARAMETERS[name], **parameters}
        if instances and row.scope == "mask" and name not in (MASK, CUTOUT):
            raise UsageError(f"--instances are written as {MASK} or {CUTOUT}, and format {name} is of whole masks")
        if instances and "instances" in known:
            parameters = {"instances": True, **parameters}
        kind = "mask" if name == MASK else name
        outputs[name] = Output(name, kind, row.suffix, row.scope, partial(written, row, **parameters), parameters)
    return list(outputs.values())


def written(row: Format, *arguments: Any, **parameters: Any) -> Any:
    """What a format's writer takes -> what it gives; the writer, and torch with it, is imported now."""
    return row.writer(*arguments, **parameters)
