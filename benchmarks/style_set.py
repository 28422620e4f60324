"""Draw a small data set in a style that nano has never seen: woodcuts, coloured by hand and a little beside the lines.

    python benchmarks/style_set.py OUT [--train 50] [--held-out 50] [--seed 0]

Writes OUT/images/*.png, OUT/masks/*.png and OUT/table.csv with the columns image, mask, phrase and split ("train" or
"test"), as anyone's own data may look; `clipseg train finetune data=OUT` reads it. Scenes, and so the true masks, are
those of `clipseg.data.scenes`. Needs Debian's fonts-noto-color-emoji and unicode-cldr-core.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipseg.data.scenes import Scene, SceneGenerator, SceneOptions

SIDE = 256
KINDS = "🍎🐸🚗🏠🐟🎈🌵☕🦉🔔"
STROKE = 5.0  # pixels from one cut to the next
WASH = 0.8  # how much of its colour a thing keeps
ASIDE = 6  # pixels by which colours miss their lines at most
INK, PAPER = np.array([38.0, 32.0, 44.0]), np.array([236.0, 226.0, 203.0])


def woodcut(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A scene (S, S, 3) -> the same as a woodcut (S, S, 3): contours, lines that swell with darkness, thin colour."""
    colour = scene.picture.astype(np.float64)
    grey = colour.mean(-1) / 255
    objects = scene.masks.any(0)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]

    def lines(spacing: float) -> NDArray[np.float64]:
        """-> a wave from 0 to 1 across the picture in some direction: where it is below a darkness, there is ink."""
        angle = rng.uniform(0, np.pi)
        return (1 + np.cos(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / spacing)) / 2

    shade = (lines(STROKE) < 0.6 * np.clip(1.15 - 1.3 * grey, 0, 1)) & objects
    steep = (np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)) > 0.55) & objects
    border = np.zeros_like(objects)
    for mask in scene.masks:
        border |= mask & ~ndimage.binary_erosion(mask, iterations=2)
    ground = (lines(2.2 * STROKE) < rng.uniform(0.08, 0.3)) & ~objects
    ink = ndimage.gaussian_filter((shade | steep | border | ground).astype(np.float64), 0.6)[..., None]
    grain = 14 * ndimage.gaussian_filter(rng.normal(size=grey.shape), 1.5)[..., None]
    washed = np.where(objects[..., None], ndimage.gaussian_filter(colour, (2, 2, 0)), 255) / 255
    washed = ndimage.shift(washed, (*rng.integers(-ASIDE, ASIDE + 1, 2), 0), order=0, cval=1.0)
    paper = PAPER * (1 - WASH + WASH * washed)
    return np.clip(paper * (1 - ink) + INK * ink + grain, 0, 255).astype(np.uint8)


def write_style_set(out: Path, train: int, held_out: int, seed: int = 0) -> None:
    """Write so many pictures to train on and to hold out, with their masks and table, into a folder."""
    options = SceneOptions(size=SIDE, objects=(2, 4), distractors=(0, 0), noise=0, hue=0)
    generator = SceneGenerator(KINDS, options)
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(train + held_out):
        split = "train" if number < train else "test"
        scene = generator.scene([seed, number])
        picture = f"{number:03d}.png"
        Image.fromarray(woodcut(scene, np.random.default_rng([seed, number]))).save(out / "images" / picture)
        for kind, mask in zip(scene.kinds, scene.masks, strict=True):
            phrase = generator.pictograms[kind].name
            name = f"{number:03d}_{phrase.replace(' ', '_')}.png"
            Image.fromarray(mask).save(out / "masks" / name)
            rows.append((picture, name, phrase, split))
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "mask", "phrase", "split"), *rows])


def main() -> None:
    """Read the arguments and write the data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=50)
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_style_set(arguments.out, arguments.train, arguments.held_out, arguments.seed)


if __name__ == "__main__":
    main()
