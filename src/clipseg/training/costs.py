"""What a recipe costs, counted before anything is loaded: samples, and multiply-adds of the model's matrices.

Shapes: N tokens · D width · h hidden units · L layers.
"""

from __future__ import annotations

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.errors import CheckpointError
from clipseg.training.models import started_configuration
from clipseg.training.recipes import AnyStage, ModelRecipe, Recipe
from clipseg.training.stages import PromptedStage

BACKWARD = 2
"""Multiply-adds of a backward pass through a part that trains, in those of its forward pass."""


def cost_of(recipe: Recipe) -> dict[str, float | int | str]:
    """A recipe -> `steps`, `samples`, and `multiply_adds` where the model's sizes can be known from here.

    An estimate: one text and, where samples are prompted, one example a sample; matrices alone.
    """
    cost: dict[str, float | int | str] = {
        "steps": sum(stage.steps for stage in recipe.stages),
        "samples": sum(stage.steps * stage.batch for stage in recipe.stages),
    }
    try:
        sizes = _configuration(recipe)
    except CheckpointError as error:
        return {**cost, "unknown": str(error)}
    total = sum(stage.steps * stage.batch * _of_sample(sizes, stage) for stage in recipe.stages)
    return {**cost, "multiply_adds": float(f"{total:.3g}")}


def _configuration(recipe: Recipe) -> CLIPSegConfig:
    if not isinstance(recipe.model, ModelRecipe):
        return started_configuration(recipe.model)
    model = recipe.model
    return CLIPSegConfig(
        {**vars(model.text), "max_position_embeddings": model.max_position_embeddings},
        {**vars(model.vision), "patch_size": model.patch_size, "image_size": model.image_size},
        reduce_dim=model.reduce_dim,
        extract_layers=model.extract_layers,
        decoder_intermediate_size=model.decoder_intermediate_size,
    )


def _of_sample(sizes: CLIPSegConfig, stage: AnyStage) -> float:
    """-> multiply-adds of one sample, forwards through all parts and backwards through those that train."""
    vision, text = sizes.vision_config, sizes.text_config
    tokens = 1 + (stage.size // vision.patch_size) ** 2
    words = text.max_position_embeddings / 4  # most phrases are short, and padded only to the longest of a batch
    whole = _layers(tokens, vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers)
    tapped = whole * (max(sizes.extract_layers) + 1) / vision.num_hidden_layers
    towers = tapped + _layers(words, text.hidden_size, text.intermediate_size, text.num_hidden_layers)
    width, taps = sizes.reduce_dim, len(sizes.extract_layers)
    layers = 0 if isinstance(sizes, CLIPDeconvConfig) else taps
    decoder = _layers(tokens, width, sizes.decoder_intermediate_size, layers)
    decoder += taps * tokens * vision.hidden_size * width
    if not isinstance(stage, PromptedStage):
        return (1 + BACKWARD) * (towers + decoder)
    towers += whole  # of the example
    trains_towers = stage.train not in ("decoder", "head")
    return (0 if stage.cache else (1 + BACKWARD * trains_towers) * towers) + (1 + BACKWARD) * decoder


def _layers(tokens: float, width: int, hidden: int, count: int) -> float:
    """-> multiply-adds of transformer layers: N (4 D² + 2 D h) + 2 N² D each."""
    return count * (tokens * (4 * width**2 + 2 * width * hidden) + 2 * tokens**2 * width)
