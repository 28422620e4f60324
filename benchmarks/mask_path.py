"""From logits to files: what masks of one large photograph cost, beside one pass of the encoder.

    python benchmarks/mask_path.py --quick
    python benchmarks/mask_path.py --repeats 9 --threads 2 --json figures.json --markdown docs/mask_speed.md

The photograph has 12 megapixels, and there are ten prompts. The encoder is that of the released model, with random
weights, at 352 pixels in float32. The maps are drawn: eight things of many sizes, unsure at their edges and uneven from
patch to patch as real ones are, and two that are not there. Before anything is timed, masks are compared with those of
the usual way, which makes a full-size float map of every prompt and hands it to scipy and Pillow.

Cases are called in turn, in an order drawn anew each round, so that a machine that slows down slows down all of them.
What counts is the ratio to the encoder's pass of the same run; seconds are those of one machine on one day. Memory is
measured in a fresh process for each case: the peak while it runs, over what was resident before, maps and photograph
included. Linux is asked for it; elsewhere it is the growth of the process's peak so far, which can be too little, and
where nothing tells it is left out.

--tiny takes a small picture and model, to see that all works. docs/mask_speed.md says how to read the table.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it
from numpy.typing import NDArray
from pages import write_between_marks
from PIL import Image
from scipy import ndimage

from clipseg import CLIPSegConfig
from clipseg.benchmark.memory import in_own_process, peak_megabytes
from clipseg.benchmark.timing import interleaved
from clipseg.masks import polygons, rle
from clipseg.masks.components import window_of
from clipseg.masks.masks import Masks
from clipseg.masks.png import save_binary
from clipseg.masks.rules import DEFAULT_THRESHOLD
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation

ENCODER = "encoder"
CLEANED: Mapping[str, Any] = {"fill_holes": True, "min_area": "0.01%", "keep": "largest"}

Call = Callable[[], object]
Pixels = NDArray[np.bool_]


@dataclass(frozen=True)
class Scale:
    """How much there is to do. Figures are for the full scale; `tiny` only shows that all works."""

    size_hw: tuple[int, int] = (3000, 4000)
    side: int = 352
    layers: int = 12
    prompts: int = 10
    many: int = 1000


# -- what there is to work on ------------------------------------------------------------------------------------------


@cache
def drawn(scale: Scale) -> tuple[torch.Tensor, Image.Image]:
    """-> logits (P, s, s), and a photograph with the same things in it."""
    numbers = np.random.default_rng(0)
    side, (height, width) = scale.side, scale.size_hw
    ys, xs = np.mgrid[:side, :side] / side
    ground = ndimage.zoom(numbers.random((6, 8, 3)), (height / 6, width / 8, 1), order=1) * 160
    maps = np.full((scale.prompts, side, side), -4.0)
    for place, one in enumerate(maps[: max(1, scale.prompts * 8 // 10)]):
        across, down = (0.05 * 10 ** (place / 10)) * numbers.uniform(0.6, 1.4, 2)  # from 1% to 30% of the picture
        x, y = numbers.uniform(0.15, 0.85, 2)
        inside = ((xs - x) / across) ** 2 + ((ys - y) / down) ** 2 < 1 + 0.3 * np.sin(7 * np.arctan2(ys - y, xs - x))
        one += 7 * ndimage.gaussian_filter(inside.astype(float), 4)
        rows, columns = (np.arange(full) * side // full for full in (height, width))
        ground[inside[np.ix_(rows, columns)]] = numbers.random(3) * 255
    patches = numbers.normal(0, 0.4, (len(maps), side // 16 + 1, side // 16 + 1)).repeat(16, 1).repeat(16, 2)
    maps += patches[:, :side, :side] + ndimage.gaussian_filter(numbers.normal(0, 1, maps.shape), (0, 2, 2))
    grain = numbers.integers(-9, 10, ground.shape, np.int8)
    return torch.from_numpy(maps).float(), Image.fromarray((ground + grain).clip(0, 255).astype(np.uint8))


def masks_of(scale: Scale, count: int | None = None, **options: Any) -> Masks:
    """-> the drawn masks, finished by these options; more than were drawn are the same ones over again, moved."""
    logits, picture = drawn(scale)
    if count is not None:
        many = [logits[n % len(logits)].roll((7 * n, 11 * n), (0, 1)) for n in range(count)]
        logits = torch.stack(many)
    return Masks(logits, tuple(f"thing {n}" for n in range(len(logits))), scale.size_hw, picture).with_options(
        **options
    )


def encoder(scale: Scale) -> Call:
    """-> one pass of the released model's vision tower, with random weights."""
    parts = {"num_hidden_layers": scale.layers}
    vision = parts | {"patch_size": 16, "image_size": 224}
    layers = [layer * scale.layers // 12 for layer in (3, 6, 9)]
    torch.manual_seed(0)
    config = CLIPSegConfig(
        vision_config=vision, text_config={"num_hidden_layers": 1}, extract_layers=layers, reduce_dim=64
    )
    model = CLIPSegForImageSegmentation(config).eval()
    pixels = torch.randn(1, 3, scale.side, scale.side)

    def call() -> object:
        with torch.inference_mode():
            return model.encode_images(pixels)

    return call


# -- the cases ---------------------------------------------------------------------------------------------------------


def each(masks: Masks, work: Callable[[Pixels], object]) -> Call:
    """Masks and what is done with each -> the call."""

    def call() -> object:
        for mask in masks.each_binary():
            work(mask.numpy())
        return None

    return call


def nothing(_: Pixels) -> None:
    """For masks that are only made."""


def saving(masks: Masks, *, boxes: bool = False) -> Call:
    """-> masks made, their boxes found if asked for, and each written as a PNG."""
    folder = tempfile.TemporaryDirectory(prefix="mask-path-")
    path = Path(folder.name) / "mask.png"

    def save(mask: Pixels) -> object:
        save_binary(path, mask)
        return folder, window_of(mask) if boxes else None  # the folder goes when the call does

    return each(masks, save)


def everything(scale: Scale) -> Call:
    """-> masks cleaned, boxes of them found, and each written as a PNG."""
    return saving(masks_of(scale, **CLEANED), boxes=True)


def usual_masks(scale: Scale) -> torch.Tensor:
    """-> masks as people make them today: all maps at full size, their probabilities, and which are high enough."""
    logits = drawn(scale)[0]
    full = F.interpolate(logits[None], size=scale.size_hw, mode="bilinear", align_corners=False)[0]
    return full.sigmoid() > DEFAULT_THRESHOLD


def usual_saving(scale: Scale) -> object:
    """-> the same, written by Pillow."""
    for mask in usual_masks(scale).numpy():
        Image.fromarray(mask.astype(np.uint8) * 255).save(io.BytesIO(), "PNG")
    return None


def usual_everything(scale: Scale) -> object:
    """-> the same with the largest part of each, its holes filled, by scipy, its box, and a PNG by Pillow."""
    for mask in usual_masks(scale).numpy():
        parts, count = ndimage.label(ndimage.binary_fill_holes(mask), np.ones((3, 3)))
        areas = np.bincount(parts.ravel())[1:]
        largest = parts == areas.argmax() + 1 if count else np.zeros_like(mask)
        np.nonzero(largest)
        Image.fromarray(largest.astype(np.uint8) * 255).save(io.BytesIO(), "PNG")
    return None


def guided(scale: Scale, count: int) -> Call:
    """-> the first few masks along the picture's edges, the guide made anew."""
    masks = masks_of(scale, refine="guided")[:count]
    return each(masks, nothing)


def soft(scale: Scale, **options: Any) -> Call:
    """-> one soft mask."""
    masks = masks_of(scale, **options)[:1]
    return lambda: masks.matte()


CASES: Mapping[str, tuple[str, Callable[[Scale], Call]]] = {
    ENCODER: ("one pass of the encoder, {side} px", encoder),
    "binary": ("{prompts} masks: resize and threshold", lambda scale: each(masks_of(scale), nothing)),
    "png": ("the same, each written as PNG", lambda scale: saving(masks_of(scale))),
    "cleaned": (
        "the same as `binary`, holes filled, small parts gone, the largest kept",
        lambda scale: each(masks_of(scale, **CLEANED), nothing),
    ),
    "everything": ("**all of it: resize, threshold, holes, components, boxes, PNG**", everything),
    "instances": ("all connected parts of {prompts} masks", lambda scale: masks_of(scale).instances),
    "rle": ("{prompts} masks as COCO run lengths", lambda scale: each(masks_of(scale), rle.compressed)),
    "polygons": ("{prompts} masks as polygons", lambda scale: each(masks_of(scale), polygons.polygons)),
    "label_map": ("a map of labels", lambda scale: masks_of(scale).label_map),
    "overlay": ("an overlay with its legend", lambda scale: masks_of(scale).overlay),
    "guided_1": ("a mask along the picture's edges (`refine=guided`)", lambda scale: guided(scale, 1)),
    "guided_3": ("three of them, on one guide", lambda scale: guided(scale, 3)),
    "smooth": ("a mask smoothed (`smooth=1%`)", lambda scale: soft(scale, smooth="1%")),
    "feather": ("a mask feathered (`feather=1%`)", lambda scale: soft(scale, feather="1%")),
    "many": (
        "{many:,} prompts, one mask after the other (`each_binary`)",
        lambda scale: each(masks_of(scale, scale.many), nothing),
    ),
    "usual_binary": ("the usual way: `binary`", lambda scale: lambda: usual_masks(scale)),
    "usual_png": ("the usual way: `png`", lambda scale: lambda: usual_saving(scale)),
    "usual_everything": ("the usual way: **all of it**", lambda scale: lambda: usual_everything(scale)),
}


# -- measuring ---------------------------------------------------------------------------------------------------------


def check(scale: Scale) -> None:
    """Exits unless the masks are those of the usual way, but for pixels on the very edge of passing."""
    ours = masks_of(scale).binary()
    differ = float((ours != usual_masks(scale)).float().mean())
    if differ > 1e-5:
        sys.exit(f"masks differ from the usual way's in {differ:.1e} of all pixels; expected 1e-5 at most")


def peak(name: str, scale: Scale, threads: int) -> float | None:
    """In a process of its own: a case -> the most megabytes (10^6) it took while it ran, over what there was before."""
    torch.set_num_threads(threads)
    call = CASES[name][1](scale)
    drawn(scale)
    return peak_megabytes(call)


def table(figures: Mapping[str, Any]) -> str:
    """Figures -> Markdown."""
    lines = [
        f"{figures['machine']}; {figures['repeats']} rounds; {figures['command']}",
        "",
        "| What | Median, s | Lowest to highest | Times the encoder | Memory, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in figures["cases"].values():
        memory = "" if row["peak_megabytes"] is None else f"{row['peak_megabytes']:,.0f}"
        seconds = row["seconds"]
        lines.append(
            f"| {row['says']} | {row['median']:.3f} | {min(seconds):.3f} to {max(seconds):.3f} "
            f"| {row['ratio']:.2f} | {memory} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, 100 prompts where there are 1,000")
    parser.add_argument("--tiny", action="store_true", help="a small picture and model: shows that all works")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), help="these cases, and the encoder")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default 2)")
    parser.add_argument("--no-memory", action="store_true", help="leave memory out")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="put the table between the markers of this page")
    options = parser.parse_args()
    scale = Scale((150, 200), 32, 4, 10, 20) if options.tiny else Scale(many=100) if options.quick else Scale()
    repeats = min(options.repeats, 3) if options.quick or options.tiny else options.repeats

    torch.set_num_threads(options.threads)
    check(scale)
    names = [name for name in CASES if options.only is None or name in (ENCODER, *options.only)]
    calls = {name: CASES[name][1](scale) for name in names}
    for name, call in calls.items():
        if name != "many":
            call()  # warm
    seconds = interleaved(calls, repeats)
    cases = {
        name: {
            "says": CASES[name][0].format(side=scale.side, prompts=scale.prompts, many=scale.many),
            "seconds": taken,
            "median": statistics.median(taken),
            "ratio": statistics.median(taken) / statistics.median(seconds[ENCODER]),
            "peak_megabytes": None if options.no_memory else in_own_process(peak, name, scale, options.threads),
        }
        for name, taken in seconds.items()
    }
    height, width = scale.size_hw
    figures = {
        "machine": f"{width}x{height}, {platform.machine()} with {os.cpu_count()} cores, {options.threads} threads, "
        f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}",
        "command": f"`python benchmarks/mask_path.py {' '.join(sys.argv[1:])}`".replace(" `", "`"),
        "repeats": repeats,
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "logits_megabytes": {
            "of ten": scale.prompts * scale.side**2 * 4e-6,
            "of many": scale.many * scale.side**2 * 4e-6,
        },
        "cases": cases,
    }
    text = table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        write_between_marks(options.markdown, text)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
