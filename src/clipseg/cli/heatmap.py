"""`clipseg heatmap`: how probable each pixel is, in colour, alone or over the picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipseg.cli.options import GroupedCommand, option
from clipseg.cli.tasks import carry_out, read_task, shared_options
from clipseg.formats.outputs import Output

if TYPE_CHECKING:
    from clipseg.masks.mask import Mask

# The library's own, written out so that help needs no numpy; a test holds them together.
COLORMAP = "ember"

EXAMPLES = """\b
Examples
  clipseg heatmap kitchen.jpg -p "something to drink from"
  clipseg heatmap photos -p fire -o maps --opacity 0.6 --smooth 1%
"""


@click.command(cls=GroupedCommand, epilog=EXAMPLES)
@shared_options(
    option(
        "Results",
        "--colormap",
        default=COLORMAP,
        show_default=True,
        metavar="NAME",
        help="Colours from 0 to 1; an unknown name lists those there are.",
    ),
    option(
        "Results",
        "--opacity",
        type=click.FloatRange(0, 1),
        metavar="0…1",
        help="Draw over the picture, this strong.  [default: the map alone]",
    ),
    deciding=False,
)
def heatmap(**values: Any) -> None:
    """Draw for each PICTURE and prompt how probable every pixel is, from 0 to 1, never stretched.

    Writes STEM.PROMPT.heatmap.png. Options are those of `clipseg segment`, but for those that decide yes or no. For
    numbers instead of colours: `clipseg segment --threshold none`.
    """
    from clipseg.formats.colormaps import colormap

    colormap(values["colormap"])  # raises where there is no such map
    writer = partial(_write, colormap=values["colormap"], alpha=values["opacity"])
    output = Output("heatmap", "heatmap", ".png", "mask", writer)
    click.get_current_context().exit(carry_out(read_task({**values, "threshold": ("none",)}, [output])))


def _write(path: Path, mask: Mask, **parameters: Any) -> list[Path]:
    from clipseg.formats.drawings import write_heat_map

    return write_heat_map(path, mask, **parameters)
