"""Which formats are written, with which parameters: `png` or `overlay:alpha=0.5,legend=no`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from clipseg.errors import UsageError
from clipseg.formats.table import FORMATS, Format
from clipseg.formats.values import named_values, near
from clipseg.masks.lengths import checked_length, finite

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

    Raises UsageError for formats, parameters and values that are not known, or that need what there is not.
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
        if isinstance(parameters.get("classes"), str):
            parameters = {**parameters, "classes": tuple(parameters["classes"].split("/"))}
        _check(row, parameters)
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


def _check(row: Format, parameters: Mapping[str, Any]) -> None:
    """Refuse, before any work is done, values that a writer would refuse once there is something to write."""
    for key, value in parameters.items():
        if key in ("soft", "legend", "instances") and not isinstance(value, bool):
            raise UsageError(f"{key} of format {row.name} is {value!r}; expected yes or no")
        if key == "alpha" and not (value is None and row.name == "heatmap"):  # None: not over the picture
            strength = finite(value)
            if strength is None or not 0 <= strength <= 1:
                raise UsageError(f"alpha is how strong the colours are, from 0 to 1; got {value!r}")
        if key == "margin":
            checked_length(key, value, "the picture's shorter side")
        if key == "colours" or (key == "background" and value is not None):
            from clipseg.masks.draw import colour_named, read_colours

            read_colours(value) if key == "colours" else colour_named(value)
        if key == "colormap":
            from clipseg.formats.colormaps import colormap

            colormap(value)
        if key == "kind":
            from clipseg.formats.npz import KINDS

            if value not in KINDS:
                raise UsageError(f"kind is {value!r}; known are {', '.join(KINDS)}")
    if row.scope == "data set" and parameters:
        row.writer(row.name, **parameters)  # which checks them, and does nothing until it is entered


def written(row: Format, *arguments: Any, **parameters: Any) -> Any:
    """What a format's writer takes -> what it gives; the writer, and torch with it, is imported now."""
    return row.writer(*arguments, **parameters)
