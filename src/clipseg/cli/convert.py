"""`clipseg convert`: from original checkpoints to a model folder, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from clipseg.cli import terminal
from clipseg.cli.completing import files
from clipseg.cli.options import DTYPES


def _layers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Numbers as in `3,6,9` -> (3, 6, 9)."""
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of layers such as 3,6,9") from None


@click.command(epilog="\b\nExample: clipseg convert rd64-uni.pth my-model --clip openai/clip-vit-base-patch16")
@click.argument("source", shell_complete=files)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--clip", metavar="FILE|NAME|DIR", help="The CLIP weights that belong to a decoder.")
@click.option("--to", type=click.Choice(["hf", "original"]), default="hf", show_default=True)
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Type as stored.")
@click.option("--extract-layers", metavar="N,N,…", callback=_layers, help="Layers the decoder reads, if not 3,6,9.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that is not empty.")
def convert(
    source: str,
    folder: Path,
    clip: str | None,
    to: Literal["hf", "original"],
    dtype: str,
    extract_layers: tuple[int, ...] | None,
    overwrite: bool,
) -> None:
    """Turn SOURCE, an original decoder or model file, into the model folder FOLDER; with --to original, back.

    Prints a JSON line with the folder and the files written.
    """
    import torch

    from clipseg.checkpoints import convert as conversion

    done = conversion.convert(
        source,
        folder,
        clip,
        to=to,
        dtype=getattr(torch, dtype),
        extract_layers=extract_layers,
        overwrite=overwrite,
    )
    if done.missing_tokenizer_files:
        missing = " and ".join(done.missing_tokenizer_files)
        terminal.warning(f"text prompts need {missing} in {done.folder} as well; copy them from the CLIP model")
    terminal.result(
        {
            "model": str(done.folder),
            "files": [str(path) for path in done.written],
            "missing": list(done.missing_tokenizer_files),
        }
    )
