"""`clipseg segment`: pictures and prompts in; masks, other formats, and a record for each mask out."""

from __future__ import annotations

from typing import Any

import click

from clipseg.cli.options import GroupedCommand, option
from clipseg.cli.outputs import drawing, empty_option
from clipseg.cli.tasks import carry_out, read_task, shared_options
from clipseg.formats.outputs import OVERLAY, read_formats
from clipseg.formats.table import FORMATS

EXAMPLES = """\b
Examples
  clipseg segment kitchen.jpg -p "a glass" -p wood
  clipseg segment photos -r -o masks -p "face AND NOT hair" --grow 1% --keep largest --skip-existing
  clipseg segment "shelf/*.jpg" --image-prompt jar.jpg:mask.png --instances --format png,coco
  clipseg segment - -p sky < photo.jpg > sky.png
"""


@click.command(cls=GroupedCommand, epilog=EXAMPLES)
@shared_options(
    option(
        "Results",
        "--format",
        "formats",
        multiple=True,
        metavar="NAME[:KEY=VALUE],…",
        help=f"What is written: {', '.join(FORMATS)}; may be repeated.  [default: {next(iter(FORMATS))}, or soft]",
    ),
    option(
        "Results", "--instances", is_flag=True, help="Each connected part of a mask is a mask of its own, numbered."
    ),
    option(
        "Results",
        "--overlay/--no-overlay",
        default=True,
        help="Also draw the masks over each picture, or its numbered instances (the default).",
    ),
    empty_option,
)
def segment(**values: Any) -> None:
    """Cut out of each PICTURE what the prompts name or show.

    A PICTURE is a file, a folder, a quoted pattern, or - for standard input. Writes STEM.PROMPT.mask.png for each
    picture and prompt, and STEM.overlay.png for each picture. Prints a JSON line for each mask, or on a terminal a line
    to read. A picture that cannot be read is reported, and the others are still done.
    """
    instances: bool = values["instances"]
    soft = "none" in values["threshold"]
    outputs = read_formats(values["formats"], soft=soft, instances=instances)
    is_drawn = not instances and OVERLAY in {output.name for output in outputs}
    drawn = [drawing(instances=instances)] if values["overlay"] and not is_drawn else []
    task = read_task(values, outputs, drawn=drawn, instances=instances)
    click.get_current_context().exit(carry_out(task))
