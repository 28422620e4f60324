"""`clipseg train`: a recipe in, a model folder out; in one process or several, and again where it was interrupted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from clipseg.cli import terminal
from clipseg.cli.options import GroupedCommand, option
from clipseg.cli.outputs import output_folder
from clipseg.errors import UsageError

if TYPE_CHECKING:
    from clipseg.training.progress import Progress, Watcher
    from clipseg.training.recipes import Recipe


def recipe_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """What begins so -> the shipped recipes, and files."""
    from clipseg.training.recipes import shipped_recipes

    names = [CompletionItem(name, help=about) for name, about in shipped_recipes().items()]
    return [*(item for item in names if item.value.startswith(incomplete)), CompletionItem(incomplete, type="file")]


@click.command(
    cls=GroupedCommand,
    epilog="\b\nExamples:\n  clipseg train --list\n  clipseg train finetune data=my-pictures -o runs/mine\n"
    "  clipseg train rd64 data=/data/VGPhraseCut_v0 batch=32 --processes 8",
)
@click.argument("recipe", required=False, shell_complete=recipe_names)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@option("Run", "-o", "--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<the recipe's name>]")
@option(
    "Run",
    "--resume/--no-resume",
    default=None,
    help="Something has to be there to go on from, or the run begins anew.  [default: goes on where it can]",
)
@option("Run", "--tensorboard", is_flag=True, help="Write TensorBoard's files as well (extra: train).")
@option("Machine", "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@option("Machine", "--processes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
        help="Processes on this machine that share every batch.")  # fmt: skip
@option("Machine", "--max-restarts", type=click.IntRange(min=0), default=3, show_default=True, metavar="N",
        help="How often several processes are started again when one of them dies.")  # fmt: skip
@option("Information", "--list", "listing", is_flag=True, help="List the recipes that come along.")
@option("Information", "--dry-run", is_flag=True, help="Show the recipe with everything filled in, and what it costs.")
@click.pass_context
def train(
    context: click.Context,
    recipe: str | None,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: bool | None,
    tensorboard: bool,
    device: str,
    processes: int,
    max_restarts: int,
    listing: bool,
    dry_run: bool,
) -> None:
    """Train a model by RECIPE, a name that --list shows or a TOML file, whose values KEY=VALUE may replace.

    The same command started again goes on where the last one ended; SIGTERM and Ctrl-C end it well. Progress goes to
    stderr and to log.jsonl in the run folder; at the end a JSON line names the folder of the model.
    """
    from clipseg.training.recipes import read_recipe

    if listing:
        _list()
        return
    if recipe is None:
        raise UsageError("name a recipe; `clipseg train --list` shows those that come along")
    chosen = read_recipe(recipe, overrides)
    out = Path("runs") / chosen.name if out is None else out
    if dry_run:
        _show(chosen)
        return

    # After the recipe: torch takes seconds, and a mistyped key is no reason to wait.
    from clipseg.folder_lock import held
    from clipseg.training.distributed import environment, launch
    from clipseg.training.run_folder import RunFolder

    if processes > 1 and environment().world == 1:
        with output_folder(out):
            if resume is False:  # once, and not at every restart
                with held(out):
                    RunFolder(out).clear()
            flags = ["--device", device, *["--tensorboard"] * tensorboard, *["--resume"] * bool(resume)]
            arguments = ["-m", "clipseg", "train", recipe, *overrides, "-o", str(out), *flags]
            context.exit(launch(arguments, processes, max_restarts))
    with output_folder(out):
        _run(context, chosen, out, resume, tensorboard, device)


def _run(
    context: click.Context, recipe: Recipe, out: Path, resume: bool | None, tensorboard: bool, device: str
) -> None:
    """Train in this process, alone or as one of those that a launcher has started."""
    from clipseg.training.distributed import joined
    from clipseg.training.run import trainer_of
    from clipseg.training.stepping import NotFiniteError

    with joined() as processes, _shown(processes.first) as watcher:
        try:
            trainer = trainer_of(
                recipe, out, device=device, processes=processes, tensorboard=tensorboard, watcher=watcher
            )
            model = trainer.fit("auto" if resume is None else resume)
        except NotFiniteError as error:
            if processes.first:
                raise
            context.exit(error.exit_code)  # every process raises it, and one says so
    if not processes.first:
        return
    terminal.result({"stopped": str(out)} if model is None else {"model": str(model)})


@contextmanager
def _shown(first: bool) -> Iterator[Watcher | None]:
    """Show progress: a bar on a terminal, the lines of the log elsewhere, nothing in any process but the first."""
    from clipseg.training import loop

    log = logging.getLogger(loop.__name__)
    level = log.level
    if not first:
        yield None
        return
    try:
        if not sys.stderr.isatty():
            log.setLevel(logging.INFO)  # its lines are the progress
            yield None
            return
        with terminal.progress("training") as moved:

            def watch(progress: Progress) -> None:
                moved(progress.done, progress.total, str(progress))

            yield watch
    finally:
        log.setLevel(level)


def _list() -> None:
    from clipseg.training.recipes import shipped_recipes

    if terminal.wants_table(False):
        terminal.table(("recipe", "what it trains"), [*shipped_recipes().items()])
        return
    for name, about in shipped_recipes().items():
        terminal.result({"recipe": name, "about": about})


def _show(recipe: Recipe) -> None:
    from clipseg.training.costs import cost_of
    from clipseg.training.records import flattened

    values: dict[str, Any] = asdict(recipe)
    cost = cost_of(recipe)
    if terminal.wants_table(False):
        rows = [*flattened(values).items(), *((f"cost: {name}", value) for name, value in cost.items())]
        terminal.table(("key", "value"), [(name, str(value)) for name, value in rows])
    else:
        terminal.result({"recipe": values, "cost": cost})
