"""Render the pictures that docs/options.md asks about, so that making its strips again needs no font.

    python examples/make_option_pictures.py

Writes examples/options/NAME.jpg, and masks.png of the example's thing. Needs Debian's fonts-noto-color-emoji and
unicode-cldr-core. Seeds begin with a number that neither training nor any measurement uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions

FOLDER = Path(__file__).parent / "options"
STREAM = 9_300_000
QUALITY = 92
KINDS = SEEN[:179]  # those of nano's first edition: the pictures stay what they were

_LARGE = SceneOptions(
    size=352, objects=(3, 3), scale=(0.45, 0.65), noise=0, distractors=(0, 0), repeat=0, min_visible=0.6
)
_HERD = SceneOptions(
    size=352, objects=(7, 7), scale=(0.15, 0.42), noise=0, distractors=(0, 1), repeat=0.7, min_visible=0.9
)
_SMALL = SceneOptions(
    size=704, objects=(10, 14), scale=(0.09, 0.22), noise=0, distractors=(0, 2), repeat=0.3, min_visible=0.9
)
_WIDE = SceneOptions(
    size=704, objects=(8, 10), scale=(0.28, 0.4), noise=0, distractors=(0, 0), repeat=0, min_visible=0.9
)
_EXAMPLE = SceneOptions(
    size=352, objects=(3, 4), scale=(0.35, 0.55), noise=0, distractors=(0, 0), repeat=0, min_visible=0.8
)


@dataclass(frozen=True)
class Spec:
    """What a scene is made of: options, seed, the kinds that may be drawn, the one that must be, and the rows kept."""

    options: SceneOptions
    seed: tuple[int, int]
    characters: str = "".join(KINDS)
    required: str | None = None
    rows: tuple[int, int] | None = None


PICTURES = {
    "farm": Spec(_LARGE, (STREAM, 8)),  # a cat, a cow and a cactus, which touch
    "mug": Spec(_LARGE, (STREAM, 0)),  # a mug before a candle before an onion; nano takes some of one for another
    "magnet": Spec(_LARGE, (STREAM, 11)),  # simple outlines: a camera, a magnet, broccoli
    "clover": Spec(_HERD, (STREAM, 3), "🐞🍀"),  # one kind seven times, in several sizes
    "dots": Spec(_SMALL, (STREAM, 5)),  # many small things in a large picture
    "wide": Spec(_WIDE, (STREAM, 6), rows=(200, 470)),  # not a square
    "example": Spec(_EXAMPLE, (STREAM + 1, 0), required="🌵"),  # a cactus among others, to be shown as a prompt
}


def main() -> None:
    """Render all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, spec in PICTURES.items():
        generator = SceneGenerator(KINDS, spec.options)
        kinds = [KINDS.index(character) for character in spec.characters]
        wanted = None if spec.required is None else KINDS.index(spec.required)
        scene = generator.scene(spec.seed, kinds, must_contain=wanted)
        rows = slice(*(spec.rows or (None, None)))
        Image.fromarray(scene.picture[rows]).save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)
        if wanted is not None:
            mask = Image.fromarray(scene.masks[scene.kinds.index(wanted)][rows])
            mask.save(FOLDER / f"{name}.mask.png", optimize=True)


if __name__ == "__main__":
    main()
