"""`clipseg video`: a video and prompts in; a video of the masks, a folder of them, or both out."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from clipseg.cli import terminal
from clipseg.cli.completing import files
from clipseg.cli.mask_options import mask_options, read_finish
from clipseg.cli.naming import check_names
from clipseg.cli.options import GroupedCommand, load_segmenter, loading_options, model_option, option
from clipseg.cli.outputs import batch_option, output_folder
from clipseg.cli.prompt_options import prompt_options, read_prompts
from clipseg.errors import OutputError, UsageError

if TYPE_CHECKING:
    from clipseg.video import VideoReport

# The library's own, written out so that help needs no torch; a test holds them together.
OPACITY, SMOOTHING = 0.5, 0.0

SUFFIX = ".mp4"
TRIAL = (64, 64)  # pixels of the frame that proves that a format can be written

EXAMPLES = """\b
Examples
  clipseg video game.mp4 -p "a ball" --smoothing 0.6
  clipseg video game.mp4 -p "a ball" -p grass -o shown.webm --frames masks --every 5
  clipseg video game.mp4 -p "a player" --masks-only --keep largest
"""


@click.command(cls=GroupedCommand, epilog=EXAMPLES)
@click.argument("video", metavar="VIDEO", shell_complete=files)
@prompt_options
@mask_options(without=("feather", "compose"))
@option(
    "Results",
    "-o",
    "--out",
    "target",
    metavar="FILE|DIR",
    help=f"The video to write; its suffix chooses the format.  [default: STEM.overlay{SUFFIX}; none with --frames]",
)
@option("Results", "--frames", "frames_dir", metavar="DIR", help="Write a PNG for each prompt and frame into it.")
@option(
    "Results",
    "--overlay/--masks-only",
    default=True,
    help="What the video shows: the frames with masks over them (the default), or all masks as one, white on black.",
)
@option(
    "Results",
    "--opacity",
    type=click.FloatRange(0, 1),
    metavar="0…1",
    help=f"How strong the masks are drawn over the frames.  [default: {OPACITY}]",
)
@option(
    "Results",
    "--resume/--no-resume",
    default=True,
    help="Take the masks that an earlier run left in --frames (the default), or replace them.",
)
@option("Results", "--json", "as_json", is_flag=True, help="A JSON line on a terminal too; elsewhere always.")
@option(
    "Frames",
    "--every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Segment each N-th frame; in the video those between have the masks of the last one.",
)
@option(
    "Frames",
    "--smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    default=SMOOTHING,
    show_default=True,
    metavar="0…<1",
    help="Weight of the past: 0.6 steadies masks that flicker, and trails behind what moves fast.",
)
@model_option
@batch_option
@loading_options
def video(**values: Any) -> None:
    """Cut out of each frame of VIDEO what the prompts name or show. Needs the extra: pip install 'clipseg[video]'.

    Writes STEM.overlay.mp4 into this folder, or what -o and --frames name. Sound is dropped. Prints a JSON line at the
    end, or on a terminal a line to read. With --frames a run that was ended goes on where it stopped.
    """
    from clipseg.video import segment_video
    from clipseg.video_files import opened

    with opened(values["video"]):  # raises without PyAV, and for what is no video, before a model is loaded
        pass
    asked = read_prompts(values)
    finish = read_finish({**values, "existing": None}, asked.labels)
    if finish.soft:
        raise UsageError("a video shows masks that are decided; give a --threshold that is not none")
    frames = None if values["frames_dir"] is None else Path(values["frames_dir"]).expanduser()
    target = _target(values)
    if target is not None:
        check_names([target], [values["video"], *asked.files])
        _check_format(target)
    with ExitStack() as stack:
        for folder in (None if target is None else target.parent, frames):
            if folder is not None:
                stack.enter_context(output_folder(folder))
        segmenter = load_segmenter(values["model"], values["loading"])
        with terminal.progress("frames") as moved:
            report = segment_video(
                segmenter,
                values["video"],
                asked.prompts,
                target,
                overlay=values["overlay"],
                alpha=OPACITY if values["opacity"] is None else values["opacity"],
                frames_dir=frames,
                every=values["every"],
                smoothing=values["smoothing"],
                negative=asked.negatives,
                combine=finish.options.combine if finish.combined else None,
                options=finish.options,
                resume=values["resume"],
                batch_size=values["batch_size"],
                progress=moved,
                **finish.fitting,
            )
    labels = (" | ".join(asked.labels),) if finish.combined else asked.labels
    _tell(values, report, labels, target, frames)


def _target(values: dict[str, Any]) -> Path | None:
    """-> the video to write, or None if only masks of frames are wanted. Raises UsageError."""
    if values["opacity"] is not None and not values["overlay"]:
        raise UsageError("--opacity is of masks over the frames, and --masks-only shows none; leave one out")
    given = values["target"]
    if given is None and values["frames_dir"] is not None:
        if not values["overlay"] or values["opacity"] is not None:
            flag = "--opacity" if values["overlay"] else "--masks-only"
            raise UsageError(f"{flag} is of the video, and --frames alone writes none; add -o, or leave it out")
        return None
    name = f"{Path(values['video']).stem}.{'overlay' if values['overlay'] else 'mask'}{SUFFIX}"
    place = Path(given or "").expanduser()
    return place / name if place.is_dir() else place


def _check_format(target: Path) -> None:
    """Write one frame elsewhere, to see that there is such a format and a codec for it. Raises OutputError."""
    from PIL import Image

    from clipseg.video_files import written

    with TemporaryDirectory() as folder:
        try:
            with written(Path(folder) / f"trial{target.suffix}", Fraction(25)) as add:
                add(Image.new("RGB", TRIAL), Fraction(0))
        except OutputError as error:
            raise OutputError(
                f"{target} cannot be written: a name that ends in {target.suffix!r} is of no video format; take one "
                f"such as {SUFFIX}, .mkv or .gif"
            ) from error


def _tell(
    values: dict[str, Any], report: VideoReport, labels: tuple[str, ...], target: Path | None, frames: Path | None
) -> None:
    """What has come of the video -> a JSON line, or to a person's terminal a line to read."""
    from clipseg.masks.names import unique_slugs

    folders = [] if frames is None else [str(frames / name) for name in unique_slugs(labels)]
    file = None if target is None else str(target)
    if terminal.wants_table(values["as_json"]):
        places = ", ".join(([] if file is None else [file]) + folders)
        terminal.line(f"{values['video']}: {report.computed} frames computed, {report.reused} reused -> {places}")
        return
    terminal.result(
        {
            "video": values["video"],
            "labels": list(labels),
            "computed": report.computed,
            "reused": report.reused,
            "file": file,
            "folders": folders,
        }
    )
