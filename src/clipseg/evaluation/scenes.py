"""How good a model is on synthetic scenes it has never seen: names, descriptions, examples, unseen kinds, absence.

    report = evaluate_scenes(Segmenter.from_pretrained("nano"))
    report.iou_text_per_object_mean

An object is all of one kind in one scene; its IoU is taken at the scene's own size. Every scene, example and absent
name is a function of the seed, and of no seed that a recipe's training draws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.data.descriptions import described
from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.data.pictograms import Pictogram
from clipseg.data.scene_samples import with_more_to_tell
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
        iou_described_per_object_mean       objects told from others of their kind: "the small red apple on the left";
                                            None where no scene had several to tell apart
        auroc_presence                      chance that a name in the scene scores higher than one that is not
        boundary_f1_text_per_object_mean    how well the outlines of the first agree within TOLERANCE pixels
        names                               different names that were asked for, of things that are there; those of a
                                            kind take turns
    """

    iou_text_per_object_mean: float
    iou_example_per_object_mean: float
    iou_unseen_example_per_object_mean: float
    iou_described_per_object_mean: float | None
    auroc_presence: float
    boundary_f1_text_per_object_mean: float
    threshold: float
    scenes: int
    objects: int
    names: int
    unseen_objects: int
    unseen_kinds: int
    described_objects: int
    absent_names: int
    seed: int

    def to_dict(self) -> dict[str, float | int | None]:
        """-> the figures, rounded to four digits."""
        return {name: None if value is None else round(value, 4) for name, value in asdict(self).items()}

    def table(self) -> list[tuple[str, str]]:
        """-> rows of a figure's name and its value as text."""
        shown = self.to_dict()
        return [(item.name.replace("_", " "), str(shown[item.name])) for item in fields(self)]


def evaluate_scenes(
    segmenter: Segmenter,
    *,
    scenes: int = 400,
    seed: int = 0,
    options: SceneOptions | None = None,
    progress: Progress | None = None,
) -> SceneReport:
    """A segmenter -> its report on `scenes` scenes of seen kinds, as many that hold an unseen kind, and as many with
    several things of a kind.

    Scenes are as large as the model's input unless `options` say otherwise. `progress` is called with the scenes done
    and their number. Raises MissingPackageError where the font or the names are not installed, and UsageError for fewer
    than one scene.
    """
    if scenes < 1:
        raise UsageError(f"scenes is {scenes}; expected at least 1")
    if options is None:
        options = SceneOptions(size=segmenter.config.vision_config.image_size)
    seen = SceneGenerator(SEEN, options)
    every = SceneGenerator(SEEN + HELD_OUT, options)
    crowded = SceneGenerator(SEEN, with_more_to_tell(options))
    names = NamesInTurn(seen.pictograms, seed)
    unseen_kinds = range(len(SEEN), len(SEEN) + len(HELD_OUT))
    by_text: list[float] = []
    outlines: list[float] = []
    by_example: list[float] = []
    by_unseen: list[float] = []
    by_description: list[float] = []
    present_scores: list[float] = []
    absent_scores: list[float] = []
    named: set[str] = set()
    shown: set[int] = set()
    for number in range(scenes):
        scene = seen.scene([EVALUATION_STREAM, seed, 0, number])
        rng = np.random.default_rng([EVALUATION_STREAM, seed, 1, number])
        absent = rng.permutation(np.setdiff1d(np.arange(len(SEEN)), scene.kinds))[:ABSENT_NAMES]
        texts = [names.next(int(kind)) for kind in (*scene.kinds, *absent)]
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

        scene = crowded.scene([EVALUATION_STREAM, seed, 5, number])
        told = descriptions(crowded, scene, np.random.default_rng([EVALUATION_STREAM, seed, 6, number]))
        if told:
            found = segmenter.segment(Image.fromarray(scene.picture), [text for text, _ in told]).binary(THRESHOLD)
            by_description += iou_per_mask(found, torch.from_numpy(np.stack([mask for _, mask in told]))).tolist()
        if progress is not None:
            progress(number + 1, scenes)
    return SceneReport(
        iou_text_per_object_mean=float(np.mean(by_text)),
        iou_example_per_object_mean=float(np.mean(by_example)),
        iou_unseen_example_per_object_mean=float(np.mean(by_unseen)),
        iou_described_per_object_mean=float(np.mean(by_description)) if by_description else None,
        auroc_presence=area_under_roc(torch.tensor(present_scores), torch.tensor(absent_scores)),
        boundary_f1_text_per_object_mean=float(np.mean(outlines)),
        threshold=THRESHOLD,
        scenes=scenes,
        objects=len(by_text),
        names=len(named),
        unseen_objects=len(by_unseen),
        unseen_kinds=len(shown),
        described_objects=len(by_description),
        absent_names=len(absent_scores),
        seed=seed,
    )


class NamesInTurn:
    """Gives the names of a kind one after the other, from one that is drawn: few scenes then ask for many names."""

    def __init__(self, kinds: Sequence[Pictogram], seed: int) -> None:
        self.kinds = kinds
        self._first = np.random.default_rng([EVALUATION_STREAM, seed, 1]).integers(1 << 30, size=len(kinds))
        self._given: defaultdict[int, int] = defaultdict(int)

    def next(self, kind: int) -> TextPrompt:
        """A kind's place -> its next name, under the label of its first."""
        names = (self.kinds[kind].name, *self.kinds[kind].synonyms)
        place = int(self._first[kind]) + self._given[kind]
        self._given[kind] += 1
        return TextPrompt(names[place % len(names)], label=names[0])


def descriptions(
    generator: SceneGenerator, scene: Scene, rng: np.random.Generator
) -> list[tuple[TextPrompt, NDArray[np.bool_]]]:
    """A scene -> what tells some things in it from others of their kind, and where those are (S, S)."""
    told = []
    for kind in scene.kinds:
        found = described(rng, scene, kind)
        if found is not None and 0 < found[1].sum() < scene.mask_of(kind).sum():
            name = generator.pictograms[kind].name
            told.append((TextPrompt(found[0].phrase(name), label=name), found[1]))
    return told


def example(generator: SceneGenerator, kind: int, seed: Sequence[int]) -> ImagePrompt:
    """A kind -> an example of it: a scene that holds it, with its mask there."""
    scene = generator.scene(seed, must_contain=kind)
    return ImagePrompt(scene.picture, mask=scene.masks[scene.kinds.index(kind)], label=generator.pictograms[kind].name)


def _ious(found: torch.Tensor, scene: Scene, kinds: Sequence[int]) -> list[float]:
    truth = torch.from_numpy(scene.masks[[scene.kinds.index(kind) for kind in kinds]])
    return [float(iou) for iou in iou_per_mask(found, truth)]
