"""Recipes: a whole training run as one strict TOML file. Shipped ones are found by name, others by path.

    read_recipe("rd64", ["data=/data/VGPhraseCut_v0", "steps=100"])

A recipe may `extend` another and then holds only what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from clipseg.data.scenes import SceneOptions
from clipseg.data.table import check_options
from clipseg.errors import ConfigurationError, UsageError
from clipseg.training.records import Table, build, check_range, merged, nearest, override, read_table
from clipseg.training.stages import PromptedStage, Stage

FOLDER = Path(__file__).parent.parent / "assets" / "recipes"
SHORT = {"data": "data.root", "validation": "validation.root", "start": "model.start"}
"""Keys of overrides that stand for others, where their value is plain."""

AnyStage: TypeAlias = Stage | PromptedStage


@dataclass(frozen=True)
class TowerRecipe:
    """Size of a transformer tower."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int


@dataclass(frozen=True)
class ModelRecipe:
    """A new model, towers and all. Names as in `CLIPSegConfig` and its parts.

    `begin` is the folder or name of an earlier edition: what has the same name and shape there is taken over, and the
    vectors of the tokens that both know.
    """

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
    begin: str = ""


@dataclass(frozen=True)
class StartModel:
    """A model that begins as a checkpoint of CLIP or CLIPSeg. Raises ConfigurationError for settings of a kept decoder.

    Fields
        start       a folder, a hub id, or "nano"
        revision    of the hub id: a branch, a tag or a commit
        towers      "pretrained", or "new": as large as those of `start`, with new weights
        decoder     "new", or "kept" as it is in `start`
        kind        of a new decoder: "clipseg", or "deconv", the paper's baseline of one tap and no attention

    The others are of a new decoder, named as in `CLIPSegConfig`, which also has their defaults.
    """

    start: str
    revision: str | None = None
    towers: Literal["pretrained", "new"] = "pretrained"
    decoder: Literal["new", "kept"] = "new"
    kind: Literal["clipseg", "deconv"] = "clipseg"
    reduce_dim: int | None = None
    extract_layers: tuple[int, ...] | None = None
    decoder_intermediate_size: int | None = None
    decoder_num_attention_heads: int | None = None
    conditional_layer: int | None = None
    use_complex_transposed_convolution: bool | None = None

    def __post_init__(self) -> None:
        if self.decoder == "kept" and self.decoder_settings:
            given = ", ".join(self.decoder_settings)
            raise ConfigurationError(f'decoder = "kept" has settings of its own; leave out {given}')
        if self.decoder == "kept" and (self.towers == "new" or self.kind != "clipseg"):
            raise ConfigurationError('decoder = "kept" goes with towers = "pretrained" and kind = "clipseg"')

    @property
    def decoder_settings(self) -> dict[str, Any]:
        """Those settings of the decoder that are given."""
        names = (
            "reduce_dim", "extract_layers", "decoder_intermediate_size", "decoder_num_attention_heads",
            "conditional_layer", "use_complex_transposed_convolution",
        )  # fmt: skip
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class DataRecipe:
    """A data set: a row of `data.table`, its folder, and further options of its class.

    Fields
        kind     a name of `data.table.DATASETS`
        root     its folder; of `validation` it is that of `data` unless it is given
        options  keywords of its class, in the recipe's table beside `kind` and `root`
    """

    kind: str
    root: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_table(cls, values: Mapping[str, Any], where: str) -> DataRecipe:
        """A recipe's table -> the record. Raises ConfigurationError for kinds and options that are not known."""
        options = {key: value for key, value in values.items() if key not in ("kind", "root", "options")}
        options |= values.get("options", {})
        kind, root = values.get("kind"), values.get("root", "")
        if not isinstance(kind, str):
            raise ConfigurationError(f"{where}: kind is {kind!r}; expected the name of a kind of data set")
        if not isinstance(root, str):
            raise ConfigurationError(f"{where}: root is {root!r}; expected the path of a folder")
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        try:
            check_options(kind, options)
        except UsageError as error:
            raise ConfigurationError(f"{where}: {error}") from None
        return cls(kind, root, options)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run computes and what it keeps. Raises ConfigurationError for a number out of its range.

    Fields
        name                of the recipe, and of its run folder unless another is given
        seed                of everything that is drawn
        precision           type in which a step is computed; weights and their moments are always float32
        saved_as            type in which the final model is stored
        final               which weights those are: the "last" ones, or those that validated "best" in the last stage
        save_every          steps between checkpoints
        keep                newest checkpoints that are kept, beside the best one
        validation_samples  samples of the validation set, spread evenly over it, that a validation looks at
        workers             processes that make batches ahead of time; 0: none
        cache_folder        where stages with a cache store what CLIP makes of pictures; empty: in the run folder
    """

    name: str = "run"
    seed: int = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    saved_as: Literal["float32", "bfloat16", "float16"] = "float16"
    final: Literal["last", "best"] = "last"
    save_every: int = 200
    keep: int = 2
    validation_samples: int = 200
    workers: int = 1
    cache_folder: str = ""

    def __post_init__(self) -> None:
        check_range(self, 0, "seed", "workers")
        check_range(self, 1, "save_every", "keep", "validation_samples")
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ConfigurationError(f"name is {self.name!r}; expected what can be the name of a folder")


@dataclass(frozen=True)
class Recipe(Settings):
    """A whole training run, up to a model folder. Raises ConfigurationError for parts that do not go together.

    Fields
        model       a new one, or one that begins as a checkpoint
        stages      what is done, one after the other
        data        what prompted stages train on
        validation  what they are validated on; None: only their loss is known
        scenes      what synthetic stages draw
    """

    name: str = field()  # asked for: the default of `Settings` is not for files
    model: ModelRecipe | StartModel
    stages: tuple[Stage | PromptedStage, ...]
    scenes: SceneOptions = field(default_factory=SceneOptions)
    data: DataRecipe | None = None
    validation: DataRecipe | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise ConfigurationError("stages is empty; expected at least one [[stages]] table")
        if self.data is None and any(isinstance(stage, PromptedStage) for stage in self.stages):
            raise ConfigurationError("missing data; prompted stages need a [data] table")
        if self.final == "best" and self.validation is None and isinstance(self.stages[-1], PromptedStage):
            raise ConfigurationError('final = "best" needs a [validation] table to tell which weights those are')


def read_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe's name or a TOML file, and `key=value` overrides such as `stages.0.steps=10` -> the recipe.

    Of a recipe of one stage its keys need no `stages.0.`, and SHORT are for short. Raises ConfigurationError for a
    recipe that is not there or not TOML, unknown keys, missing keys and wrong types.
    """
    path = find_recipe(name_or_path)
    values = _extended(path, ())
    for text in overrides:
        override(values, _in_full(values, text))
    return build(Recipe, values, path.name)


def shipped_recipes() -> dict[str, str]:
    """-> name -> what the first line of the file says, of every recipe that comes with the package."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        found[path.stem] = first.removeprefix("#").strip().removeprefix(f"{path.stem}:").strip()
    return found


def find_recipe(name_or_path: str | Path) -> Path:
    """The name of a shipped recipe, or a path -> the path. Raises ConfigurationError for a name that is not shipped."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        return path
    shipped = FOLDER / f"{name_or_path}.toml"
    if not shipped.is_file():
        hint = nearest(str(name_or_path), shipped_recipes())
        raise ConfigurationError(f"no recipe is named {str(name_or_path)!r}; {hint}; or give the path of a .toml file")
    return shipped


def _extended(path: Path, seen: tuple[Path, ...]) -> Table:
    """A recipe's table, with what it extends beneath."""
    values = read_table(path)
    base = values.pop("extend", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigurationError(f"{path.name}: extend is {base!r}; expected a recipe's name or path")
    beside = path.parent / base
    found = beside if beside.suffix == ".toml" and beside.is_file() else find_recipe(base)
    if found.resolve() in (path.resolve(), *seen):
        raise ConfigurationError(f"{path.name}: extend = {base!r} leads back to where it began")
    below = _extended(found, (*seen, path.resolve()))
    for name in ("data", "validation"):  # another kind of data has options of its own
        if "kind" in values.get(name, {}) and values[name]["kind"] != below.get(name, {}).get("kind"):
            below.pop(name, None)
    return merged(below, values)


def _in_full(values: Table, text: str) -> str:
    """An override as people write it -> with its whole key. Raises ConfigurationError for a key that there is not."""
    key, equals, value = text.partition("=")
    if not equals:  # told by `override`
        return text
    if key in SHORT and not value.lstrip().startswith("{"):
        return f"{SHORT[key]}{equals}{value}"
    own = {item.name for item in fields(Recipe)}
    of_stage = {item.name for kind in (Stage, PromptedStage) for item in fields(kind)}
    if len(values.get("stages", ())) != 1:
        of_stage = set()
    if key not in own and key in of_stage:
        return f"stages.0.{text}"
    if "." not in key and key not in own:
        raise ConfigurationError(f"unknown key {key!r}; {nearest(key, sorted({*own, *SHORT, *of_stage}))}")
    return text
