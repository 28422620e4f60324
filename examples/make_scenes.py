"""Render the example scenes and their true masks once, so that trying clipseg needs no font.

    python examples/make_scenes.py

Writes examples/scenes/NAME.png, examples/scenes/NAME.masks.png (mode P, k = the k-th name, 0 = none of them) and
examples/scenes/scenes.json. Needs Debian's fonts-noto-color-emoji and unicode-cldr-core.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.masks.draw import PALETTE

FOLDER = Path(__file__).parent / "scenes"
SIDE = 384
FIRST = 179  # kinds that the first edition of nano knew: the pictures stay what they were
# Name -> seed, and the character that has to be in the scene. 🦓 is a kind that nano never saw in training, so an
# example is the only way to ask for it.
KINDS = SEEN[:FIRST] + HELD_OUT[:30]
SCENES: dict[str, tuple[int, str | None]] = {
    "one": (8103, None),
    "two": (8104, None),
    "three": (8114, None),
    "four": (8120, None),
    "four_example": (8133, "🦁"),
    "unseen": (8207, "🦓"),
    "unseen_example": (8202, "🦓"),
}


def main() -> None:
    """Render all scenes."""
    FOLDER.mkdir(exist_ok=True)
    options = SceneOptions(size=SIDE, objects=(3, 4), repeat=0.0)
    generator = SceneGenerator(KINDS, options)
    entries = []
    for name, (seed, character) in SCENES.items():
        wanted = None if character is None else KINDS.index(character)
        allowed = sorted({*range(FIRST), *([] if wanted is None else [wanted])})
        scene = generator.scene([seed], allowed, must_contain=wanted)
        labels = np.zeros(scene.masks.shape[1:], np.uint8)
        for number, mask in enumerate(scene.masks, start=1):
            labels[mask] = number
        image = Image.fromarray(labels, "P")
        image.putpalette([0, 0, 0, *(value for colour in PALETTE for value in colour)])
        image.save(FOLDER / f"{name}.masks.png", optimize=True)
        Image.fromarray(scene.picture).save(FOLDER / f"{name}.png", optimize=True)
        entries.append({"picture": f"{name}.png", "names": [generator.pictograms[kind].name for kind in scene.kinds]})
    (FOLDER / "scenes.json").write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
