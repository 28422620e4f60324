"""How good a model is on synthetic scenes it has never seen: text, examples, examples of unseen kinds, absence.

    report = evaluate_scenes(Segmenter.from_pretrained("nano"))
    report.iou_text_per_object_mean

An object is all of one kind in one scene; its IoU is taken at the scene's own size. Every scene, example and absent
name is a function of the seed, and of no seed that a recipe's training draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from PIL import Image

from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.data.pictograms import Pictogram
from clipseg.data.scenes import Scene, SceneGenerator, SceneOptions
from clipseg.errors import UsageError
from clipseg.metrics import area_under_roc, boundary_f1, iou_per_mask
from clipseg.prompting.prompts import ImagePrompt, Prompt, TextPrompt
from clipseg.segmenter import Segmenter

THRESHOLD = 0.5
TOLERANCE = 2.0  # pixels, by which an outline may be off
ABSENT_NAMES = 5  # asked for in each scene, beside the names of what is in it
EVALUATION_STREAM = 9_000_000  # first number of every seed here; training draws under its recipe's seed
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SceneReport:
    """Means over objects, and how many there were.

    Fields
        iou_text_per_object_mean            objects prompted by a name of theirs
        iou_example_per_object_mean         objects prompted by an example from another scene, with its mask
        iou_unseen_example_per_object_mean  the same for kinds that no training has seen
        auroc_presence                      chance that a name in the scene scores higher than one that is not
        boundary_f1_text_per_object_mean    how well the outlines of the first agree within TOLERANCE pixels
        names                               different names that were asked for, of things that are there
    """

    iou_text_per_object_mean: float
    iou_example_per_object_mean: float
    iou_unseen_example_per_object_mean: float
    auroc_presence: float
    boundary_f1_text_per_object_mean: float
    threshold: float
    scenes: int
    objects: int
    names: int
    unseen_objects: int
    unseen_kinds: int
    absent_names: int
    seed: int

    def to_dict(self) -> dict[str, float | int]:
        """-> the figures, rounded to four digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def table(self) -> list[tuple[str, str]]:
        """-> rows of a figure's name and its value as text."""
        shown = self.to_dict()
        return [(item.name.replace("_", " "), str(shown[item.name])) for item in fields(self)]


def evaluate_scenes(
    segmenter: Segmenter,
    *,
    scenes: int = 300,
    seed: int = 0,
    options: SceneOptions | None = None,
    progress: Progress | None = None,
) -> SceneReport:
    """A segmenter -> its report on `scenes` scenes of seen kinds and as many that hold an unseen kind.

    `progress` is called with the scenes done and their number. Raises MissingPackageError where the font or the names
    are not installed, and UsageError for fewer than one scene.
    """
    if scenes < 1:
        raise UsageError(f"scenes is {scenes}; expected at least 1")
    seen = SceneGenerator(SEEN, options)
    every = SceneGenerator(SEEN + HELD_OUT, options)
    unseen_kinds = range(len(SEEN), len(SEEN) + len(HELD_OUT))
    by_text: list[float] = []
    outlines: list[float] = []
    by_example: list[float] = []
    by_unseen: list[float] = []
    present_scores: list[float] = []
    absent_scores: list[float] = []
    named: set[str] = set()
    shown: set[int] = set()
    for number in range(scenes):
        scene = seen.scene([EVALUATION_STREAM, seed, 0, number])
        rng = np.random.default_rng([EVALUATION_STREAM, seed, 1, number])
        absent = rng.permutation(np.setdiff1d(np.arange(len(SEEN)), scene.kinds))[:ABSENT_NAMES]
        texts = [name_of(seen.pictograms[kind], rng) for kind in (*scene.kinds, *absent)]
        examples = [example(seen, kind, [EVALUATION_STREAM, seed, 2, number, kind]) for kind in scene.kinds]
        prompts: list[Prompt] = [*texts, *examples]
        masks = segmenter.segment(Image.fromarray(scene.picture), prompts)
        found, count = masks.binary(THRESHOLD), len(scene.kinds)
        by_text += _ious(found[:count], scene, scene.kinds)
        outlines += [boundary_f1(*pair, TOLERANCE) for pair in zip(found, torch.from_numpy(scene.masks), strict=False)]
        by_example += _ious(found[len(texts) :], scene, scene.kinds)
        scores = masks.scores()
        present_scores += scores[:count].tolist()
        absent_scores += scores[count : len(texts)].tolist()
        named.update(text.text for text in texts[:count])

        wanted = unseen_kinds[number % len(unseen_kinds)]
        scene = every.scene([EVALUATION_STREAM, seed, 3, number], must_contain=wanted)
        targets = [kind for kind in scene.kinds if kind in unseen_kinds]
        prompts = [example(every, kind, [EVALUATION_STREAM, seed, 4, number, kind]) for kind in targets]
        found = segmenter.segment(Image.fromarray(scene.picture), prompts).binary(THRESHOLD)
        by_unseen += _ious(found, scene, targets)
        shown.update(targets)
        if progress is not None:
            progress(number + 1, scenes)
    return SceneReport(
        iou_text_per_object_mean=float(np.mean(by_text)),
        iou_example_per_object_mean=float(np.mean(by_example)),
        iou_unseen_example_per_object_mean=float(np.mean(by_unseen)),
        auroc_presence=area_under_roc(torch.tensor(present_scores), torch.tensor(absent_scores)),
        boundary_f1_text_per_object_mean=float(np.mean(outlines)),
        threshold=THRESHOLD,
        scenes=scenes,
        objects=len(by_text),
        names=len(named),
        unseen_objects=len(by_unseen),
        unseen_kinds=len(shown),
        absent_names=len(absent_scores),
        seed=seed,
    )


def name_of(kind: Pictogram, rng: np.random.Generator) -> TextPrompt:
    """A kind -> one of its names, drawn, under the label of its first."""
    names = (kind.name, *kind.synonyms)
    return TextPrompt(names[rng.integers(len(names))], label=kind.name)


def example(generator: SceneGenerator, kind: int, seed: Sequence[int]) -> ImagePrompt:
    """A kind -> an example of it: a scene that holds it, with its mask there."""
    scene = generator.scene(seed, must_contain=kind)
    return ImagePrompt(scene.picture, mask=scene.masks[scene.kinds.index(kind)], label=generator.pictograms[kind].name)


def _ious(found: torch.Tensor, scene: Scene, kinds: Sequence[int]) -> list[float]:
    truth = torch.from_numpy(scene.masks[[scene.kinds.index(kind) for kind in kinds]])
    return [float(iou) for iou in iou_per_mask(found, truth)]
