"""Masks as `supervision.Detections`, for the trackers, annotators and metrics of that library (an optional package).

N detections, H W the picture's size.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from clipseg.errors import MissingPackageError
from clipseg.masks.regions import regions
from clipseg.masks.thresholds import Threshold

if TYPE_CHECKING:
    from clipseg.masks.masks import Masks


def to_supervision(masks: Masks, threshold: Threshold | None = None, *, instances: bool = False) -> Any:
    """Masks -> `supervision.Detections`: one for each mask that is not empty, or for each connected part of one.

    What it holds says `detection_arrays`. Raises MissingPackageError where `supervision` is not installed, and as
    `Masks.binary`.
    """
    try:
        package = import_module("supervision")
    except ImportError as error:
        raise MissingPackageError(
            f"supervision cannot be imported ({error}); install it with: pip install 'clipseg[supervision]'"
        ) from error
    return package.Detections(**detection_arrays(masks, threshold, instances=instances))


def detection_arrays(masks: Masks, threshold: Threshold | None = None, *, instances: bool = False) -> dict[str, Any]:
    """Masks -> the arguments of `supervision.Detections`.

    xyxy        (N, 4) float32, half-open as everywhere here: x1 - x0 is a width. The boxes that supervision itself
                makes of masks end at the last pixel inside, so theirs have an x1 and y1 that are less by one.
    mask        (N, H, W) bool
    confidence  (N,) float32, the score of `regions.Region`
    class_id    (N,) int64, the place of the label among the labels, from 0; of equal labels the first
    data        {"class_name": (N,) text}
    """
    found = list(regions(masks, threshold, instances=instances))
    return {
        "xyxy": np.array([region.box_xyxy for region in found], np.float32).reshape(-1, 4),
        "mask": np.array([region.mask for region in found], np.bool_).reshape(-1, *masks.size_hw),
        "confidence": np.array([region.score for region in found], np.float32),
        "class_id": np.array([masks.labels.index(region.label) for region in found], np.int64),
        "data": {"class_name": np.array([region.label for region in found], np.str_)},
    }
