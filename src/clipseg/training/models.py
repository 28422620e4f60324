"""The model that a run begins with, and the folder that it ends in."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clipseg.checkpoints.files import read_json, read_weights
from clipseg.checkpoints.hub import find_file
from clipseg.configuration.base import CONFIG_NAME
from clipseg.configuration.clip import CLIPConfig
from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.data.colours import COLOURS
from clipseg.data.descriptions import ACROSS, DOWN, SIZES
from clipseg.data.pictograms import Pictogram, write_vocabulary
from clipseg.errors import OutputError
from clipseg.modeling.deconv import CLIPDeconvForImageSegmentation, load_segmentation_model
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary
from clipseg.training.recipes import ModelRecipe, StartModel
from clipseg.training.tasks import TEMPLATES

log = logging.getLogger(__name__)

DESCRIBING_WEIGHT = 20  # how often each word of descriptions counts among the names that a vocabulary is made for
POSITION_VECTORS = "clip.vision_model.embeddings.position_embedding.weight"
TOKEN_VECTORS = "clip.text_model.embeddings.token_embedding.weight"  # noqa: S105


@dataclass(frozen=True)
class Beginning:
    """A model to train, and the processor that goes with it."""

    model: CLIPSegForImageSegmentation
    processor: CLIPSegProcessor


def new_model(recipe: ModelRecipe, kinds: Sequence[Pictogram]) -> Beginning:
    """A model recipe and the kinds whose names it is to read -> a new model with all its parts free to train."""
    tokenizer = new_tokenizer(kinds, recipe)
    model = CLIPSegForImageSegmentation(new_configuration(recipe, tokenizer)).requires_grad_(True)
    if recipe.begin:
        take_over(model, tokenizer, recipe.begin)
    return Beginning(model, new_processor(tokenizer, recipe.image_size))


def take_over(model: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizer, begin: str) -> None:
    """Give a new model the weights of an earlier edition that fit, and the vectors of the tokens that both know.

    Position vectors are resized to the new model's grid, as for pictures of another size. Raises CheckpointError and
    its kinds where there is none.
    """
    earlier = CLIPSegForImageSegmentation.from_pretrained(begin)
    given, own = earlier.state_dict(), model.state_dict()
    side = model.clip.vision_model.embeddings.table_side
    with torch.no_grad():
        given[POSITION_VECTORS] = earlier.clip.vision_model.embeddings.positions((side, side))[0].clone()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    vectors, theirs = own[TOKEN_VECTORS].clone(), given[TOKEN_VECTORS]
    places = tokenizer.get_vocab()
    if theirs.shape[1] == vectors.shape[1]:
        for token, place in CLIPTokenizer.from_pretrained(begin).get_vocab().items():
            if token in places:
                vectors[places[token]] = theirs[place]
    model.load_state_dict({**own, **fitting, TOKEN_VECTORS: vectors})
    log.info("%d of %d weights are taken over from %s", len(fitting), len(own), begin)


def started_model(recipe: StartModel, size: int) -> Beginning:
    """A checkpoint, and the side of the pictures that it is to take -> the model that training begins with.

    A checkpoint of plain CLIP gives its towers. Raises CheckpointError and its kinds for one that is not there or does
    not fit, ConfigurationError for decoder settings that do not.
    """
    where: dict[str, Any] = {"revision": recipe.revision}
    tokenizer = CLIPTokenizer.from_pretrained(recipe.start, **where)
    if recipe.decoder == "kept":
        model = load_segmentation_model(recipe.start, **where)
        return Beginning(model, new_processor(tokenizer, size))
    config = started_configuration(recipe)
    kind = CLIPDeconvForImageSegmentation if isinstance(config, CLIPDeconvConfig) else CLIPSegForImageSegmentation
    if recipe.towers == "new":
        return Beginning(kind(config), new_processor(tokenizer, size))
    towers = {k: v for k, v in read_weights(recipe.start, **where).items() if not k.startswith("decoder.")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* holds no decoder")  # it is what was asked for
        model = kind.from_pretrained(None, config=config, state_dict=towers)
    model.name_or_path = recipe.start
    return Beginning(model, new_processor(tokenizer, size))


def started_configuration(recipe: StartModel) -> CLIPSegConfig:
    """-> the configuration of the towers of `start` under the decoder that the recipe says."""
    if recipe.decoder == "kept":
        return CLIPSegConfig.from_pretrained(recipe.start, revision=recipe.revision)
    file = find_file(recipe.start, CONFIG_NAME, revision=recipe.revision)
    stated = read_json(file).get("model_type") if file is not None else None
    source = CLIPConfig if stated == CLIPConfig.model_type else CLIPSegConfig
    whole: Any = source.from_pretrained(recipe.start, revision=recipe.revision)
    text, vision = (tower.to_dict() for tower in (whole.text_config, whole.vision_config))
    for tower in (text, vision):
        tower.pop("model_type", None)
    result = CLIPDeconvConfig if recipe.kind == "deconv" else CLIPSegConfig
    return result(text, vision, projection_dim=whole.projection_dim, **recipe.decoder_settings)


def new_tokenizer(kinds: Sequence[Pictogram], recipe: ModelRecipe) -> CLIPTokenizer:
    """Kinds -> a byte-pair tokenizer trained on their names, synonyms, the templates and the words of descriptions."""
    names = [name for kind in kinds for name in (kind.name, *kind.synonyms)]
    words = [*SIZES, *COLOURS, *ACROSS, *DOWN] * DESCRIBING_WEIGHT
    phrases = [*names, *words, *(template.format(name) for template in TEMPLATES for name in names)]
    vocabulary, merges = train_vocabulary(phrases, recipe.vocab_size)
    return CLIPTokenizer(vocabulary, merges, model_max_length=recipe.max_position_embeddings)


def new_configuration(recipe: ModelRecipe, tokenizer: CLIPTokenizer) -> CLIPSegConfig:
    """A model recipe and its tokenizer -> the configuration of the model."""
    text = CLIPSegTextConfig(
        **asdict(recipe.text),
        vocab_size=len(tokenizer),
        max_position_embeddings=recipe.max_position_embeddings,
        hidden_act=recipe.hidden_act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPSegVisionConfig(
        **asdict(recipe.vision),
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        hidden_act=recipe.hidden_act,
    )
    return CLIPSegConfig(
        text,
        vision,
        projection_dim=recipe.projection_dim,
        extract_layers=recipe.extract_layers,
        reduce_dim=recipe.reduce_dim,
        decoder_num_attention_heads=recipe.decoder_num_attention_heads,
        decoder_intermediate_size=recipe.decoder_intermediate_size,
        conditional_layer=recipe.conditional_layer,
        use_complex_transposed_convolution=recipe.use_complex_transposed_convolution,
    )


def new_processor(tokenizer: CLIPTokenizer, size: int) -> CLIPSegProcessor:
    """A tokenizer and the side of the model's pictures -> the processor: squashed, with ImageNet's statistics."""
    shape = {"height": size, "width": size}
    pictures = ViTImageProcessor(size=shape, image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD))
    return CLIPSegProcessor(pictures, tokenizer)


def save_model(
    folder: Path,
    model: CLIPSegForImageSegmentation,
    processor: CLIPSegProcessor,
    dtype: str,
    kinds: Sequence[Pictogram] | None,
    files: dict[str, Path],
) -> Path:
    """Write a model, its processor, the kinds it knows by name if it is to say them, and copies of files -> the folder.

    The folder appears whole or not at all. Raises OutputError.
    """
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial, dtype=dtype)
        processor.save_pretrained(partial)
        if kinds is not None:
            write_vocabulary(partial / "vocabulary.json", list(kinds))
        for name, source in files.items():
            shutil.copyfile(source, partial / name)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder} cannot be written ({error.strerror or error})") from error
    return folder
