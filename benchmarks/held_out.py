"""What prompts and masks are worth, on synthetic scenes that the bundled model has never seen.

    python benchmarks/held_out.py
    python benchmarks/held_out.py --scenes 20 --seed 5 --json

Five questions, each with a bar that was set before: do expressions and negatives pick the right things; is a mixed
prompt at least as good as the weaker of its two; does the paper's final style beat the plain picture where the example
holds several things; does guided upsampling sharpen outlines; do tiles find what a single pass is too coarse for.

Every scene is a function of --seed and of a first number that neither training nor `clipseg evaluate` uses. Objects are
never left out for being hard: a mask that missed its object counts with all others. docs/held_out.md has a whole run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import chain, permutations

import numpy as np
import torch
from PIL import Image

from clipseg.data.kinds import SEEN
from clipseg.data.scenes import Scene, SceneGenerator, SceneOptions
from clipseg.metrics import boundary_f1, iou_per_mask
from clipseg.prompting.prompts import ImagePrompt, TextPrompt
from clipseg.segmenter import Segmenter

STREAM = 9_100_000  # first number of every seed here; `clipseg evaluate` has 9,000,000, recipes their own
SCENES = 100
THRESHOLD = 0.5

LARGE_SIDE = 512  # pixels of the pictures whose outlines are measured: 1.6 times the resolution of nano's maps
TOLERANCE = 3.0  # pixels of LARGE_SIDE; a ninth of what one patch covers there
SMALL_AREA = (0.005, 0.015)  # of the picture: "about a hundredth"
FOUND = 0.5  # IoU from which an object counts as found

EXPRESSIONS_WITHIN = 0.05
STYLE_MARGIN = 0.05
SHARPER_BY = 0.15


@dataclass(frozen=True)
class Figure:
    """One measured mean, and over how many objects, pairs or examples."""

    group: str
    name: str
    value: float
    count: int


@dataclass(frozen=True)
class Bar:
    """What was to be reached, what was reached, and whether that is enough."""

    question: str
    measured: str
    required: str
    met: bool


Answer = tuple[list[Figure], list[Bar]]


def figures(group: str, values: dict[str, list[float]]) -> dict[str, Figure]:
    """Name -> values of it, as name -> their mean."""
    return {name: Figure(group, name, float(np.mean(each)), len(each)) for name, each in values.items()}


def as_large_as_the_input(segmenter: Segmenter) -> SceneGenerator:
    """A segmenter -> a generator of scenes that its model sees pixel for pixel."""
    return SceneGenerator(SEEN, SceneOptions(size=segmenter.model.config.vision_config.image_size))


def scenes(generator: SceneGenerator, count: int, *seed: int) -> Iterator[tuple[int, Scene, torch.Tensor]]:
    """-> number, scene and its truth (K, S, S) of `count` scenes."""
    for number in range(count):
        scene = generator.scene([STREAM, *seed, number])
        yield number, scene, torch.from_numpy(scene.masks)


def iou(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(iou_per_mask(found, truth))


def names_of(generator: SceneGenerator, scene: Scene) -> list[str]:
    return [generator.pictograms[kind].name for kind in scene.kinds]


def select(segmenter: Segmenter, count: int, seed: int) -> Answer:
    """Expressions and negatives over ordered pairs A, B of names in a scene.

    The reference is what a user would do with the two single masks, decided at the same threshold: NumPy's & ~ and |.
    """
    generator, values = as_large_as_the_input(segmenter), dict[str, list[float]]()
    for _, scene, truth in scenes(generator, count, seed, 0):
        names = names_of(generator, scene)
        pairs = list(permutations(range(len(names)), 2))
        if not pairs:
            continue
        features = segmenter.encode(Image.fromarray(scene.picture))
        single = segmenter.segment(features, [TextPrompt(name) for name in names]).binary(THRESHOLD)
        texts = [
            form.format(f'"{names[a]}"', f'"{names[b]}"')
            for a, b in pairs
            for form in ("{} AND NOT {}", "{} OR {}", "({0} OR {1}) AND NOT {1}")
        ]
        asked = iter(segmenter.segment(features, texts).binary(THRESHOLD))
        for a, b in pairs:
            without, either, back = next(asked), next(asked), next(asked)
            negative = segmenter.segment(features, TextPrompt(names[a]), negative=TextPrompt(names[b]))
            rows = {
                "A alone": (single[a], truth[a]),
                "A AND NOT B": (without, truth[a] & ~truth[b]),
                "A, negative B": (negative.binary(THRESHOLD)[0], truth[a] & ~truth[b]),
                "A & ~B of the single masks": (single[a] & ~single[b], truth[a] & ~truth[b]),
                "A OR B": (either, truth[a] | truth[b]),
                "A | B of the single masks": (single[a] | single[b], truth[a] | truth[b]),
                "(A OR B) AND NOT B": (back, truth[a] & ~truth[b]),
                "(A | B) & ~B of the single masks": (
                    (single[a] | single[b]) & ~single[b],
                    truth[a] & ~truth[b],
                ),
            }
            for name, (found, right) in rows.items():
                values.setdefault(name, []).append(iou(found, right))
    made = figures("select", values)
    compared = (
        ("A AND NOT B", "A & ~B of the single masks"),
        ("A, negative B", "A & ~B of the single masks"),
        ("A OR B", "A | B of the single masks"),
        ("(A OR B) AND NOT B", "(A | B) & ~B of the single masks"),
    )
    bars = []
    for asked_for, reference in compared:
        difference = made[asked_for].value - made[reference].value
        met = abs(difference) <= EXPRESSIONS_WITHIN
        measured, required = f"{difference:+.4f}", f"within ±{EXPRESSIONS_WITHIN}"
        bars.append(Bar(f"IoU of {asked_for}, against {reference}", measured, required, met))
    return list(made.values()), bars


def several(generator: SceneGenerator, kind: int, seed: Sequence[int]) -> ImagePrompt:
    """A kind -> an example of it among other kinds, with its mask: the first such scene of a seed."""
    for attempt in range(1000):
        scene = generator.scene([*seed, attempt], must_contain=kind)
        if len(scene.kinds) > 1:
            return ImagePrompt(scene.picture, mask=scene.masks[scene.kinds.index(kind)])
    raise RuntimeError("no scene with several kinds in a thousand; the generator's options must have changed")


def mix(segmenter: Segmenter, count: int, seed: int) -> Answer:
    """Every object by its name, by an example, and by half of each."""
    generator, values = as_large_as_the_input(segmenter), dict[str, list[float]]()
    for number, scene, truth in scenes(generator, count, seed, 1):
        texts = [TextPrompt(name) for name in names_of(generator, scene)]
        examples = [several(generator, kind, [STREAM, seed, 2, number, kind]) for kind in scene.kinds]
        mixed = [0.5 * text + 0.5 * example for text, example in zip(texts, examples, strict=True)]
        found = segmenter.segment(Image.fromarray(scene.picture), [*texts, *examples, *mixed]).binary(THRESHOLD)
        for name, masks in zip(("text", "example", "half of each"), found.chunk(3), strict=True):
            values.setdefault(name, []).extend(iou_per_mask(masks, truth).tolist())
    made = figures("mix", values)
    weaker, mixed_iou = min(made["text"].value, made["example"].value), made["half of each"].value
    measured = f"{mixed_iou - weaker:+.4f}"
    return list(made.values()), [
        Bar("IoU of mixed prompts, against the weaker of the two", measured, "at least 0", mixed_iou >= weaker)
    ]


def show(segmenter: Segmenter, count: int, seed: int) -> Answer:
    """Every object by an example that holds other things too: as it is, and by some styles."""
    styles = ("whole", "crop_blur_highlight", "crop", "blur3_highlight01", "cut_out")
    generator, values = as_large_as_the_input(segmenter), dict[str, list[float]]()
    for number, scene, truth in scenes(generator, count, seed, 3):
        examples = [several(generator, kind, [STREAM, seed, 4, number, kind]) for kind in scene.kinds]
        prompts = [ImagePrompt(one.picture, mask=one.mask, style=style) for style in styles for one in examples]
        found = segmenter.segment(Image.fromarray(scene.picture), prompts).binary(THRESHOLD)
        for style, masks in zip(styles, found.chunk(len(styles)), strict=True):
            values.setdefault(style, []).extend(iou_per_mask(masks, truth).tolist())
    made = figures("show", values)
    gain = made["crop_blur_highlight"].value - made["whole"].value
    required = f"at least {STYLE_MARGIN:+}"
    return list(made.values()), [
        Bar(
            "IoU of crop_blur_highlight, against the whole picture",
            f"{gain:+.4f}",
            required,
            bool(gain >= STYLE_MARGIN),
        )
    ]


def sharpen(segmenter: Segmenter, count: int, seed: int) -> Answer:
    """Outlines of every named object in pictures finer than the model's maps."""
    ways = {"bilinear": {}, "bicubic": {"upsample": "bicubic"}, "guided": {"refine": "guided"}}
    generator = SceneGenerator(SEEN, SceneOptions(size=LARGE_SIDE))
    outlines, areas = dict[str, list[float]](), dict[str, list[float]]()
    for _, scene, truth in scenes(generator, count, seed, 5):
        prompts = [TextPrompt(name) for name in names_of(generator, scene)]
        masks = segmenter.segment(Image.fromarray(scene.picture), prompts)
        for way, options in ways.items():
            found = masks.with_options(**options).binary(THRESHOLD)
            for mask, right in zip(found, truth, strict=True):
                outlines.setdefault(f"{way}, boundary F", []).append(boundary_f1(mask, right, TOLERANCE))
                areas.setdefault(f"{way}, IoU", []).append(iou(mask, right))
    made = figures("sharpen", outlines | areas)
    gain = made["guided, boundary F"].value / made["bilinear, boundary F"].value - 1
    return list(made.values()), [
        Bar(
            f"boundary F at {TOLERANCE:g} pixels of {LARGE_SIDE}, guided against bilinear",
            f"{gain:+.1%}",
            f"at least {SHARPER_BY:+.0%}",
            gain >= SHARPER_BY,
        )
    ]


def look_closely(segmenter: Segmenter, count: int, seed: int) -> Answer:
    """Named objects of about a hundredth of the picture, in one pass and in tiles."""
    generator = SceneGenerator(SEEN, SceneOptions(size=LARGE_SIDE, objects=(4, 8), scale=(0.09, 0.14)))
    recall, presence = dict[str, list[float]](), dict[str, list[float]]()
    for _, scene, truth in scenes(generator, count, seed, 6):
        prompts = [TextPrompt(name) for name in names_of(generator, scene)]
        shares = truth.float().mean((1, 2))
        small = (shares >= SMALL_AREA[0]) & (shares <= SMALL_AREA[1])
        for way in ("squash", "tile"):
            masks = segmenter.segment(Image.fromarray(scene.picture), prompts, fit=way)
            found = iou_per_mask(masks.binary(THRESHOLD), truth) >= FOUND
            recall.setdefault(f"{way}, found", []).extend(found[small].double().tolist())
            presence.setdefault(f"{way}, score", []).extend(masks.scores()[small].tolist())
    single, tiled = (np.array(recall[f"{way}, found"]) > 0 for way in ("squash", "tile"))
    missed = recall | presence | {"of those the single pass misses, found by tiles": tiled[~single].tolist()}
    made = figures("look closely", missed)
    gained, lost = int((tiled & ~single).sum()), int((single & ~tiled).sum())
    return list(made.values()), [
        Bar("objects found by tiles alone, less those found by the single pass alone", f"{gained} - {lost}", "above 0",
            gained > lost)
    ]  # fmt: skip


QUESTIONS: dict[str, Callable[[Segmenter, int, int], Answer]] = {
    "select": select,
    "mix": mix,
    "show": show,
    "sharpen": sharpen,
    "look closely": look_closely,
}


def measured(segmenter: Segmenter, count: int, seed: int, questions: Sequence[str] = tuple(QUESTIONS)) -> Answer:
    """-> all figures and bars of some questions."""
    answers = [QUESTIONS[question](segmenter, count, seed) for question in questions]
    return list(chain(*(found for found, _ in answers))), list(chain(*(bars for _, bars in answers)))


def markdown(found: Sequence[Figure], bars: Sequence[Bar]) -> str:
    """-> two tables."""
    verdicts = [(bar.question, bar.measured, bar.required, "met" if bar.met else "missed") for bar in bars]
    means = [(each.group, each.name, f"{each.value:.4f}", f"{each.count:,}") for each in found]
    return "\n\n".join((table(("bar", "measured", "required", ""), verdicts),
                        table(("question", "figure", "mean", "over"), means)))  # fmt: skip


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(headings)
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (headings, rule, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="a name or a folder (default: nano)")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"scenes of each question (default: {SCENES})")
    parser.add_argument("--seed", type=int, default=0, help="which scenes (default: 0)")
    parser.add_argument("--only", choices=tuple(QUESTIONS), action="append", help="this question; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    given = parser.parse_args(arguments)
    if given.scenes < 1 or given.seed < 0:
        parser.error("--scenes is at least 1 and --seed at least 0")
    segmenter = Segmenter.from_pretrained(given.model)
    found, bars = measured(segmenter, given.scenes, given.seed, tuple(given.only or QUESTIONS))
    if given.json:
        about = {"model": given.model, "scenes": given.scenes, "seed": given.seed, "date": date.today().isoformat()}
        print(json.dumps(about | {"bars": [asdict(bar) for bar in bars], "figures": [asdict(one) for one in found]}))
    else:
        print(markdown(found, bars))


if __name__ == "__main__":
    main()
