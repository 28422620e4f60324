"""`clipseg label`: a folder of pictures and a file of classes in, a data set with labels and a split out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clipseg.cli.batch import engine_options, tell, watching, work_options
from clipseg.cli.batch_outputs import choice_options, chosen, data_set_options, json_option, show
from clipseg.cli.completing import files
from clipseg.cli.mask_options import mask_options, read_finish
from clipseg.cli.options import GroupedCommand, Loading, loading_options, model_option, option
from clipseg.cli.outputs import batch_option, reduced_option

# What the library labels with unless said otherwise; a test holds them together.
MIN_PRESENCE, VAL_SHARE = 0.5, 0.2

_AS_THEY_ARE = (
    *("limit", "heatmap", "rows_per_part", "batch_size", "reduced_decoding"),
    *("engine", "workers", "shard", "address", "max_error_rate", "min_free"),
)


@click.command(
    cls=GroupedCommand,
    epilog="\b\nExample:\n  clipseg label photos --classes classes.txt -o labelled --to yolo\n"
    "  clipseg batch report labelled\n  clipseg data check labelled/yolo --sheet labels.png\n"
    "  clipseg train finetune data=labelled/yolo",
)
@click.argument("sources", nargs=-1, required=True, metavar="DIR...", shell_complete=files)
@option("Labels", "--classes", required=True, type=click.Path(path_type=Path), metavar="FILE", shell_complete=files,
        help="A class on each line: its name, or NAME: PROMPT.")  # fmt: skip
@option("Labels", "-o", "--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
        help="Folder of the data set and of the run; the same command goes on with it.")  # fmt: skip
@data_set_options(to="coco", val_share=VAL_SHARE, pictures="link", segmentation="polygons")
@choice_options(min_presence=MIN_PRESENCE, instances=True)
@mask_options(without=("feather", "compose"))
@work_options
@engine_options
@json_option
@model_option
@batch_option
@reduced_option
@loading_options
def label(
    sources: tuple[str, ...],
    classes: Path,
    out: Path,
    to: str,
    val_share: float,
    pictures: str,
    segmentation: str,
    loading: Loading,
    as_json: bool,
    **values: Any,
) -> None:
    """Label the pictures of DIR with the classes of a file: a data set to look through and to train on.

    It is a batch run in the folder, and DIR/coco or DIR/yolo beside it. Ended in whatever way, the same command goes
    on. With other options of the data set only that is made anew.
    """
    from clipseg.batch.labelling import label as make
    from clipseg.batch.labelling import read_classes
    from clipseg.batch.settings import changed_options

    prompts = read_classes(classes)
    finish = read_finish(values, [prompt.label for prompt in prompts])
    choice = chosen(**{name: values[name] for name in ("min_score", "min_presence", "min_pixels", "instances")})
    with watching("labelling") as watcher:
        done = make(
            sources,
            prompts,
            out,
            to=to,
            val_share=val_share,
            choice=choice,
            pictures=pictures,
            segmentation=segmentation,
            watcher=watcher,
            model=values["model"],
            dtype=loading.dtype,
            backend=loading.backend,
            device=loading.device,
            compile=loading.compile,
            local_files_only=loading.offline,
            combine=finish.options.combine if finish.combined else None,
            **{name: values[name] for name in _AS_THEY_ARE},
            **finish.fitting,
            **changed_options(finish.options),
        )
    if done.data is None:
        tell(done.outcome, as_json)
    else:
        show(done.data, as_json)
