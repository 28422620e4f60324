"""`clipseg segment`: pictures and prompts in; masks, overlays and a JSON line for each mask out.

Everything that can be checked without the model is checked before it is loaded.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipseg.cli import terminal
from clipseg.cli.options import load_segmenter, loading_options
from clipseg.cli.outputs import output_folder, unique_stems
from clipseg.errors import PictureError, PictureNotFoundError, PromptError, UsageError
from clipseg.masks.names import unique_slugs

if TYPE_CHECKING:
    import torch

    from clipseg.masks.masks import Masks
    from clipseg.prompting.prompts import Prompt

# The library's own defaults, written out so that help needs no torch; a test holds the two together.
MODEL = "CIDAS/clipseg-rd64-refined"
THRESHOLD = 0.4
STYLES = ("whole", "crop", "crop_blur_highlight")
STYLE = "crop_blur_highlight"


@dataclass(frozen=True)
class Job:
    """One picture, and the files that will be written for it: a mask a prompt, and perhaps an overlay."""

    picture: str
    masks: tuple[Path, ...]
    overlay: Path | None


def _probability(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if not 0 <= value <= 1:  # false for NaN as well
        raise click.BadParameter(f"{value} is not a number from 0 to 1")
    return value


@click.command(epilog='\b\nExample: clipseg segment kitchen.jpg -p "a glass" -p wood --image-prompt jar.jpg:mask.png')
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@click.option("-p", "--prompt", "texts", multiple=True, metavar="TEXT", help="What to look for; may be repeated.")
@click.option(
    "--image-prompt",
    "examples",
    multiple=True,
    metavar="FILE[:MASK]",
    help="An example of it, and a mask of the thing in it; may be repeated.",
)
@click.option("--model", default=MODEL, show_default=True, metavar="NAME|DIR", help="nano, a folder or a hub id.")
@click.option(
    "--threshold",
    type=float,
    default=THRESHOLD,
    show_default=True,
    callback=_probability,
    help="Probability, from 0 to 1, above which a pixel belongs to a mask.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=".", show_default=True, help="Folder for the results."
)
@click.option("--overlay/--no-overlay", default=True, help="Also draw the masks over each picture (the default).")
@click.option(
    "--style",
    type=click.Choice(STYLES),
    default=STYLE,
    show_default=True,
    help="What happens around the thing in an example with a mask.",
)
@loading_options
def segment(
    pictures: tuple[str, ...],
    texts: tuple[str, ...],
    examples: tuple[str, ...],
    model: str,
    threshold: float,
    out: Path,
    overlay: bool,
    style: str,
    device: str,
    dtype: str,
    offline: bool,
) -> None:
    """Cut out of each PICTURE what the prompts name or show.

    Writes NAME.PROMPT.mask.png for each picture and prompt, and NAME.overlay.png for each picture. Prints a JSON line
    for each mask. A picture that cannot be read is reported, and the others are still done.
    """
    check_pictures(pictures, prompted=bool(texts or examples))
    files = [split_example(example) for example in examples]
    prompts = read_prompts(texts, files, style)
    jobs = plan(pictures, [prompt.label for prompt in prompts], out, overlay)
    check_inputs_survive(jobs, [*pictures, *(path for pair in files for path in pair if path is not None)])
    code = 0
    with output_folder(out):
        segmenter = load_segmenter(model, device, dtype, offline)
        ready = embedded(prompts, segmenter.embed(prompts))
        for number, job in enumerate(jobs, start=1):
            try:
                with terminal.working(f"{number}/{len(jobs)} {job.picture}"):
                    records = write(job, segmenter.segment(job.picture, ready), threshold)
            except PictureError as error:
                terminal.error(error)
                code = error.exit_code
                continue
            for record in records:
                terminal.result(record)
    click.get_current_context().exit(code)


def check_pictures(pictures: Sequence[str], *, prompted: bool) -> None:
    """Refuse a picture that is not there, and a command line without a prompt."""
    from clipseg.processing.images import to_rgb

    for picture in pictures:
        if _is_there(picture):
            continue
        if not prompted and not Path(picture).suffix:
            quoted = shlex.quote(picture)
            raise PictureNotFoundError(f"there is no picture file {picture!r}; did you mean -p {quoted}?")
        to_rgb(picture)  # which knows what is wrong: nothing there, a folder, a URL
    if not prompted:
        raise UsageError("no prompt given; say what to look for, such as -p 'a red cup', or --image-prompt FILE[:MASK]")


def split_example(text: str) -> tuple[str, str | None]:
    """`FILE` or `FILE:MASK` -> the two files; what exists tells the colon between them from one in a name."""
    if _is_there(text):
        return text, None
    pairs = [(text[:place], text[place + 1 :]) for place, letter in enumerate(text) if letter == ":"]
    with_picture = [pair for pair in pairs if _is_there(pair[0])]
    for picture, mask in with_picture:
        if _is_there(mask):
            return picture, mask
    for picture, mask in with_picture:
        raise PictureNotFoundError(f"there is no mask file {mask!r} for the example {picture!r}")
    raise PictureNotFoundError(f"there is no example picture {text!r}; give --image-prompt FILE or FILE:MASK")


def read_prompts(texts: Sequence[str], files: Sequence[tuple[str, str | None]], style: str) -> list[Prompt]:
    """Phrases and the files of examples -> prompts, the phrases first; the files are read here, once.

    Raises PromptError for an empty phrase or a mask of another size, and PictureError for a file that is no picture.
    """
    from clipseg.processing.images import to_mask, to_rgb
    from clipseg.prompting.prompts import ImagePrompt, TextPrompt

    prompts: list[Prompt] = [TextPrompt(text) for text in texts]
    for file, mask_file in files:
        picture = to_rgb(file)
        try:
            mask = None if mask_file is None else to_mask(mask_file, (picture.height, picture.width))
        except PromptError as error:
            raise PromptError(f"--image-prompt {file}:{mask_file}: {error}") from error
        prompts.append(ImagePrompt(picture, mask, style=style, label=Path(file).stem))
    return prompts


def plan(pictures: Sequence[str], labels: Sequence[str], out: Path, overlay: bool) -> list[Job]:
    """Pictures and the prompts' labels -> what will be written where; no two files have one name."""
    slugs = unique_slugs(labels)
    return [
        Job(
            picture,
            tuple(out / f"{stem}.{slug}.mask.png" for slug in slugs),
            out / f"{stem}.overlay.png" if overlay else None,
        )
        for picture, stem in zip(pictures, unique_stems(pictures), strict=True)
    ]


def check_inputs_survive(jobs: Sequence[Job], inputs: Sequence[str]) -> None:
    """Refuse to write over a file that is read: a mask of an earlier run may be among the pictures."""
    read = {os.path.realpath(os.path.expanduser(path)) for path in inputs}
    for job in jobs:
        for path in (*job.masks, job.overlay):
            if path is not None and os.path.realpath(path) in read:
                raise UsageError(f"{path} is one of the inputs and would be overwritten; name another folder with -o")


def embedded(prompts: Sequence[Prompt], conditions: torch.Tensor) -> list[Prompt]:
    """Prompts and their conditions (P, E) -> the same prompts, ready: no picture embeds them again."""
    from clipseg.prompting.prompts import EmbeddingPrompt

    return [EmbeddingPrompt(condition, prompt.label) for prompt, condition in zip(prompts, conditions, strict=True)]


def write(job: Job, masks: Masks, threshold: float) -> list[dict[str, Any]]:
    """A picture's masks -> its files, each written whole, and a record for each mask."""
    from clipseg.masks.png import save_binary, save_picture

    records = []
    for mask, path in zip(masks, job.masks, strict=True):
        inside = mask.binary(threshold)
        save_binary(path, inside)
        area = int(inside.sum())
        records.append(
            {
                "picture": job.picture,
                "label": mask.label,
                "score": round(mask.score(), 4),
                "area": area,
                "box": mask.box(threshold).tolist() if area else None,
                "file": str(path),
                "overlay": None if job.overlay is None else str(job.overlay),
            }
        )
    if job.overlay is not None:
        save_picture(job.overlay, masks.overlay(threshold=threshold))
    return records


def _is_there(path: str) -> bool:
    path = os.path.expanduser(path)
    return os.path.exists(path) and not os.path.isdir(path)
