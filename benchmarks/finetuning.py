"""Show what fine-tuning does: nano on woodcuts, before and after `clipseg train finetune` on 50 of them.

    python benchmarks/finetuning.py --markdown docs/finetuning.md --picture docs/images/finetuning.png
    python benchmarks/finetuning.py train=lora lr=3e-3 cache=false       what follows is for the recipe

Draws the pictures of style_set.py, measures nano on the 50 that are held out, trains, and measures again. Needs
Debian's fonts-noto-color-emoji and unicode-cldr-core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pages import write_between_marks
from PIL import Image
from style_set import write_style_set

from clipseg import Masks, Segmenter
from clipseg.analysis.picture_grid import labelled_grid
from clipseg.data.own import open_data
from clipseg.data.sample import Sample
from clipseg.masks.draw import paint_masks

TRAIN, HELD_OUT = 50, 50
THRESHOLD = 0.5
SHOWN = 8


@dataclass(frozen=True)
class Figures:
    """How good a segmenter is on held-out samples.

    Fields
        iou     mean IoU of masks, one for each thing in each picture
        absent  share of pixels that are marked as something that is not in the picture
        answers the masks of the first samples
    """

    iou: float
    absent: float
    answers: list[Masks]


def measured(segmenter: Segmenter, samples: list[Sample], names: list[str]) -> Figures:
    """A segmenter, and samples of things with such names -> its figures; every picture is asked for every name."""
    by_picture: dict[bytes, list[Sample]] = {}
    for sample in samples:
        by_picture.setdefault(sample.picture.tobytes(), []).append(sample)
    ious, wrong = [], []
    for group in by_picture.values():
        found = segmenter.segment(group[0].picture, names).binary(THRESHOLD).numpy()
        there = {sample.phrase: sample.mask for sample in group}
        for name, mask in zip(names, found, strict=True):
            truth = there.get(name)
            if truth is None:
                wrong.append(mask.mean())
            else:
                ious.append((mask & truth).sum() / (mask | truth).sum())
    answers = [segmenter.segment(sample.picture, str(sample.phrase)) for sample in samples[:: len(samples) // SHOWN]]
    return Figures(float(np.mean(ious)), float(np.mean(wrong)), answers[:SHOWN])


def drawn(samples: list[Sample], before: Figures, after: Figures) -> Image.Image:
    """-> a row for each of a few samples: picture, truth, and both answers."""
    rows = []
    chosen = samples[:: len(samples) // SHOWN][:SHOWN]
    for sample, first, second in zip(chosen, before.answers, after.answers, strict=True):
        picture = Image.fromarray(sample.picture)
        masks = (sample.mask, *(masks.binary(THRESHOLD)[0].numpy() for masks in (first, second)))
        rows.append((str(sample.phrase), [picture, *(paint_masks(picture, [mask], 0.6) for mask in masks)]))
    return labelled_grid(("picture", "truth", "before", "after"), rows)


def main() -> None:
    """Measure, train, and measure again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="of the recipe, as key=value")
    parser.add_argument("--markdown", type=Path, help="put the table between the markers of this page")
    parser.add_argument("--picture", type=Path, help="write some answers, before and after, as a picture")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data, run = Path(name) / "woodcuts", Path(name) / "run"
        write_style_set(data, TRAIN, HELD_OUT)
        held_out = open_data(data, "test")
        samples, names = list(held_out), sorted({str(sample.phrase) for sample in held_out})
        before = measured(Segmenter.from_pretrained("nano", device="cpu"), samples, names)
        start = time.perf_counter()
        command = ("train", "finetune", f"data={data}", *options.overrides, "-o", str(run), "--device", "cpu")
        subprocess.run([sys.executable, "-m", "clipseg", *command], check=True)
        minutes = (time.perf_counter() - start) / 60
        after = measured(Segmenter.from_pretrained(run / "model", device="cpu"), samples, names)
    said = " ".join(["clipseg train finetune data=DIR", *options.overrides])
    text = "\n".join(
        [
            f"`{said}`: {minutes:.1f} minutes on {os.cpu_count()} cores (load {os.getloadavg()[1]:.1f}), torch "
            f"{torch.__version__}, {time.strftime('%Y-%m-%d')}; {len(samples)} held-out masks of {HELD_OUT} pictures.",
            "",
            "| | Before | After |",
            "|---|---:|---:|",
            f"| mean IoU per mask, threshold {THRESHOLD} | {before.iou:.3f} | **{after.iou:.3f}** |",
            f"| pixels marked for a name that is not there | {before.absent:.2%} | {after.absent:.2%} |",
        ]
    )
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        drawn(samples, before, after).save(options.picture, optimize=True)
    if options.markdown:
        write_between_marks(options.markdown, text)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
