"""`clipseg cutout`: what the prompts name or show, on transparency or on a colour."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipseg.cli.options import GroupedCommand, option
from clipseg.cli.outputs import empty_option
from clipseg.cli.tasks import carry_out, read_task, shared_options
from clipseg.errors import UsageError
from clipseg.formats.outputs import CUTOUT, Output
from clipseg.masks.lengths import checked_length

if TYPE_CHECKING:
    from clipseg.masks.mask import Mask

EXAMPLES = """\b
Examples
  clipseg cutout shoe.jpg -p "a shoe" --refine guided --feather 1
  clipseg cutout shelf.jpg -p "a jar" --instances --crop --margin 5% -o jars
  clipseg cutout - -p "a person" --background white < photo.jpg > person.png
"""


@click.command(cls=GroupedCommand, epilog=EXAMPLES)
@shared_options(
    option("Results", "--background", metavar="COLOUR", help='Such as white or "#1e90ff".  [default: transparent]'),
    option("Results", "--crop", is_flag=True, help="Only the box around what was cut out."),
    option(
        "Results", "--margin", default="0", show_default=True, metavar="LENGTH",
        help='Around the box of --crop: pixels, or "N%" of the shorter side.',
    ),
    option("Results", "--soft", is_flag=True, help="As opaque as probable, whatever the threshold."),
    option("Results", "--instances", is_flag=True, help="Each connected part of a mask is cut out on its own."),
    empty_option,
)  # fmt: skip
def cutout(**values: Any) -> None:
    """Cut out of each PICTURE what the prompts name or show: everything else is transparent.

    Writes STEM.PROMPT.cutout.png. Options are those of `clipseg segment`.
    """
    margin = checked_length("margin", values["margin"], "the shorter side")
    if margin and not values["crop"]:
        raise UsageError("--margin is of --crop; add that, or leave it out")
    if values["background"] is not None:
        check_colour(values["background"])
    soft = values["soft"] or "none" in values["threshold"]
    parameters = {"soft": soft, "background": values["background"], "crop": values["crop"], "margin": margin}
    output = Output(CUTOUT, CUTOUT, ".png", "mask", partial(_write, **parameters), parameters)
    task = read_task(values, [output], instances=values["instances"])
    click.get_current_context().exit(carry_out(task))


def check_colour(name: str) -> None:
    """Raise UsageError for a colour that is not known, before any work is done."""
    from clipseg.masks.draw import colour_named

    colour_named(name)


def _write(path: Path, mask: Mask, **parameters: Any) -> list[Path]:
    from clipseg.formats.cutouts import write_cut

    return write_cut(path, mask, **parameters)
