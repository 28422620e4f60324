"""`clipseg evaluate`: how good a model is, on synthetic scenes or on a data set, as the paper measures it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clipseg.cli import terminal
from clipseg.cli.completing import models
from clipseg.cli.options import GroupedCommand, Loading, load_segmenter, loading_options, option
from clipseg.cli.outputs import output_folder
from clipseg.errors import UsageError

if TYPE_CHECKING:
    from clipseg.data.sample import SampleDataset
    from clipseg.segmenter import Segmenter

SCENES = "scenes"
# Written out so that help needs no torch; a test holds them to evaluation.options and evaluation.data_sets.
TASKS = ("referring", "one-shot", "zero-shot", "generalised")
KINDS = ("phrasecut", "pascal5i", "coco20i", "voc-zero-shot", "lvis", "own", "scenes")
GROUPS = ("affordance", "attribute", "meronymy")
UNSEEN = ("2", "4", "6", "8", "10", "last-5")


@click.command(cls=GroupedCommand)
@click.argument("model", shell_complete=models)
@option(
    "Data",
    "--task",
    type=click.Choice((SCENES, *TASKS)),
    default=SCENES,
    show_default=True,
    help="What is asked: synthetic scenes, or one of the paper's tasks of a data set.",
)
@option("Data", "--scenes", type=click.IntRange(min=1), default=300, show_default=True, help="How many to measure on.")
@option("Data", "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which scenes, or draws.")
@option("Data", "--data", "root", metavar="DIR", help="The folder, or file, of the data set.")
@option(
    "Data",
    "--format",
    "kind",
    type=click.Choice(("auto", *KINDS)),
    default="auto",
    show_default=True,
    help="What kind of data set it is.",
)
@option("Data", "--split", metavar="NAME", help="Which part of it.  [default: what the paper tests on]")
@option("Data", "--fold", type=click.IntRange(0, 3), help="Which fold of pascal5i or coco20i.  [default: 0]")
@option("Data", "--group", type=click.Choice(GROUPS), help="Which prompts of lvis.  [default: affordance]")
@option("Data", "--unseen", type=click.Choice(UNSEEN), help="Which classes count as unseen.  [default: 10]")
@option("Data", "--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N samples.")
@option(
    "Prompts", "--text/--example", "by_text", default=None, help="Ask by words or by an example.  [default: the task's]"
)
@option(
    "Prompts", "--style", metavar="NAME[:KEY=VALUE,…]", help="How examples are shown.  [default: crop_blur_highlight]"
)
@option(
    "Prompts",
    "--template",
    "templates",
    multiple=True,
    metavar="NAME|TEXT",
    help="Sentences that phrases are put into.  [default: plain; photo for one-shot]",
)
@option("Scores", "--paper", is_flag=True, help="Pictures and metrics as in the authors' code, not as in textbooks.")
@option(
    "Scores",
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Of the probability, for figures that need one.  [default: 0.4; with --paper the paper's]",
)
@option(
    "Scores",
    "--background",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Factor on the background where classes compete; 0: not scored.  [default: 3]",
)
@option(
    "Results", "-o", "--out", metavar="DIR", help="Folder for the report.  [default: evaluation/TASK; of scenes none]"
)
@option(
    "Results", "--processes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Share it."
)
@option("Results", "--json", "as_json", is_flag=True, help="A JSON line, also on a terminal.")
@loading_options
def evaluate(
    model: str,
    task: str,
    scenes: int,
    seed: int,
    as_json: bool,
    out: str | None,
    loading: Loading,
    **asked: Any,
) -> None:
    """Measure MODEL, a name or a folder, on synthetic scenes that no training has seen, or on a data set.

    Prints a table on a terminal and a JSON line elsewhere. A report of a data set is also written to a folder: figures
    as JSON, Markdown and CSV, tables by class and size, curves, and the worst answers as a picture. The scenes are
    drawn with Debian's fonts-noto-color-emoji and unicode-cldr-core.
    """
    load = partial(load_segmenter, model, loading._replace(device=_own_device(loading.device)))
    if task == SCENES:
        _check_of_scenes((*asked, "out"))
        _on_scenes(model, load, scenes, seed, as_json)
    else:
        _on_data(model, load, task, seed, as_json, out or f"evaluation/{task}", **asked)


def _check_of_scenes(others: Iterable[str]) -> None:
    """Raise UsageError where an option of data sets was given."""
    context = click.get_current_context()
    given = {name for name in others if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    flags = [one.opts[-1] for one in context.command.params if one.name in given]
    if flags:
        raise UsageError(f"{', '.join(flags)} has no meaning for synthetic scenes; name a --task of {', '.join(TASKS)}")


def _on_scenes(model: str, load: Callable[[], Segmenter], scenes: int, seed: int, as_json: bool) -> None:
    from clipseg.evaluation.scenes import evaluate_scenes

    segmenter = load()
    with terminal.progress("scenes") as moved:
        report = evaluate_scenes(segmenter, scenes=scenes, seed=seed, progress=moved)
    if terminal.wants_table(as_json):
        terminal.table(("figure", "value"), report.table())
    else:
        terminal.result({"model": model, **report.to_dict()})


def _on_data(
    model: str,
    load: Callable[[], Segmenter],
    task: str,
    seed: int,
    as_json: bool,
    out: str,
    *,
    root: str | None,
    kind: str,
    split: str | None,
    fold: int | None,
    group: str | None,
    unseen: str | None,
    by_text: bool | None,
    style: str | None,
    templates: tuple[str, ...],
    processes: int,
    **scored: Any,
) -> None:
    from clipseg.cli.prompt_options import read_style, read_templates
    from clipseg.evaluation.data_sets import kind_of, opened_data, options_of
    from clipseg.evaluation.processes import rank_and_world, tallied_together
    from clipseg.evaluation.tasks import reported

    if root is None and kind != SCENES:
        raise UsageError(f"--task {task} needs the data set to ask of; name its folder with --data, or --format scenes")
    kind = kind_of(root or "", task) if kind == "auto" else kind
    options = options_of(
        kind,
        task,
        prompt=None if by_text is None else "text" if by_text else "example",
        style=None if style is None else read_style(style),
        templates=read_templates(templates) if templates else None,
        **scored,
    )
    chosen: dict[str, Any] = {
        "split": split,
        "fold": fold,
        "group": group,
        "unseen": int(unseen) if unseen and unseen.isdigit() else unseen,
        "seed": seed,
    }
    open_data = partial(opened_data, kind, root or "", task, options, **chosen)
    with output_folder(Path(out)) if rank_and_world()[0] == 0 else nullcontext():
        dataset = open_data()
        opened = partial(_opened, load, open_data) if processes > 1 else lambda: (load(), dataset)
        with terminal.progress("samples") as moved:
            tally = tallied_together(task, opened, options, processes, moved)
        if tally is None:
            return  # the first of torchrun's processes tells
        about = {"kind": kind, "data": root, **{name: value for name, value in chosen.items() if value is not None}}
        report = reported(task, tally, dataset, options, model, about)
        report.save(out)
    if terminal.wants_table(as_json):
        terminal.table(("figure", "value"), report.table())
        terminal.say(f"the whole report is in {out}")
    else:
        terminal.result({**report.summary(), "report": out})


def _opened(load: Callable[[], Segmenter], open_data: Callable[[], SampleDataset]) -> tuple[Segmenter, SampleDataset]:
    """What every process of its own does; to be pickled, it stands here."""
    return load(), open_data()


def _own_device(device: str) -> str:
    """The device that was asked for; of torchrun's processes on GPUs each takes the one it was given."""
    local = os.environ.get("LOCAL_RANK")
    if device != "auto" or local is None:
        return device
    import torch

    return f"cuda:{local}" if torch.cuda.is_available() else device
