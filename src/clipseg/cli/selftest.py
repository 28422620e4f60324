"""Whether the bundled model works here: it is asked for what is in a drawn picture, and for what is not."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clipseg.cli.health import FAILED, REPAIR, Finding, broken
from clipseg.errors import CheckpointError

if TYPE_CHECKING:
    from PIL import Image

MODEL = "nano"
DRAWN, OTHER = "star", "cactus"  # nano has learned both names
SIDE, CENTRE, RADIUS = 128, (70, 56), 36  # pixels
WAIST = 0.45  # of the radius: where the star is narrow
GROUND, COLOUR = (90, 110, 140), (255, 200, 40)
LEAST_IOU = 0.8  # nano's is 0.93


def self_test() -> Iterator[Finding]:
    """Whether it finds what it should: on the CPU, and on what `auto` takes where that is another device."""
    tried: set[str] = set()
    for wanted in ("cpu", "auto"):
        try:
            finding = _asked(wanted, tried)
        except Exception as error:  # whatever it is, this is the place to tell of it
            finding = broken(wanted, error, CheckpointError.exit_code)
        if finding is not None:
            yield finding


def _asked(wanted: str, tried: set[str]) -> Finding | None:
    """A device -> what came of it; None for one that was tried."""
    import numpy as np

    from clipseg.segmenter import Segmenter

    begin = time.perf_counter()
    segmenter = Segmenter.from_pretrained(MODEL, device=wanted)
    loaded = time.perf_counter()
    device = segmenter.model.device.type
    if device in tried:
        return None
    tried.add(device)
    picture, mask = scene()
    truth = np.asarray(mask)  # (H, W)
    found, other = segmenter.segment(picture, [DRAWN, OTHER]).binary().numpy()
    iou = (found & truth).sum() / (found | truth).sum()
    figures = f"IoU {iou:.2f}, loaded in {loaded - begin:.2f} s, asked in {time.perf_counter() - loaded:.2f} s"
    if iou >= LEAST_IOU and not other.any():
        return Finding(device, f"{MODEL} finds a {DRAWN}, and no {OTHER}: {figures}")
    wrong = f"{MODEL} finds something else than the {DRAWN} that is there: {figures}"
    return Finding(device, wrong, FAILED, REPAIR, CheckpointError.exit_code)


def scene() -> tuple[Image.Image, Image.Image]:
    """-> a picture of a star, and its mask."""
    from PIL import Image, ImageDraw

    corners = []
    for number in range(10):
        angle, length = number * math.pi / 5, RADIUS if number % 2 == 0 else WAIST * RADIUS
        corners.append((CENTRE[0] + length * math.sin(angle), CENTRE[1] - length * math.cos(angle)))
    picture, mask = Image.new("RGB", (SIDE, SIDE), GROUND), Image.new("1", (SIDE, SIDE))
    ImageDraw.Draw(picture).polygon(corners, fill=COLOUR)
    ImageDraw.Draw(mask).polygon(corners, fill=1)
    return picture, mask
