"""A picture's masks into its files, each written whole, and a record for each mask; behind the model, in a thread.

H W the picture's size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clipseg.behind import StoppedError
from clipseg.cli.outputs import MASK
from clipseg.cli.planning import Job, Plan
from clipseg.formats.cutouts import box_with_margin, cutout, picture_of
from clipseg.formats.png import soft_picture
from clipseg.masks.boxes import boxes_xyxy
from clipseg.masks.instances import Instance
from clipseg.masks.lengths import Length
from clipseg.masks.mask import Mask
from clipseg.masks.masks import Masks
from clipseg.masks.png import save_binary, save_picture
from clipseg.masks.presence import Presence

DIGITS = 4  # of scores

Files = dict[str, list[str]]


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


def write_cut(
    path: str | os.PathLike[str],
    mask: Mask,
    part: Instance | None = None,
    *,
    soft: bool = False,
    background: str | None = None,
    crop: bool = False,
    margin: Length = 0,
) -> list[Path]:
    """A mask, or a part of it -> its picture cut out, and its path.

    As opaque as `Mask.matte`, or with `soft` as probable. `crop` leaves the box of the mask with a margin; of an empty
    mask the whole. Raises as `formats.cutouts.cutout`, and OutputError.
    """
    opacity = (mask.soft() if soft else mask.matte()).numpy()  # (H, W)
    if part is not None:
        opacity = opacity * part.mask().numpy()
    cut = cutout(picture_of(mask), opacity, background)
    rows, columns = np.flatnonzero((opacity > 0).any(1)), np.flatnonzero((opacity > 0).any(0))
    if crop and len(rows):
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        cut = cut.crop(box_with_margin(box, margin, mask.size_hw))
    save_picture(path, cut)
    return [Path(path)]


def _is_graded(masks: Masks) -> bool:
    """Whether finished masks may have levels between yes and no, which their files keep."""
    return masks.options.feather != 0 or masks.options.compose == "blend" or masks.existing is not None


def _names(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths]
