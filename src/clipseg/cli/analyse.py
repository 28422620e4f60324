"""`clipseg analyse`: studies of how models take prompts, on one's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipseg.cli import terminal
from clipseg.cli.completing import folders
from clipseg.cli.groups import CommandGroup
from clipseg.cli.options import GroupedCommand, Loading, load_segmenter, loading_options, model_option, option

if TYPE_CHECKING:
    from clipseg.prompting.styles import VisualStyle

TABLE, GRID = "visual-prompts.csv", "visual-prompts.png"


@click.group(cls=CommandGroup)
def analyse() -> None:
    """Study how a model takes prompts."""


@analyse.command("visual-prompts", cls=GroupedCommand)
@click.argument("folder", metavar="DIR", shell_complete=folders)
@option("Prompts", "--styles", metavar="STYLE[:KEY=VALUE],…", help="Only these styles, and the whole picture.")
@option(
    "Prompts",
    "--template",
    "templates",
    default="photo",
    show_default=True,
    metavar="NAME|TEXT",
    help="What names are put into: a set's name, or a sentence with {}.",
)
@option(
    "Prompts",
    "--among",
    type=click.Choice(("folder", "picture")),
    default="folder",
    show_default=True,
    help="Weigh a thing's name against all names of the folder, or of its picture where that has three.",
)
@option("Prompts", "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws what is compared.")
@option(
    "Results",
    "--sort",
    type=click.Choice(("gain", "iou", "paper", "style")),
    default="gain",
    show_default=True,
    help="What the table is sorted by.",
)
@option(
    "Results",
    "--pictures",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    metavar="N",
    help="Rows of the picture grid.",
)
@option("Results", "-o", "--out", default=".", metavar="DIR", help=f"Folder for {TABLE} and {GRID}.  [default: .]")
@option("Results", "--json", "as_json", is_flag=True, help="A JSON line instead of a table.")
@model_option
@loading_options
def visual_prompts(
    folder: str,
    styles: str | None,
    templates: str,
    among: str,
    seed: int,
    sort: str,
    pictures: int,
    out: str,
    as_json: bool,
    model: str,
    loading: Loading,
) -> None:
    """Compare the styles in which an example can be shown, on a folder of pictures with masks.

    DIR holds images/NAME.jpg and masks/NAME.png (or masks/NAME.THING.png), or NAME.jpg with NAME.mask.png (or
    NAME.THING.mask.png) beside it. A thing's name comes from names.csv or names.json there, or from THING, or it is
    what comes before the last _ of NAME.

    Prints how much each style raises the probability of the thing's name over the whole picture, in points, and the
    IoU of the masks found by it in other pictures of the same thing. Writes that table as CSV, and a grid of pictures.
    """
    from clipseg.analysis.marked_objects import read_objects
    from clipseg.analysis.picture_grid import style_grid
    from clipseg.analysis.visual_prompts import HEADINGS, compare_styles
    from clipseg.checkpoints.files import replacing
    from clipseg.masks.png import save_picture
    from clipseg.prompting.templates import templates_named

    chosen = _styles(styles)
    templates_named(templates)
    objects = read_objects(folder)
    segmenter = load_segmenter(model, loading)
    with terminal.progress("things") as moved:
        report = compare_styles(segmenter, objects, chosen, among=among, templates=templates, seed=seed, progress=moved)
    files = {"csv": Path(out) / TABLE, "grid": Path(out) / GRID}
    with replacing(files["csv"]) as temporary:
        temporary.write_text(report.to_csv(sort), encoding="utf-8")
    save_picture(files["grid"], style_grid(segmenter, objects[:: max(1, len(objects) // pictures)][:pictures], chosen))
    if as_json:
        terminal.result({"model": model, **report.to_dict(sort), **{kind: str(path) for kind, path in files.items()}})
        return
    terminal.table(HEADINGS, report.table(sort))
    about = f"{report.objects} things, {report.names} names, {report.pairs} of them looked for in other pictures"
    terminal.say(f"{about}; wrote {files['csv']} and {files['grid']}")


def _styles(text: str | None) -> dict[str, VisualStyle | str]:
    """`crop,dim:background=0.3` -> styles by the words that name them; all of them for None. Raises UsageError."""
    from clipseg.cli.prompt_options import read_style
    from clipseg.cli.values import named_values
    from clipseg.prompting.styles import STYLES

    if text is None:
        return dict(STYLES)
    chosen: dict[str, VisualStyle | str] = {}
    for name, parameters in named_values("--styles", text):
        values = ",".join(f"{key}={_written(value)}" for key, value in parameters.items())
        word = f"{name}:{values}" if values else name
        chosen[word] = read_style(word)
    return chosen


def _written(value: object) -> str:
    """A value that has been read -> as it is written on a command line."""
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
