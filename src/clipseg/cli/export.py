"""`clipseg export`: a model as graphs that other engines run."""

from __future__ import annotations

import re
from pathlib import Path

import click

from clipseg.cli import terminal
from clipseg.cli.completing import models

# The library's own, written out so that help needs no torch; a test holds the two together.
TARGETS = ("onnx", "openvino", "exported-program")


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`352x640` -> (352, 640), height first."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a size such as 352x352, height first")
    return int(match[1]), int(match[2])


@click.command(epilog="\b\nExample: clipseg export nano --to onnx --out nano-onnx")
@click.argument("model", shell_complete=models)
@click.option("--to", type=click.Choice(TARGETS), default=TARGETS[0], show_default=True)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder to make.")
@click.option("--int8", is_flag=True, help="Weights in 8 bit (onnx, openvino).")
@click.option("--size", metavar="HxW", callback=_size, help="Fix the size of pictures.  [default: any size]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
@click.option("--offline", is_flag=True, help="Use only what is on this machine.")
def export(
    model: str, to: str, out: Path, int8: bool, size: tuple[int, int] | None, overwrite: bool, offline: bool
) -> None:
    """Write MODEL, a folder, nano or a hub id, as graphs that other engines run, once they agree with torch.

    Prints a JSON line with the folder, its files, and how far each graph is from torch: the largest error on random
    inputs, in standard deviations of the outputs.
    """
    from clipseg.runtime.export import export as exported

    done = exported(model, out, to, int8=int8, size_hw=size, overwrite=overwrite, local_files_only=offline)
    terminal.result(
        {
            "model": str(done.folder),
            "to": done.manifest.to,
            "precision": done.manifest.precision,
            "files": [str(path) for path in done.files],
            "largest_errors": {name: graph.largest_error for name, graph in done.manifest.graphs.items()},
        }
    )
