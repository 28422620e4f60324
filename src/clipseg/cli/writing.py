"""A picture's masks into its files, each written whole, and a record for each mask; behind the model, in a thread.

H W the picture's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from clipseg.cli.outputs import MASK
from clipseg.cli.planning import Job, Plan
from clipseg.formats.cutouts import write_cut
from clipseg.formats.png import soft_picture
from clipseg.masks.boxes import boxes_xyxy
from clipseg.masks.masks import Masks
from clipseg.masks.png import save_binary, save_picture
from clipseg.masks.presence import Presence

T = TypeVar("T")

DIGITS = 4  # of scores

Files = dict[str, list[str]]


class StoppedError(Exception):
    """Writing was to stop in the middle of a picture."""


def following(calls: Iterable[Callable[[Callable[[], bool]], T]], most: int) -> Generator[T, None, None]:
    """Calls, as they come -> what each gives, in order: they run one by one in a thread, while others are coming.

    `most` of them wait, at most; with 0 there is no thread. A call is handed a function that tells whether it should
    stop: nobody waits for what it gives any more. After one that raises none is begun, and what comes to nothing in
    `calls` itself is raised after what came before it is done.
    """
    if most < 1:
        yield from (call(lambda: False) for call in calls)
        return
    stopped = Event()

    def run(call: Callable[[Callable[[], bool]], T]) -> T:
        if stopped.is_set():
            raise StoppedError
        try:
            return call(stopped.is_set)
        except BaseException:
            stopped.set()
            raise

    waiting: deque[Future[T]] = deque()
    failure, calls = None, iter(calls)
    thread = ThreadPoolExecutor(1, "clipseg-behind")
    try:
        while failure is None:
            try:
                waiting.append(thread.submit(run, next(calls)))
            except Exception as error:
                failure = error
            while waiting and (failure is not None or len(waiting) > most or waiting[0].done()):
                yield waiting.popleft().result()
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        stopped.set()
        thread.shutdown(cancel_futures=True)  # waits for the file that is being written


def write(
    plan: Plan,
    job: Job,
    masks: Masks,
    calibration: Presence | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """A picture's masks -> its files, and a record for each mask or part. Raises OutputError, and PictureError.

    Whether to go on is asked before each mask: if not, StoppedError is raised.
    """
    presence: list[float | None] = [None] * len(masks)
    if calibration is not None and masks.options.competition == "none":  # a share of a pixel says nothing of presence
        presence = [round(one, DIGITS) for one in calibration.probabilities(masks.scores()).tolist()]
    whole: Files = {
        output.name: _names(output.writer(plan.picture_file(job, output), masks)) for output in plan.of("picture")
    }
    records = []
    for place, instance, score, area, box, own in (_parts if plan.instances else _masks)(plan, job, masks):
        if stopped():
            raise StoppedError
        files = own | whole
        records.append(
            {
                "picture": job.picture.path,
                "label": masks.labels[place],
                "instance": instance,
                "score": round(score, DIGITS),
                "presence": presence[place],
                "area": area,
                "box": box,
                "file": next((names[0] for names in own.values() if names), None),
                "files": {output.name: files[output.name] for output in plan.outputs if output.name in files},
            }
        )
    return records


_Written = tuple[int, int | None, float, int | None, list[int] | None, Files]


def _masks(plan: Plan, job: Job, masks: Masks) -> Iterator[_Written]:
    decided = masks.options.threshold is not None
    insides = masks.each_binary() if decided else iter([None] * len(masks))
    for place, (score, inside) in enumerate(zip(masks.scores().tolist(), insides, strict=True)):
        mask, files, area, box = masks[place], Files(), None, None
        for output in plan.of("mask"):
            path = plan.mask_file(job, output, place)
            if output.name != MASK or inside is None:
                files[output.name] = _names(output.writer(path, mask))
                continue
            files[output.name] = [str(path)]
            if _is_graded(masks):
                save_picture(path, soft_picture(mask.matte().numpy()))
            else:
                save_binary(path, inside)  # which is there already
        if inside is not None:
            area = int(inside.sum())
            box = boxes_xyxy(inside[None])[0].tolist() if area else None
        yield place, None, score, area, box, files


def _parts(plan: Plan, job: Job, masks: Masks) -> Iterator[_Written]:
    for place, mask in enumerate(masks):
        for part in mask.instances():
            files = Files()
            for output in plan.of("mask"):
                path = plan.mask_file(job, output, place, part.number)
                if output.name == MASK:
                    save_binary(path, part.mask())
                else:
                    write_cut(path, mask, part=part, **output.parameters)
                files[output.name] = [str(path)]
            yield place, part.number, part.score, part.area, list(part.box_xyxy), files


def _is_graded(masks: Masks) -> bool:
    """Whether finished masks may have levels between yes and no, which their files keep."""
    return masks.options.feather != 0 or masks.options.compose == "blend" or masks.existing is not None


def _names(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths]
