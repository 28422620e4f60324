"""What a stretch of training is told: how to step, and on what. One class a kind of task, chosen by `task`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clipseg.errors import ConfigurationError, PromptError
from clipseg.prompting.styles import style_named
from clipseg.prompting.templates import templates_named
from clipseg.training.records import check_range

TrainedPart = Literal["decoder", "head", "adapters", "lora", "all"]
"""What changes: the decoder; its upsampling head alone; the decoder and small layers inside CLIP; everything."""


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How a stage steps: AdamW under a cosine. Raises ConfigurationError for a number out of its range.

    Fields
        steps           optimiser steps
        batch           samples (pictures) a step, over all processes
        lr              peak learning rate
        lr_end          last learning rate of the cosine
        warmup          steps of linear warm-up before the cosine
        betas           AdamW's two decay rates of moments
        weight_decay    AdamW's decay
        decay           what decays: "matrices", or "all" as in torch's defaults
        clip            largest gradient norm; 0: gradients are left as they are
        accumulate      parts in which a step's batch goes through the model, one after the other, for memory
        validate_every  steps between validations; 0: only at the end
    """

    steps: int
    batch: int
    lr: float
    lr_end: float = 1e-5
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    decay: Literal["matrices", "all"] = "matrices"
    clip: float = 1.0
    accumulate: int = 1
    validate_every: int = 0

    def __post_init__(self) -> None:
        check_range(self, 0, "lr", "lr_end", "warmup", "weight_decay", "clip", "validate_every")
        check_range(self, 1, "steps", "batch", "accumulate")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigurationError(f"betas is {self.betas}; expected two numbers from 0 to below 1")


@dataclass(frozen=True)
class Stage(Optimisation):
    """Training on synthetic scenes. Raises ConfigurationError for a number out of its range.

    Fields
        task             what is trained: picture-text matching of single objects, or masks of scenes
        size             side of pictures of single objects in pixels; scenes have the side in the recipe's `scenes`
        prompts          text prompts a scene, present kinds first
        absent           how many of these, at least, name a kind that is not in the scene
        example_sizes    sides of the example pictures; a step draws one of them
        examples         example pictures a step; each prompts its own scene and a neighbour's
        unnamed          how many of the examples, the last ones but not all, show kinds that are never named;
                         where there are any, half of the scenes hold such kinds beside others
        described        share of text prompts that say which of a kind is meant, by size, colour or place
        plain_examples   share of examples shown whole, one object on a background; the others have a mask
        dice             weight of the Dice loss beside the cross-entropy
        contrastive      weight of picture-text matching beside the cross-entropy
        dense            weight of matching every patch that one kind fills with the names of all kinds
    """

    task: Literal["contrastive", "segmentation"]
    size: int = 64
    prompts: int = 5
    absent: int = 1
    examples: int = 0
    example_sizes: tuple[int, ...] = ()
    unnamed: int = 0
    described: float = 0.0
    plain_examples: float = 0.25
    dice: float = 0.5
    contrastive: float = 0.1
    dense: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, "examples", "dice", "contrastive", "dense")
        check_range(self, 1, "prompts")
        check_range(self, 16, "size")
        check_range(self, 0, "absent", most=self.prompts)
        check_range(self, 0, "unnamed", most=max(self.examples - 1, 0))
        check_range(self, 0, "plain_examples", "described", most=1)
        if self.examples and min(self.example_sizes, default=0) < 16:
            raise ConfigurationError(
                f"example_sizes is {self.example_sizes}; expected at least one side, and each at least 16"
            )


@dataclass(frozen=True)
class PromptedStage(Optimisation):
    """Training on a data set of samples, each a picture, a question and a mask, as in the paper.

    Fields
        task                    "prompted"
        size                    side of the model's input in pixels; pictures are squashed to it
        train                   what changes: "decoder", "head", "adapters", "lora" or "all"
        rank                    inner width of LoRA
        width                   inner width of bottleneck adapters
        dropout                 share of the decoder's activations that a step leaves out
        crop                    whether pictures are cropped to a square around enough of the mask
        templates               what phrases are put into; one of the set is drawn a sample
        style                   how a support's thing and background are treated
        text_min, text_max      bounds of the text's weight where a sample has both phrase and support
        bce                     weight of the cross-entropy
        dice                    weight of the Dice loss
        focal                   weight of the focal loss
        focal_gamma             how much the focal loss passes over what is right already
        focal_alpha             weight of pixels that are set in the focal loss; the others have 1 - alpha
        cache                   whether CLIP's activations are stored once; for a frozen CLIP without crops
        cache_type              type in which they are stored
        checkpoint_activations  whether activations are computed again in the backward pass, to save memory
    """

    task: Literal["prompted"] = "prompted"
    size: int = 352
    train: TrainedPart = "decoder"
    rank: int = 8
    width: int = 64
    dropout: float = 0.0
    crop: bool = False
    templates: str = "plain"
    style: str = "crop_blur_highlight"
    text_min: float = 0.0
    text_max: float = 1.0
    bce: float = 1.0
    dice: float = 0.0
    focal: float = 0.0
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    cache: bool = False
    cache_type: Literal["float32", "float16"] = "float32"
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 16, "size")
        check_range(self, 1, "rank", "width")
        check_range(self, 0, "bce", "dice", "focal", "focal_gamma")
        check_range(self, 0, "dropout", "focal_alpha", "text_min", "text_max", most=1)
        if self.text_min > self.text_max:
            raise ConfigurationError(f"text_min is {self.text_min} and text_max {self.text_max}; expected min <= max")
        if not self.bce + self.dice + self.focal:
            raise ConfigurationError("bce, dice and focal are all 0; give at least one loss a weight")
        if self.accumulate > self.batch:
            raise ConfigurationError(f"accumulate is {self.accumulate} of a batch of {self.batch}; expected no more")
        if self.cache and (self.crop or self.train not in ("decoder", "head")):
            raise ConfigurationError(
                'cache stores what CLIP makes of whole pictures; it needs crop = false and train = "decoder" or "head"'
            )
        try:
            templates_named(self.templates)
            style_named(self.style)
        except PromptError as error:
            raise ConfigurationError(str(error)) from None
