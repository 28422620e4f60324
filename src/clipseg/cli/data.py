"""`clipseg data`: what is in one's own data, and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import click

from clipseg.cli import terminal
from clipseg.cli.completing import files, folders
from clipseg.cli.groups import CommandGroup
from clipseg.cli.options import GroupedCommand, option

TOKENIZER = "nano"


@click.group(cls=CommandGroup)
def data() -> None:
    """Look at data sets."""


@data.command(cls=GroupedCommand)
@click.argument("root", metavar="DIR", shell_complete=folders)
@option("Data", "--split", metavar="NAME", help="Only this: train, val, or another that the data have.  [default: all]")
@option("Data", "--images", metavar="DIR", shell_complete=folders, help="Look for pictures here first.")
@option("Data", "--phrase", metavar="TEXT", help="What is asked for where neither a table nor a name says it.")
@option("Data", "--wording", metavar="KEY", default="random", show_default=True, help="Which of several prompts asks.")
@option(
    "Data", "--mask-value", type=click.IntRange(0, 65535), metavar="N", help="Only pixels of this value are inside."
)
@option("Data", "--limit", type=click.IntRange(min=1), metavar="N", help="Read so many samples, evenly spread.")
@option(
    "Data",
    "--tokenizer",
    default=TOKENIZER,
    show_default=True,
    metavar="NAME|DIR",
    help="The model by whose tokens long phrases are told; nano's are more than CLIP's.",
)
@option("Results", "--sheet", metavar="FILE", shell_complete=files, help="Write a picture of samples and their masks.")
@option("Results", "--json", "as_json", is_flag=True, help="A JSON line instead of a table.")
def check(
    root: str,
    split: str | None,
    images: str | None,
    phrase: str | None,
    wording: str,
    mask_value: int | None,
    limit: int | None,
    tokenizer: str,
    sheet: str | None,
    as_json: bool,
) -> None:
    """Open every picture and mask of a data set of your own, and tell what is in it.

    DIR is a folder, or a file of annotations: a table of pictures, masks and phrases (CSV, JSON lines, JSON), folders
    of pictures and masks, COCO's JSON, YOLO's data.yaml or Pascal VOC's folders; docs/data.md shows them all.

    Entries that cannot be used go to stderr, the first 20 of them, with their file and line. The exit code is 8 where
    nothing can be used at all.
    """
    from clipseg.data.checking import check_data, preview_sheet
    from clipseg.data.own import open_data
    from clipseg.masks.png import save_picture
    from clipseg.processing.tokenization import CLIPTokenizer

    words = CLIPTokenizer.from_pretrained(tokenizer)
    with terminal.working("looking for pictures"):
        found = open_data(root, split, images=images, phrase=phrase, wording=wording, mask_value=mask_value)
    with terminal.progress("samples") as moved:
        report = check_data(found, limit=limit, count_tokens=lambda text: len(words(text)["input_ids"]), progress=moved)
    if sheet is not None:
        save_picture(Path(sheet), preview_sheet(found))
    if terminal.wants_table(as_json):
        terminal.table(("what", "found"), report.table())
    else:
        terminal.result({**report.to_dict(), "sheet": sheet})
