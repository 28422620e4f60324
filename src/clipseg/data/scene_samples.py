"""Synthetic scenes as a data set of samples: what recipes train on where there is no other data.

SceneSamples(4000, negatives=0.2, visual=True)               as PhraseCut+: names, and examples of them
SceneSamples(500, seed=1, described=1)                       as PhraseCut: "the small red apple on the left"
SceneSamples(4000, fold=0), SceneSamples(500, seed=1, fold=0, split="test")    as Pascal-5i: kinds kept apart
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from clipseg.data.descriptions import described as description_of
from clipseg.data.descriptions import drawn_description
from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.data.sample import Sample, SampleDataset, Support, check_chance
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import UsageError

Kinds = Literal["seen", "held-out"]
Split = Literal["train", "test"]
FOLDS = 5
SUPPORT_STREAM = 1
"""Third number of the seeds of scenes that are shown as examples; that of a sample's own scene is 0."""


class SceneSamples(SampleDataset):
    """So many scenes, each the same whenever it is asked for; what is asked about it is drawn.

        length     scenes
        size       their side in pixels
        kinds      those of things in them: the ones that nano was trained on, or the ones that no training may see
        fold       0 to 4: every fifth kind, from that one on, is kept apart; None: none is
        split      with a fold, "train" draws none of the kinds kept apart, and "test" asks for nothing else
        negatives  chance that a kind is named that is not there, and the mask is empty
        described  chance that a phrase says which of a kind is meant, by size, colour or place
        visual     gives a support: the thing meant in another scene
        seed       of all scenes; evaluation and the synthetic stages draw others

    `label` is the place of the kind in `labels`, their names. Raises UsageError for options out of their range, and
    MissingPackageError where the font or the names of the pictograms are not installed.
    """

    def __init__(
        self,
        length: int = 1000,
        *,
        size: int = 128,
        kinds: Kinds = "seen",
        fold: int | None = None,
        split: Split = "train",
        negatives: float = 0.0,
        described: float = 0.0,
        visual: bool = False,
        seed: int = 0,
    ) -> None:
        if length < 1:
            raise UsageError(f"length is {length}; expected at least one scene")
        for name, value, known in (("kinds", kinds, get_args(Kinds)), ("split", split, get_args(Split))):
            if value not in known:
                raise UsageError(f"{name} is {value!r}; known are {', '.join(known)}")
        if fold is not None and fold not in range(FOLDS):
            raise UsageError(f"fold is {fold}; expected 0 to {FOLDS - 1}")
        check_chance("negatives", negatives)
        check_chance("described", described)
        self.length, self.negatives, self.described, self.visual = length, negatives, described, visual
        self.seed = seed
        options = with_more_to_tell(SceneOptions(size=size)) if described else SceneOptions(size=size)
        self._scenes = SceneGenerator(SEEN if kinds == "seen" else HELD_OUT, options)
        self.labels = tuple(kind.name for kind in self._scenes.pictograms)
        everyone = np.arange(len(self.labels))
        apart = everyone % FOLDS == fold if fold is not None else everyone < 0
        self._asked = everyone[apart] if split == "test" and fold is not None else everyone[~apart]
        self._drawn = everyone if split == "test" else self._asked

    def __len__(self) -> int:
        return self.length

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """A scene's number -> the scene, and a question about it."""
        first = int(self._asked[np.random.default_rng([self.seed, index]).integers(len(self._asked))])
        scene = self._scenes.scene([self.seed, index, 0], self._drawn.tolist(), must_contain=first)
        there = [kind for kind in scene.kinds if kind in self._asked]
        kind = int(rng.choice(there))
        absent = np.setdiff1d(self._asked, scene.kinds)
        if rng.random() < self.negatives and absent.size:
            kind = int(rng.choice(absent))
        names = (self.labels[kind], *self._scenes.pictograms[kind].synonyms)
        phrase = names[int(rng.integers(len(names)))]
        mask = scene.mask_of(kind)
        if rng.random() < self.described:
            if kind not in scene.kinds:
                phrase = drawn_description(rng).phrase(phrase)
            elif found := description_of(rng, scene, kind):
                phrase, mask = found[0].phrase(phrase), found[1]
        support = None
        if self.visual:
            seed = [self.seed, index, SUPPORT_STREAM, int(rng.integers(2**31))]
            shown = self._scenes.scene(seed, self._drawn.tolist(), must_contain=kind)
            support = Support(shown.picture, shown.mask_of(kind))
        return Sample(scene.picture, mask, phrase, support, None, kind, f"scene {index} of seed {self.seed}")


def with_more_to_tell(options: SceneOptions) -> SceneOptions:
    """-> the options of scenes for descriptions: more of a kind, in more colours."""
    return replace(options, repeat=0.35, dyed=0.25)
