"""What coarser numbers cost in masks: the bundled model in bfloat16 and with 8-bit weights against float32.

    python benchmarks/precision.py --scenes 100 --markdown docs/performance.md

--backends adds what `clipseg export` makes of the model for them, in 8 bits and, of OpenVINO, in bfloat16.

Every scene is a function of --seed and of a first number that nothing else uses. Of each the things in it are asked by
name and by example; masks are at the picture's size, at threshold 0.5. "Same mask" is the IoU of a mask with the one
that float32 makes, two empty ones being the same; "right mask" the IoU with the truth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from pages import write_between_marks
from PIL import Image

from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.metrics import iou_per_mask
from clipseg.prompting.prompts import Prompt, TextPrompt
from clipseg.runtime.export import export
from clipseg.segmenter import Segmenter

STREAM = 9_300_000  # first number of every seed here
THRESHOLD = 0.5
PRECISIONS = ("float32", "bfloat16", "int8")
EXPORTS = {"onnx": ("int8",), "openvino": ("int8", "bfloat16")}


def main() -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--markdown", type=Path, help="put the table between the markers of this page")
    parser.add_argument("--backends", nargs="+", choices=tuple(EXPORTS), default=[], help="also these")
    options = parser.parse_args()
    os.environ["CLIPSEG_PROMPT_CACHE"] = "off"  # phrases are to be read here and now
    segmenters = {name: Segmenter.from_pretrained(options.model, dtype=name) for name in PRECISIONS}
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends:
            for precision in EXPORTS[backend]:
                place = Path(folder) / f"{backend} {precision}"
                export(options.model, place, backend, int8=precision == "int8")
                segmenters[place.name] = Segmenter.from_pretrained(place, backend=backend, dtype=precision)
        for segmenter in segmenters.values():
            segmenter.warm_up()  # so that phrases are read as a server reads them
        _measure(options, segmenters)


def _measure(options: argparse.Namespace, segmenters: dict[str, Segmenter]) -> None:
    generator = SceneGenerator(SEEN, SceneOptions(size=segmenters["float32"].config.vision_config.image_size))
    same: dict[str, list[float]] = {name: [] for name in segmenters}
    right: dict[str, list[float]] = {name: [] for name in segmenters}
    furthest = dict.fromkeys(segmenters, 0.0)
    for number in range(options.scenes):
        scene = generator.scene([STREAM, options.seed, number])
        prompts: list[Prompt] = [TextPrompt(generator.pictograms[kind].name) for kind in scene.kinds]
        truth = torch.from_numpy(np.asarray(scene.masks)).bool()
        exact = None
        for name, segmenter in segmenters.items():
            masks = segmenter.segment(Image.fromarray(scene.picture), prompts)
            found = masks.binary(THRESHOLD)
            exact = (found, masks.logits) if exact is None else exact
            same[name] += _same(found, exact[0])
            right[name] += iou_per_mask(found, truth).tolist()
            furthest[name] = max(furthest[name], float((masks.logits - exact[1]).abs().max()))
    rows = ["| Precision | Same mask, mean | Least of 100 | Right mask, mean | Largest difference of a logit |"]
    rows.append("|---|---:|---:|---:|---:|")
    for name in segmenters:
        least = float(np.percentile(same[name], 1))
        rows.append(
            f"| {name} | {statistics.fmean(same[name]):.4f} | {least:.3f} | {statistics.fmean(right[name]):.4f} "
            f"| {furthest[name]:.2f} |"
        )
    text = f"{len(same['float32'])} masks of {options.scenes} scenes\n\n" + "\n".join(rows)
    if options.markdown:
        write_between_marks(options.markdown, text, "precision")
    sys.stdout.write(text + "\n")


def _same(found: torch.Tensor, exact: torch.Tensor) -> list[float]:
    together, either = (found & exact).sum((1, 2)), (found | exact).sum((1, 2))
    return torch.where(either == 0, torch.ones(()), together / either.clamp(min=1)).tolist()


if __name__ == "__main__":
    main()
