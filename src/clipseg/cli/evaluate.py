"""`clipseg evaluate`: how good a model is on synthetic scenes."""

from __future__ import annotations

import click

from clipseg.cli import terminal
from clipseg.cli.completing import models
from clipseg.cli.options import load_segmenter, loading_options


@click.command()
@click.argument("model", shell_complete=models)
@click.option("--scenes", type=click.IntRange(min=1), default=300, show_default=True, help="How many to measure on.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which scenes.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line, also on a terminal.")
@loading_options
def evaluate(model: str, scenes: int, seed: int, as_json: bool, device: str, dtype: str, offline: bool) -> None:
    """Measure MODEL, a name or a folder, on synthetic scenes that no training has seen.

    Prints a table on a terminal and a JSON line elsewhere. The scenes are drawn with Debian's fonts-noto-color-emoji
    and unicode-cldr-core.
    """
    from clipseg.evaluation import evaluate_scenes

    segmenter = load_segmenter(model, device, dtype, offline)
    with terminal.progress("scenes") as moved:
        report = evaluate_scenes(segmenter, scenes=scenes, seed=seed, progress=moved)
    if terminal.wants_table(as_json):
        terminal.table(("figure", "value"), report.table())
    else:
        terminal.result({"model": model, **report.to_dict()})
