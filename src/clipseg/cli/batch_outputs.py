"""`clipseg batch finalize` and `clipseg batch report`: what is made of a run, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipseg.cli import terminal
from clipseg.cli.completing import files, folders
from clipseg.cli.options import Adder, GroupedCommand, added, option

if TYPE_CHECKING:
    from clipseg.batch.choosing import Choice
    from clipseg.batch.finalizing import Finalized

# The library's own, written out so that help needs no torch; tests hold the two together.
FORMATS = ("coco", "yolo", "voc", "png", "webdataset")
PICTURES = ("none", "link", "copy")
SEGMENTATIONS = ("rle", "plain", "polygons")


def chosen(min_score: float, min_presence: float, min_pixels: int, instances: bool) -> Choice:
    """The values of `choice_options` -> the choice. Raises UsageError."""
    from clipseg.batch.choosing import Choice

    return Choice(min_score=min_score, min_presence=min_presence, min_pixels=min_pixels, instances=instances)


def choice_options(*, min_presence: float = 0.0, instances: bool = False) -> Adder:
    """Defaults -> the options of what counts as found."""
    return added(
        option(
            "Choice",
            "--min-presence",
            type=click.FloatRange(0, 1),
            default=min_presence,
            show_default=True,
            metavar="X",
            help="Leave out masks of labels that the model is less sure to see at all.",
        ),
        option(
            "Choice",
            "--min-score",
            type=click.FloatRange(0, 1),
            default=0.0,
            show_default=True,
            metavar="X",
            help="Leave out masks of a lower mean probability inside.",
        ),
        option(
            "Choice",
            "--min-pixels",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            metavar="N",
            help="Leave out masks, or parts of masks, of fewer pixels.",
        ),
        option(
            "Choice",
            "--instances/--whole",
            "instances",
            default=instances,
            show_default=True,
            help="Every connected part is an annotation, or every whole mask.",
        ),
    )


def data_set_options(*, to: str, val_share: float, pictures: str, segmentation: str) -> Adder:
    """Defaults -> the options of the data set."""
    return added(
        option("Data set", "--to", type=click.Choice(FORMATS), default=to, show_default=True, help="Its format."),
        option(
            "Data set",
            "--val",
            "val_share",
            type=click.FloatRange(0, 1, max_open=True),
            default=val_share,
            show_default=True,
            metavar="X",
            help="Part of the pictures that is held out, chosen by a hash of their names; 0 is no split.",
        ),
        option(
            "Data set",
            "--pictures",
            type=click.Choice(PICTURES),
            default=pictures,
            show_default=True,
            help="Whether pictures come along: links to their files, or copies.",
        ),
        option(
            "Data set",
            "--segmentation",
            type=click.Choice(SEGMENTATIONS),
            default=segmentation,
            show_default=True,
            help="How COCO and WebDataset have masks; run lengths are exact.",
        ),
    )


json_option: Adder = option("Results", "--json", "as_json", is_flag=True, help="A JSON line on a terminal too.")


@click.command(
    cls=GroupedCommand,
    epilog="\b\nExamples:\n  clipseg batch finalize out\n"
    "  clipseg batch finalize out --to yolo --val 0.2 --pictures link --min-presence 0.5",
)
@click.argument("out", shell_complete=folders)
@data_set_options(to="coco", val_share=0.0, pictures="none", segmentation="rle")
@choice_options()
@option("Results", "-o", "--out", "folder", metavar="DIR", shell_complete=folders,
        help="Where the data set is to be.  [default: named by its format, in the run's folder]")  # fmt: skip
@option("Results", "--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N",
        help="Processes that trace and encode masks.")  # fmt: skip
@option("Results", "--partial", is_flag=True, help="Take what is there of a run that is not finished.")
@json_option
def finalize(
    out: str,
    to: str,
    val_share: float,
    pictures: str,
    segmentation: str,
    folder: str | None,
    partial: bool,
    workers: int,
    as_json: bool,
    **choice: Any,
) -> None:
    """Make a data set of the run in OUT, as often as you like: only what the run has written is read.

    A data set that was made so before is replaced, once the new one is whole.
    """
    from clipseg.batch.finalizing import finalize as make

    with terminal.progress("pictures") as moved:
        done = make(
            out,
            to,
            folder,
            choice=chosen(**choice),
            val_share=val_share,
            pictures=pictures,
            segmentation=segmentation,
            partial=partial,
            workers=workers,
            progress=moved,
        )
    show(done, as_json)


def show(done: Finalized, as_json: bool) -> None:
    """Tell what became of a data set."""
    if not terminal.wants_table(as_json):
        terminal.result(done.to_dict())
        return
    rows = [(split or "pictures", f"{count:,}") for split, count in done.pictures.items()]
    rows += [(f"found: {label}", f"{count:,}") for label, count in done.annotations.items()]
    left_out = (("failed", done.failed), ("missing", done.missing), ("not there any more", done.lost))
    rows += [(f"left out: {why}", f"{count:,}") for why, count in left_out if count]
    terminal.table(("what", "how many"), rows)
    terminal.line(f"{done.folder}")


@click.command(cls=GroupedCommand, epilog="\b\nExample:\n  clipseg batch report out -o report.html")
@click.argument("out", shell_complete=folders)
@option("Results", "-o", "--out", "target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
        shell_complete=files, help="The page.  [default: report.html in the run's folder]")  # fmt: skip
@option("Results", "--sample", type=click.IntRange(0), default=24, show_default=True, metavar="N",
        help="Pictures drawn at random.")  # fmt: skip
@option("Results", "--each", type=click.IntRange(0), default=6, show_default=True, metavar="N",
        help="Of the surest and of the least sure masks of each label.")  # fmt: skip
@json_option
def report(out: str, target: Path | None, sample: int, each: int, as_json: bool) -> None:
    """Write a page about the run in OUT: masks on pictures, scores, areas, throughput, errors.

    It is one HTML file that needs nothing else. A run that is not finished will do.
    """
    from clipseg.batch.report import write_report

    with terminal.progress("thumbnails") as moved:
        path = write_report(out, target, sample=sample, each=each, progress=moved)
    if terminal.wants_table(as_json):
        terminal.line(str(path))
    else:
        terminal.result({"report": str(path)})
