"""Masks as what clients get: JSON, and PNG files in it or instead of it.

H, W the picture's size · h, w low-resolution logits.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Collection, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import UsageError
from clipseg.formats.png import label_picture, soft_picture
from clipseg.masks.boxes import boxes_xyxy
from clipseg.masks.masks import Mask, Masks
from clipseg.masks.png import binary_png
from clipseg.masks.polygons import Ring, polygons
from clipseg.masks.presence import Presence
from clipseg.masks.rle import compressed

DIGITS = 4  # of scores
RUNS = 3  # zlib's strategy Z_RLE
OF_MAPS = frozenset({"maps", "scores"})
"""Results that need no mask at the picture's size."""
DECIDED = frozenset({"rle", "polygons", "boxes", "instances"})
"""Results of masks that say yes or no."""

Check = Callable[[], None]
"""Raises where nobody waits for the answer any more."""


def records(
    masks: Masks, results: Collection[str], calibration: Presence | None, check: Check
) -> Iterator[dict[str, Any]]:
    """Masks and what is wanted of them -> for each mask what JSON says of it.

    Raises UsageError for results that soft masks do not have.
    """
    soft = masks.options.threshold is None
    if soft and (stray := sorted(DECIDED.intersection(results))):
        raise UsageError(f"{', '.join(stray)} are of masks that are decided; give a threshold that is not none")
    scores = masks.scores()
    present: list[float | None] = [None] * len(masks)
    if calibration is not None and masks.options.competition == "none":  # a share of a pixel says nothing of presence
        present = [round(one, DIGITS) for one in calibration.probabilities(scores).tolist()]
    whole: Iterator[torch.Tensor | None] = repeat(None)
    if not OF_MAPS.issuperset(results):
        whole = masks.each_soft() if soft else masks.each_binary()
    thresholds = masks.options.threshold
    for place, (label, score) in enumerate(zip(masks.labels, scores.tolist(), strict=True)):
        check()
        own = thresholds[place % len(thresholds)] if isinstance(thresholds, tuple) else thresholds
        finished = next(whole)
        inside = None if soft or finished is None else finished.numpy()
        record: dict[str, Any] = {
            "label": label,
            "score": round(score, DIGITS),
            "presence": present[place],
            "threshold": own,
            "area": None if inside is None else int(np.count_nonzero(inside)),
            "box": None
            if inside is None or not inside.any()
            else boxes_xyxy(torch.from_numpy(inside)[None])[0].tolist(),
        }
        if "maps" in results:
            record["map"] = _map(masks[place])
        if "masks" in results and finished is not None:
            record["png"] = _text(mask_png(masks[place], finished))
        if inside is not None:
            if "rle" in results:
                record["rle"] = compressed(inside)
            if "polygons" in results:
                record["polygons"] = [
                    {"outer": _ring(one.outer), "holes": list(map(_ring, one.holes))} for one in polygons(inside)
                ]
        if "instances" in results:
            record["instances"] = list(_instances(masks[place], check))
        yield record


def png(masks: Masks) -> bytes:
    """Masks -> a PNG: of one mask itself, of several an indexed map of their labels. Raises UsageError."""
    if len(masks) == 1:
        soft = masks.options.threshold is None
        return mask_png(masks[0], next(masks.each_soft() if soft else masks.each_binary()))
    return encoded(label_picture(masks.label_map().numpy()))


def mask_png(mask: Mask, finished: torch.Tensor) -> bytes:
    """A mask and what became of it at the picture's size, bool or 0 to 1 -> a PNG of grey; soft edges have levels."""
    if finished.dtype == torch.bool and mask.options.feather == 0:
        return binary_png(finished.numpy())
    return encoded(soft_picture((mask.matte() if finished.dtype == torch.bool else finished).numpy()))


def encoded(image: Image.Image) -> bytes:
    """A picture -> a PNG."""
    file = io.BytesIO()
    # Of a few kilobytes that stay on this machine, mostly. Runs are what there is to find in masks and maps.
    image.save(file, "PNG", compress_level=1, compress_type=RUNS)
    return file.getvalue()


def _map(mask: Mask) -> dict[str, Any]:
    """-> the probabilities at the resolution of the logits, in 8 bits."""
    h, w = mask.logits.shape
    return {"width": w, "height": h, "png": _text(encoded(soft_picture(mask.probabilities((h, w)).numpy())))}


def _box(inside: NDArray[np.bool_]) -> list[int] | None:
    box: list[int] = boxes_xyxy(torch.from_numpy(inside)[None])[0].tolist()
    return box if any(box) else None


def _instances(mask: Mask, check: Check) -> Iterator[dict[str, Any]]:
    for part in mask.instances():
        check()
        yield {
            "number": part.number,
            "box": list(part.box_xyxy),
            "area": part.area,
            "score": round(part.score, DIGITS),
            "centroid": [round(value, 2) for value in part.centroid_xy],
            "rle": compressed(part.mask().numpy()),
        }


def _ring(ring: Ring) -> list[list[float]]:
    points: NDArray[np.float64] = np.round(ring, 2)
    listed: list[list[float]] = points.tolist()
    return listed


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
