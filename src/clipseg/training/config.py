"""Recipes: strict TOML files -> frozen dataclasses. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from clipseg.data.scenes import SceneOptions
from clipseg.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser under its older name
    import tomli as tomllib

Task = Literal["contrastive", "segmentation"]


@dataclass(frozen=True)
class TowerRecipe:
    """Size of a transformer tower."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int


@dataclass(frozen=True)
class ModelRecipe:
    """A new model. Names as in `CLIPSegConfig` and its parts."""

    text: TowerRecipe
    vision: TowerRecipe
    image_size: int
    patch_size: int
    vocab_size: int
    projection_dim: int
    reduce_dim: int
    extract_layers: tuple[int, ...]
    decoder_intermediate_size: int
    decoder_num_attention_heads: int = 4
    conditional_layer: int = 0
    use_complex_transposed_convolution: bool = False
    hidden_act: str = "quick_gelu"
    max_position_embeddings: int = 77


@dataclass(frozen=True)
class Stage:
    """One stretch of training. Raises ConfigurationError for a number out of its range.

    Fields
        task                what is trained: picture-text matching of single objects, or masks of scenes
        steps, batch        optimiser steps, and pictures a step
        lr, lr_end, warmup  peak and last learning rate of a cosine, and steps of linear warm-up before it
        weight_decay, clip  AdamW's decay of matrices, and the largest gradient norm
        size                side of pictures of single objects in pixels; scenes have the side in the recipe's `scenes`
        prompts             text prompts a scene, present kinds first
        absent              how many of these, at least, name a kind that is not in the scene
        example_sizes       sides of the example pictures; a step draws one of them
        examples            example pictures a step; each prompts its own scene and a neighbour's
        unnamed             how many of the examples, the last ones but not all, show kinds that are never named;
                            their scenes hold such kinds alone
        plain_examples      share of examples shown whole, one object on a background; the others have a mask
        dice, contrastive   weights of the Dice loss and of picture-text matching beside the cross-entropy
        dense               weight of matching every patch that one kind fills with the names of all kinds
        validate_every      steps between validations; 0: only at the end
    """

    task: Task
    steps: int
    batch: int
    lr: float
    lr_end: float = 1e-5
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    size: int = 64
    prompts: int = 5
    absent: int = 1
    examples: int = 0
    example_sizes: tuple[int, ...] = ()
    unnamed: int = 0
    plain_examples: float = 0.25
    dice: float = 0.5
    contrastive: float = 0.1
    dense: float = 0.0
    validate_every: int = 0

    def __post_init__(self) -> None:
        _check_range(
            self, 0, "lr", "lr_end", "warmup", "weight_decay", "clip", "examples", "dice", "contrastive", "dense"
        )
        _check_range(self, 0, "validate_every")
        _check_range(self, 1, "steps", "batch", "prompts")
        _check_range(self, 16, "size")
        _check_range(self, 0, "absent", most=self.prompts)
        _check_range(self, 0, "unnamed", most=max(self.examples - 1, 0))
        _check_range(self, 0, "plain_examples", most=1)
        if self.examples and min(self.example_sizes, default=0) < 16:
            raise ConfigurationError(
                f"example_sizes is {self.example_sizes}; expected at least one side, and each at least 16"
            )


@dataclass(frozen=True)
class Recipe:
    """A whole training run, from nothing to a model folder. Raises ConfigurationError for a number out of its range."""

    name: str
    model: ModelRecipe
    stages: tuple[Stage, ...]
    scenes: SceneOptions = field(default_factory=SceneOptions)
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    save_every: int = 200
    workers: int = 1

    def __post_init__(self) -> None:
        _check_range(self, 0, "seed", "workers")
        _check_range(self, 1, "save_every")
        if not self.stages:
            raise ConfigurationError("stages is empty; expected at least one [[stages]] table")


RecordType = TypeVar("RecordType")


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A TOML file and `key=value` overrides such as `stages.0.steps=10` -> the recipe.

    Raises ConfigurationError for a file that is not there or not TOML, unknown keys, missing keys and wrong types.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"no recipe at {path}; give the path of a .toml file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from None
    for override in overrides:
        _override(values, override)
    return build(Recipe, values, path.name)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigurationError(f"override {override!r} has no '='; write key=value, such as stages.0.steps=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *folders, last = key.split(".")
    place: Any = values
    for name in folders:
        if isinstance(place, list):
            if not name.isdecimal() or int(name) >= len(place):
                raise ConfigurationError(f"override {override!r}: {name!r} is not one of 0 to {len(place) - 1}")
            place = place[int(name)]
        elif isinstance(place, dict):
            place = place.setdefault(name, {})
    if not isinstance(place, dict):
        raise ConfigurationError(f"override {override!r} does not name a key of a table")
    place[last] = value


def build(record: type[RecordType], values: Mapping[str, Any], where: str) -> RecordType:
    """A table -> a dataclass, checked field by field; `where` names the table in errors."""
    hints = typing.get_type_hints(record)
    known = {item.name: item for item in dataclasses.fields(record)}  # type: ignore[arg-type]  # a dataclass by contract
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigurationError(f"{where}: unknown key {key!r}; {hint}")
    missing = [
        name
        for name, item in known.items()
        if name not in values and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigurationError(f"{where}: missing {', '.join(missing)}")
    checked = {key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        return record(**checked)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """A TOML value -> the field's type; whole numbers pass as numbers, lists become tuples."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{where} is {value!r}; expected a table")
        return build(typing.cast("type[Any]", hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ConfigurationError(f"{where} is {value!r}; expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(f"{where} is {value!r}; expected a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ConfigurationError(f"{where} has {len(value)} items; expected {len(kinds)}")
        return tuple(
            _value(kind, item, f"{where}[{place}]") for place, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigurationError(f"{where} is {value!r}; expected {hint.__name__}")
    return value


def _check_range(record: object, least: float, *names: str, most: float = sys.float_info.max) -> None:
    """Raise ConfigurationError where a field of these names is not finite or out of range."""
    for name in names:
        value = getattr(record, name)
        if not least <= value <= most:  # also true of NaN
            expected = f"at least {least:g}" + f" and at most {most:g}" * (most < sys.float_info.max)
            raise ConfigurationError(f"{name} is {value}; expected {expected}")
