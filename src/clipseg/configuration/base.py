"""How any configuration is read from `config.json` and written back.

Every class keeps keyword arguments it does not know as attributes, because released files carry dozens of them, and
writes them back. Nothing here imports torch.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from clipseg.checkpoints import hub
from clipseg.errors import ConfigurationError, OutputError
from clipseg.version import __version__

CONFIG_NAME = "config.json"

ConfigType = TypeVar("ConfigType", bound="Configuration")


class Configuration:
    """Base of all configurations: attributes in, `config.json` out, and back."""

    model_type: ClassVar[str] = ""
    sub_configs: ClassVar[dict[str, type[Configuration]]] = {}
    has_no_defaults_at_init: ClassVar[bool] = False
    own_part: ClassVar[str | None] = None
    """The key under which a composite file holds this configuration, for loading a part from the whole."""

    def __init__(self, **kwargs: Any) -> None:
        self.return_dict: bool = kwargs.pop("return_dict", True)
        self.output_hidden_states: bool = kwargs.pop("output_hidden_states", False)
        self.output_attentions: bool = kwargs.pop("output_attentions", False)
        self.attn_implementation: str | None = kwargs.pop("attn_implementation", None)
        torch_dtype = kwargs.pop("torch_dtype", None)
        self.dtype: Any = kwargs.pop("dtype", torch_dtype)
        self.architectures: list[str] | None = kwargs.pop("architectures", None)
        labels = kwargs.pop("num_labels", 2)
        id2label = kwargs.pop("id2label", None)
        label2id = kwargs.pop("label2id", None)
        if id2label is None:
            self.num_labels = labels
        else:
            self.id2label: dict[int, str] = {int(index): label for index, label in id2label.items()}
            self.label2id: dict[str, int] = label2id or {label: index for index, label in self.id2label.items()}
        kwargs.pop("model_type", None)
        for name, value in kwargs.items():
            setattr(self, name, value)

    @property
    def num_labels(self) -> int:
        """The number of classes of an image classifier; setting it renames the labels LABEL_0, LABEL_1, …."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if getattr(self, "id2label", None) is None or len(self.id2label) != count:
            self.id2label = {index: f"LABEL_{index}" for index in range(count)}
            self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def torch_dtype(self) -> Any:
        """The older name of `dtype`."""
        return self.dtype

    @torch_dtype.setter
    def torch_dtype(self, value: Any) -> None:
        self.dtype = value

    @property
    def use_return_dict(self) -> bool:
        """Whether a forward call answers with an output object (True) or a plain tuple, unless it is told."""
        return self.return_dict

    def get_text_config(self, decoder: bool = False, encoder: bool = False) -> Configuration:
        """-> the text part, or this configuration where there is none; the arguments change nothing here."""
        part = getattr(self, "text_config", None)
        return part if isinstance(part, Configuration) else self

    def to_dict(self) -> dict[str, Any]:
        """-> everything `config.json` holds, as plain JSON values."""
        values: dict[str, Any] = {"model_type": self.model_type}
        for name, value in vars(self).items():
            if name == "attn_implementation" or name.startswith("_"):
                continue
            values[name] = _plain(value)
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            del values["id2label"], values["label2id"]
        values["clipseg_version"] = __version__
        return values

    def to_json_string(self, use_diff: bool = True) -> str:
        """-> the text of `config.json`; all values are written whatever `use_diff` says."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write `config.json` text to a path."""
        Path(json_file_path).write_text(self.to_json_string(), encoding="utf-8")

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write `config.json` into a folder, which is made if need be. Raises OutputError if it is a file."""
        folder = Path(save_directory)
        if folder.is_file():
            raise OutputError(f"{folder} is a file; save_pretrained needs a folder to write {CONFIG_NAME} into")
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / CONFIG_NAME)

    @classmethod
    def from_dict(cls: type[ConfigType], config_dict: Mapping[str, Any], **kwargs: Any) -> ConfigType:
        """A dictionary, with keyword overrides -> the configuration. A composite's part is picked out of its whole."""
        values = copy.deepcopy(dict(config_dict))
        if cls.own_part is not None and not values.keys().isdisjoint((cls.own_part, f"{cls.own_part}_dict")):
            values = _merged(values.get(cls.own_part), values.get(f"{cls.own_part}_dict"))
        kwargs.pop("return_unused_kwargs", None)
        return cls(**{**values, **kwargs})

    @classmethod
    def from_json_file(cls: type[ConfigType], json_file: str | os.PathLike[str]) -> ConfigType:
        """A path to a `config.json` -> the configuration."""
        return cls.from_dict(read_json(Path(json_file)))

    @classmethod
    def from_pretrained(
        cls: type[ConfigType],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        subfolder: str = "",
        **kwargs: Any,
    ) -> ConfigType:
        """A folder, the bundled name `nano` or a hub id -> its configuration, with keyword overrides.

        Raises CheckpointNotFoundError (an OSError) when there is no `config.json`.
        """
        path = hub.find_file(
            pretrained_model_name_or_path,
            CONFIG_NAME,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
            subfolder=subfolder,
        )
        assert path is not None  # noqa: S101 - a required file is found or raises
        return cls.from_dict(read_json(path), **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and type(self) is type(other) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


PartType = TypeVar("PartType", bound=Configuration)


def part(cls: type[PartType], given: Mapping[str, Any] | Configuration | None, override: Any) -> PartType:
    """A sub-configuration from an object or a dictionary, see `_merged`."""
    if isinstance(given, cls) and not override:
        return given
    if isinstance(given, Configuration):
        given = given.to_dict()
    return cls(**_merged(given, override))


def _merged(given: Mapping[str, Any] | None, override: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values of a `…_config` key, under those of the older `…_config_dict` key beside it; either may be null."""
    return {**(given or {}), **(override or {})}


def _plain(value: Any) -> Any:
    """A configuration value as JSON holds it: torch dtypes and callables by name."""
    if isinstance(value, Configuration):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value).__module__ == "torch":
        return str(value).removeprefix("torch.")
    return getattr(value, "__name__", str(value))


def check_heads(width: int, heads: int) -> None:
    """Raise ConfigurationError unless `heads` divides `width`."""
    if heads < 1 or width % heads:
        raise ConfigurationError(f"hidden_size {width} is not divisible by num_attention_heads {heads}; change either")


def read_json(path: Path) -> dict[str, Any]:
    """A path -> the JSON object in it. Raises ConfigurationError if it holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid JSON ({error}); fetch the file again") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} holds a {type(values).__name__}; expected a JSON object")
    return values
