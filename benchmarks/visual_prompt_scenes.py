"""A folder of synthetic scenes with masks, for `clipseg analyse visual-prompts`.

    python benchmarks/visual_prompt_scenes.py scenes --count 60
    clipseg analyse visual-prompts scenes --model nano --template plain --among picture --out docs/images

Every scene holds several things of the kinds that nano was trained on, in scenes that it has not seen; each thing has a
mask named after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.masks.png import save_binary, save_picture

STREAM = 9_200_000  # first number of every seed here; training, `clipseg evaluate` and held_out.py have others
OPTIONS = SceneOptions(size=256, objects=(3, 5), repeat=0)


def write_scenes(folder: Path, count: int, seed: int = 0, kinds: int = 30) -> None:
    """Write images/NUMBER.png and masks/NUMBER.NAME.png of `count` scenes, of the first `kinds` kinds."""
    generator = SceneGenerator(SEEN, OPTIONS)
    for number in range(count):
        scene = generator.scene([STREAM, seed, number], range(min(kinds, len(SEEN))))
        stem = f"{number:04}"
        save_picture(folder / "images" / f"{stem}.png", Image.fromarray(scene.picture))
        for kind, mask in zip(scene.kinds, scene.masks, strict=True):
            name = generator.pictograms[kind].name.replace(" ", "-").replace(".", "")
            save_binary(folder / "masks" / f"{stem}.{name}.png", mask)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60, help="scenes (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", type=int, default=30, help="of things; the fewer, the more often each (default: 30)")
    given = parser.parse_args(arguments)
    write_scenes(given.folder, given.count, given.seed, given.kinds)


if __name__ == "__main__":
    main()
