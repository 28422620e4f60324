"""`clipseg train`: a recipe in, a model folder out."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from clipseg.cli import terminal
from clipseg.cli.outputs import output_folder


@click.command(epilog="\b\nExample: clipseg train recipes/nano.toml seed=2 stages.0.steps=100 -o runs/second")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<the recipe's name>]")
def train(recipe: Path, overrides: tuple[str, ...], out: Path | None) -> None:
    """Train a model by RECIPE, a TOML file whose values KEY=VALUE may replace.

    The same command started again goes on where the last one ended. Progress goes to stderr and to log.jsonl in the
    run folder; at the end a JSON line names the folder of the model.
    """
    from clipseg.training.config import read_recipe

    chosen = read_recipe(recipe, overrides)
    out = Path("runs") / chosen.name if out is None else out

    from clipseg.training import loop  # after the recipe: this takes seconds, and a mistyped key is no reason to wait

    log = logging.getLogger(loop.__name__)
    level = log.level
    with output_folder(out):
        log.setLevel(logging.INFO)  # its lines are the progress
        try:
            model = loop.train(chosen, out)
        finally:
            log.setLevel(level)
    terminal.result({"model": str(model)})
