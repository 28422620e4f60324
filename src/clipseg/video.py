"""Moving pictures: frames in, masks out; and video files, with PyAV (extra `video`).

    for masks in segment_frames(segmenter, camera, ["a ball"], smoothing=0.6): ...
    segment_video(segmenter, "game.mp4", ["a ball"], "game_overlay.mp4", frames_dir="masks", smoothing=0.6)

    masks/settings.json          what the masks were made with, so that none of another run are taken for its own
    masks/a-ball/000000.png      a folder for each prompt, a file for each frame by its number, black and white

A frame that is in the folder for every prompt is done: a run that was interrupted goes on where it stopped, and its
video is drawn from the files. Prompts are embedded once, and only a batch of frames is held at a time.

Shapes: P prompts · H, W of the frames.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import PictureError, UsageError
from clipseg.masks.draw import paint_masks
from clipseg.masks.lengths import Length
from clipseg.masks.masks import Masks
from clipseg.masks.names import unique_slugs
from clipseg.masks.options import DEFAULT_OPTIONS, OPTIONS, MaskOptions
from clipseg.masks.png import save_binary
from clipseg.processing.images import PictureSource, to_mask
from clipseg.prompting.prompts import PromptSource, as_prompts, as_prompts_if_any
from clipseg.segmenter import PICTURE_BATCH, Answered, Segmenter
from clipseg.video_files import Frame, opened, whole_file, writing, written

T = TypeVar("T")

FORGOTTEN = 0.001
"""Weight below which the past no longer counts: so much of it is computed again before a frame that was missing."""

Progress = Callable[[int, int | None], None]
"""Called with frames done and their number, which not every file tells."""


@dataclass(frozen=True)
class VideoReport:
    """How many frames a run over a video has segmented, and how many it found in the folder."""

    computed: int
    reused: int


def segment_frames(
    segmenter: Segmenter,
    frames: Iterable[PictureSource],
    prompts: PromptSource | Iterable[PromptSource],
    *,
    smoothing: float = 0.0,
    batch_size: int = PICTURE_BATCH,
    **asked: Any,
) -> Iterator[Masks]:
    """Frames, as many as may come, under P prompts -> P masks for each, in order.

    `smoothing`, from 0 to less than 1, is the weight of the past: logits become `smoothing` times those of the frame
    before, themselves smoothed, plus the rest of this frame's own. At 0.6 a change is nine tenths there after five
    frames. It steadies masks that flicker and trails behind what moves fast or is cut; frames whose logits have another
    size start anew. `batch_size` frames are read ahead and held. `asked` are the other keywords of `Segmenter.segment`:
    negative, combine, fit, tile, overlap and the options of masks. Raises UsageError for one out of range, before the
    first frame is asked for, and else what `Segmenter.segment` raises.
    """
    _check_smoothing(smoothing)
    answered = segmenter.asking(prompts, batch_size=batch_size, **asked)

    def each() -> Iterator[Masks]:
        smooth = _Smoother(smoothing)
        for batch in _batches(frames, batch_size):
            yield from map(smooth, answered(batch))

    return each()


def segment_video(
    segmenter: Segmenter,
    path: str | os.PathLike[str],
    prompts: PromptSource | Iterable[PromptSource],
    out: str | os.PathLike[str] | None = None,
    *,
    overlay: bool = True,
    alpha: float = 0.5,
    frames_dir: str | os.PathLike[str] | None = None,
    every: int = 1,
    smoothing: float = 0.0,
    negative: PromptSource | Iterable[PromptSource] = (),
    combine: str | None = None,
    fit: str | None = None,
    tile: Length | None = None,
    overlap: Length | None = None,
    options: MaskOptions = DEFAULT_OPTIONS,
    resume: bool = True,
    batch_size: int = PICTURE_BATCH,
    progress: Progress | None = None,
) -> VideoReport:
    """A video file under P prompts -> a video of its masks, a folder of them, or both.

    `out` shows the frames with each mask in its colour, as strong as `alpha`, or with `overlay=False` all masks as one
    in white on black. Its suffix chooses format and codec; it keeps the time of every frame, has no sound, and appears
    complete or not at all. Codecs need even sides, so an odd last row or column is left out there. `frames_dir` gets a
    PNG per prompt and frame. `every` n-th frame is segmented; in `out` those between have the masks of the last one.

    With `resume` frames in `frames_dir` are taken as they are, and with `smoothing` those before a missing one are
    computed again, until what came earlier weighs less than `FORGOTTEN`. Without, masks there are replaced. Frames are
    turned as the file says; should their size change, they get the size of the first. Sound is dropped.
    What `negative`, `combine`, `fit`, `tile` and `overlap` are, says `Segmenter.segment`; `options` finish the masks.

    Raises MissingPackageError without PyAV, PictureNotFoundError for a missing file, PictureError for one that is no
    video or breaks off (masks so far stay), OutputError where a result cannot be written, and UsageError for options
    out of range, for neither result asked for, and for a folder that was made with other ones.
    """
    if out is None and frames_dir is None:
        raise UsageError("a video leads nowhere without out or frames_dir; name a video to write, a folder, or both")
    if every < 1:
        raise UsageError(f"every is {every}; expected at least 1")
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is how strong the colours are, from 0 to 1; got {alpha}")
    _check_smoothing(smoothing)
    asked, unwanted = as_prompts(prompts), as_prompts_if_any(negative)
    labels = [prompt.label for prompt in asked]
    changes = {name: getattr(options, name) for name in OPTIONS if name != "combine"}
    answered = segmenter.asking(
        asked,
        negative=unwanted,
        combine=combine,
        fit=fit,
        tile=tile,
        overlap=overlap,
        batch_size=batch_size,
        **changes,
    )
    with opened(path) as clip:
        settings = {
            "video": Path(path).name,
            "bytes": Path(path).expanduser().stat().st_size,
            "model": segmenter.name_or_path,
            "prompts": labels,
            "negative": [prompt.label for prompt in unwanted],
            "combine": combine,
            "fit": [fit, tile, overlap],
            "every": every,
            "smoothing": smoothing,
            "options": repr(options),
        }
        names = labels if combine is None else [" | ".join(labels)]
        folder = None if frames_dir is None else _Folder(Path(frames_dir), names, settings, resume)
        masker = _Masker(answered, every, smoothing, batch_size, folder)
        frames = clip.frames if out is not None else filter(masker.chosen, clip.frames)
        with nullcontext() if out is None else written(Path(out), clip.rate) as add:
            for frame, masks in masker.each(frames):
                if add is not None:
                    shown = paint_masks(frame.picture, masks, alpha) if overlay else Image.fromarray(masks.any(0))
                    add(shown, frame.time)
                if progress is not None:
                    progress(frame.number + 1, clip.count)
            if not masker.computed + masker.reused:
                raise PictureError(f"{path} has no frame that can be read; expected a video with at least one")
    return VideoReport(masker.computed, masker.reused)


def _check_smoothing(smoothing: float) -> None:
    if not 0 <= smoothing < 1:
        raise UsageError(f"smoothing is {smoothing}; expected a weight of the past from 0 to less than 1")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items -> lists of them; where one cannot be read, those before it still come, and then its error."""
    batch: list[T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    except PictureError:
        yield batch
        raise
    yield batch


class _Smoother:
    """Masks of one frame after the other -> the same with their logits, and their negatives, averaged over time."""

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._past: Masks | None = None

    def __call__(self, masks: Masks) -> Masks:
        if self._weight and self._past is not None and self._past.logits.shape == masks.logits.shape:
            masks = replace(
                masks,
                logits=masks.logits.lerp(self._past.logits, self._weight),
                negatives=self._faded(masks.negatives, self._past.negatives),
            )
        self._past = replace(masks, picture=None)
        return masks

    def _faded(self, now: torch.Tensor | None, before: torch.Tensor | None) -> torch.Tensor | None:
        return None if now is None or before is None else now.lerp(before, self._weight)


class _Masker:
    """Frames -> their masks: from the folder where they are there, else from the model, and into the folder."""

    def __init__(
        self,
        answered: Answered,
        every: int,
        smoothing: float,
        batch_size: int,
        folder: _Folder | None,
    ) -> None:
        self.computed = self.reused = 0
        self._answered = answered
        self._every = every
        self._smoothing = smoothing
        self._batch_size = batch_size
        self._folder = folder
        self._memory = math.ceil(math.log(FORGOTTEN) / math.log(smoothing)) if smoothing else 0

    def chosen(self, frame: Frame) -> bool:
        """Whether a frame is segmented; one in between has the masks of the last that is."""
        return frame.number % self._every == 0

    def each(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[np.bool_]]]:
        """-> every frame with its masks (P, H, W)."""
        latest = np.empty((0, 0, 0), bool)
        for wanted, run in groupby(frames, self._wanted):
            for frame, masks in self._computed(run) if wanted else self._stored(run):
                latest = latest if masks is None else masks
                yield frame, latest

    def _wanted(self, frame: Frame) -> bool:
        """Whether a frame is missing, or has to be remembered for one that is; one in between goes with its last."""
        number = frame.number - frame.number % self._every
        done = set() if self._folder is None else self._folder.done
        return any(number + later * self._every not in done for later in range(self._memory + 1))

    def _computed(self, run: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[np.bool_] | None]]:
        smooth = _Smoother(self._smoothing)
        for batch in _batches(run, self._batch_size):  # of all frames, so that no more are held however rare chosen are
            pictures = [frame.picture for frame in batch if self.chosen(frame)]
            results = self._answered(pictures)
            for frame in batch:
                if not self.chosen(frame):
                    yield frame, None
                    continue
                masks = smooth(next(results))
                if self._folder is not None and frame.number in self._folder.done:
                    yield from self._stored([frame])
                    continue
                binary = masks.binary().numpy()
                if self._folder is not None:
                    self._folder.write(frame, binary)
                self.computed += 1
                yield frame, binary

    def _stored(self, run: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[np.bool_] | None]]:
        for frame in run:
            if self._folder is None or not self.chosen(frame):
                yield frame, None
            else:
                self.reused += 1
                yield frame, self._folder.read(frame)


class _Folder:
    """Masks of a video as files, a folder for each prompt; `done` are the frames that an earlier run has finished."""

    def __init__(self, path: Path, labels: list[str], settings: dict[str, Any], resume: bool) -> None:
        """Raises UsageError for a folder with frames of another run, unless they may go, and OutputError."""
        self._folders = [path / name for name in unique_slugs(labels)]
        notes = path / "settings.json"
        with writing(path):
            found = [[file for file in folder.glob("*.png") if file.stem.isdecimal()] for folder in self._folders]
            if not resume:
                for file in chain.from_iterable(found):
                    file.unlink()
                found = [[]]
            elif notes.exists() or any(found):
                self._compare(notes, settings)
            path.mkdir(parents=True, exist_ok=True)
            with whole_file(notes) as unfinished:
                unfinished.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
        self.done = set.intersection(*({int(file.stem) for file in files} for files in found))

    def read(self, frame: Frame) -> NDArray[np.bool_]:
        size_hw = (frame.picture.height, frame.picture.width)
        return np.stack([to_mask(self._file(folder, frame), size_hw) for folder in self._folders])

    def write(self, frame: Frame, masks: NDArray[np.bool_]) -> None:
        for folder, mask in zip(self._folders, masks, strict=True):
            save_binary(self._file(folder, frame), mask)

    def _file(self, folder: Path, frame: Frame) -> Path:
        return folder / f"{frame.number:06d}.png"

    def _compare(self, notes: Path, settings: dict[str, Any]) -> None:
        try:
            before = json.loads(notes.read_text(encoding="utf-8"))
            other = [name for name, value in settings.items() if before.get(name) != value]
            reason = f"made with another {', '.join(other)}" if other else ""
        except (FileNotFoundError, ValueError, AttributeError):
            reason = f"and no {notes.name} that says what made them"
        if reason:
            way_out = "name another folder, or replace them with resume=False (--no-resume)"
            raise UsageError(f"{notes.parent} holds masks {reason}; {way_out}")
