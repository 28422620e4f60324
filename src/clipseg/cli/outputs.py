"""Where results go: a folder proven writable before the work begins, and the formats that are written into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from clipseg.cli.options import Adder, added, option
from clipseg.cli.values import named_values, near
from clipseg.errors import OutputError, UsageError
from clipseg.formats.table import FORMATS, Format

if TYPE_CHECKING:
    from clipseg.masks.masks import Masks

MASK = next(iter(FORMATS))  # the first row is what people expect of a mask: black and white
CUTOUT, OVERLAY, PREVIEW, SOFT = "cutout", "overlay", "preview", "soft"
SOFT_PARAMETERS: Mapping[str, Mapping[str, Any]] = {CUTOUT: {"soft": True}, "npz": {"kind": "soft"}, OVERLAY: {}}
"""Formats that have a threshold and can do without one, and how they are told."""

output_options: Adder = added(
    option(
        "Results",
        "-o",
        "--out",
        metavar="DIR|-",
        help="Folder for the results, or - for one result on standard output.  [default: this folder; - for -]",
    ),
    option(
        "Results",
        "--name",
        metavar="TEMPLATE",
        help="What a mask's file is called, of {stem}, {prompt}, {kind}, {index}, {instance}, {picture}, {folder}.  "
        "[default: {stem}.{prompt}.{kind}]",
    ),
    option("Results", "--skip-existing", is_flag=True, help="Leave out pictures whose results are all there."),
    option("Results", "--dry-run", is_flag=True, help="Say what would be written, and load no model."),
    option("Results", "--json", "as_json", is_flag=True, help="JSON lines on a terminal too; elsewhere always."),
)

empty_option: Adder = option(
    "Results", "--fail-if-empty", is_flag=True, help="End with exit code 11 when nothing at all was found."
)

batch_option: Adder = option(
    "Model",
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Most pictures that go through the model at once; others are read ahead.",
)

reduced_option: Adder = option(
    "Model",
    "--reduced-decoding",
    is_flag=True,
    help="Decode a JPEG file much larger than the model's input at a reduced scale: faster, masks change a little.",
)


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


def drawing(*, instances: bool) -> Output:
    """-> what shows a picture's masks at once: an overlay, or a numbered preview of instances."""
    if instances:
        return Output(PREVIEW, PREVIEW, ".png", "picture", write_preview)
    return Output(OVERLAY, OVERLAY, ".png", "picture", partial(written, FORMATS[OVERLAY]))


def write_preview(path: Path, masks: Masks) -> list[Path]:
    """Masks -> their picture with every part in its own colour and its number, and its path. Raises OutputError."""
    from clipseg.masks.png import save_picture

    save_picture(path, masks.preview())
    return [path]


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder and prove that it can be written into; what stays empty of it is gone after the block.

    Raises OutputError before the block begins.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # the innermost first
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(
                f"{folder} is no folder that can be written into ({error.strerror or error}); name another with -o"
            ) from error
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # never made, or holding something
                path.rmdir()
