"""Where results go: a folder proven writable before the work begins, and the formats that are written into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipseg.cli.options import Adder, added, option
from clipseg.errors import OutputError
from clipseg.formats.outputs import OVERLAY, PREVIEW, Output, written
from clipseg.formats.table import FORMATS

if TYPE_CHECKING:
    from clipseg.masks.masks import Masks

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
