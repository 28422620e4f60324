"""A recipe, carried out."""

from __future__ import annotations

import os
from dataclasses import asdict

import torch

from clipseg.data.kinds import SEEN
from clipseg.data.sample import SampleDataset
from clipseg.data.scenes import SceneGenerator
from clipseg.data.table import open_dataset
from clipseg.training.distributed import Processes
from clipseg.training.loop import Trainer
from clipseg.training.models import new_model, started_model
from clipseg.training.progress import Watcher
from clipseg.training.recipes import DataRecipe, ModelRecipe, Recipe
from clipseg.training.stages import PromptedStage


def trainer_of(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    processes: Processes | None = None,
    tensorboard: bool = False,
    watcher: Watcher | None = None,
) -> Trainer:
    """A recipe and a run folder -> its trainer, with model and data open.

    Raises ConfigurationError, and what opening the data set and loading the model raise.
    """
    processes = processes or Processes()
    data = _opened(recipe.data)
    validation = _opened(recipe.validation, "" if recipe.data is None else recipe.data.root)
    prompted = [stage for stage in recipe.stages if isinstance(stage, PromptedStage)]
    scenes = None
    if len(prompted) < len(recipe.stages) or isinstance(recipe.model, ModelRecipe):
        scenes = SceneGenerator(SEEN, recipe.scenes)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if isinstance(recipe.model, ModelRecipe):
            assert scenes is not None  # noqa: S101  just made
            begun = new_model(recipe.model, scenes.pictograms)
        else:
            begun = started_model(recipe.model, prompted[-1].size if prompted else recipe.scenes.size)
    trainer = Trainer(
        begun.model,
        recipe.stages,
        out=out,
        data=data,
        validation=validation,
        scenes=scenes,
        processor=begun.processor,
        settings=recipe,
        device=device,
        processes=processes,
        tensorboard=tensorboard,
        watcher=watcher,
    )
    trainer.configuration = asdict(recipe)
    return trainer


def _opened(recipe: DataRecipe | None, folder: str = "") -> SampleDataset | None:
    """A data set, which lies in another one's folder where it says none of its own."""
    return None if recipe is None else open_dataset(recipe.kind, recipe.root or folder, recipe.options)
