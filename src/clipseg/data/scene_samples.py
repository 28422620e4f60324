"""Synthetic scenes as a data set of samples: what recipes train on where there is no other data."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from clipseg.data.pictograms import HELD_OUT, SEEN
from clipseg.data.sample import Sample, SampleDataset, Support, check_chance
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import UsageError

Kinds = Literal["seen", "held-out"]
SUPPORT_STREAM = 1
"""Third number of the seeds of scenes that are shown as examples; that of a sample's own scene is 0."""


class SceneSamples(SampleDataset):
    """So many scenes, each the same whenever it is asked for; what is asked about it is drawn.

        length     scenes
        size       their side in pixels
        kinds      those of things in them: the ones that nano was trained on, or the ones that no training may see
        negatives  chance that a kind is named that is not there, and the mask is empty
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
        negatives: float = 0.0,
        visual: bool = False,
        seed: int = 0,
    ) -> None:
        if length < 1:
            raise UsageError(f"length is {length}; expected at least one scene")
        if kinds not in get_args(Kinds):
            raise UsageError(f"kinds is {kinds!r}; known are {', '.join(get_args(Kinds))}")
        check_chance("negatives", negatives)
        self.length, self.negatives, self.visual, self.seed = length, negatives, visual, seed
        self._scenes = SceneGenerator(SEEN if kinds == "seen" else HELD_OUT, SceneOptions(size=size))
        self.labels = tuple(kind.name for kind in self._scenes.pictograms)

    def __len__(self) -> int:
        return self.length

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """A scene's number -> the scene, and a question about it."""
        scene = self._scenes.scene([self.seed, index, 0])
        place = int(rng.integers(len(scene.kinds)))
        kind, mask = scene.kinds[place], scene.masks[place]
        absent = np.setdiff1d(np.arange(len(self.labels)), scene.kinds)
        if rng.random() < self.negatives and absent.size:
            kind, mask = int(rng.choice(absent)), np.zeros_like(mask)
        support = None
        if self.visual:
            shown = self._scenes.scene([self.seed, index, SUPPORT_STREAM, int(rng.integers(2**31))], must_contain=kind)
            support = Support(shown.picture, shown.masks[shown.kinds.index(kind)])
        names = (self.labels[kind], *self._scenes.pictograms[kind].synonyms)
        phrase = names[int(rng.integers(len(names)))]
        return Sample(scene.picture, mask, phrase, support, None, kind, f"scene {index} of seed {self.seed}")
