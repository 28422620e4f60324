"""How any configuration is read from `config.json` and written back.

Every class keeps keyword arguments it does not know as attributes, because released files carry dozens of them, and
writes them back. Nothing here imports torch.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, overload

from clipseg.checkpoints import hub
from clipseg.checkpoints.sharing import Shareable
from clipseg.errors import ConfigurationError, OutputError, UsageError
from clipseg.version import __version__

CONFIG_NAME = "config.json"

ConfigType = TypeVar("ConfigType", bound="Configuration")


MOOT = frozenset(
    {
        "force_download",  # every call asks the hub whether its copy is newer
        "resume_download",  # always done
        "trust_remote_code",  # no code is ever loaded
        "code_revision",
        "mirror",
        "user_agent",
        "_commit_hash",
        "_from_auto",
        "_from_pipeline",
    }
)
"""Options of loading that scripts pass along and that have nothing to decide here."""

_WHERE = ("cache_dir", "local_files_only", "token", "revision", "subfolder")


class Configuration(Shareable):
    """Base of all configurations: attributes in, `config.json` out, and back."""

    model_type: ClassVar[str] = ""
    sub_configs: ClassVar[dict[str, type[Configuration]]] = {}
    has_no_defaults_at_init: ClassVar[bool] = False
    is_encoder_decoder: ClassVar[bool] = False
    attribute_map: ClassVar[dict[str, str]] = {}  # no attribute has a second name
    own_part: ClassVar[str | None] = None
    """The key under which a composite file holds this configuration, for loading a part from the whole."""
    from_whole: ClassVar[tuple[str, ...]] = ()
    """What such a part takes from its whole where it does not say it itself."""

    def __init__(self, **kwargs: Any) -> None:
        self.return_dict: bool = kwargs.pop("return_dict", True)
        self.output_hidden_states: bool = kwargs.pop("output_hidden_states", False)
        self.output_attentions: bool = kwargs.pop("output_attentions", False)
        self.attn_implementation = kwargs.pop("attn_implementation", kwargs.pop("_attn_implementation", None))
        torch_dtype = kwargs.pop("torch_dtype", None)
        self.dtype = kwargs.pop("dtype", None) or torch_dtype
        self._name_or_path: str = kwargs.pop("name_or_path", kwargs.pop("_name_or_path", None)) or ""
        self.architectures: list[str] | None = kwargs.pop("architectures", None)
        self.problem_type: str | None = kwargs.pop("problem_type", None)
        labels = kwargs.pop("num_labels", 2)
        id2label = kwargs.pop("id2label", None)
        label2id = kwargs.pop("label2id", None)
        self.id2label = _numbered(labels) if id2label is None else id2label
        if label2id and id2label is not None:
            self.label2id = label2id
        kwargs.pop("model_type", None)
        for name, value in kwargs.items():
            setattr(self, name, value)

    @property
    def name_or_path(self) -> str:
        """Where the configuration came from, "" if it came from nowhere; never written to a file."""
        return self._name_or_path

    @name_or_path.setter
    def name_or_path(self, name: object) -> None:
        self._name_or_path = str(name)

    # Properties keep their values under their own names in `__dict__`, so that they are written like the others.

    @property
    def id2label(self) -> dict[int, str]:
        """The names of an image classifier's classes; setting them sets `label2id` as well."""
        return self.__dict__["id2label"]  # type: ignore[no-any-return]

    @id2label.setter
    def id2label(self, names: Mapping[Any, str]) -> None:
        self.__dict__["id2label"] = {int(index): name for index, name in names.items()}
        self.label2id = {name: index for index, name in self.id2label.items()}

    @property
    def num_labels(self) -> int:
        """The number of classes of an image classifier; setting it renames the labels LABEL_0, LABEL_1, …."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if len(self.id2label) != count:
            self.id2label = _numbered(count)

    @property
    def dtype(self) -> Any:
        """The weights' type of number: None, "auto" or a torch type; its name may be set as well."""
        value = self.__dict__["dtype"]
        if isinstance(value, str) and value != "auto":
            import torch  # here alone, so that configurations can be read without it

            return getattr(torch, value, value)
        return value

    @dtype.setter
    def dtype(self, value: Any) -> None:
        self.__dict__["dtype"] = value

    @property
    def torch_dtype(self) -> Any:
        """The older name of `dtype`."""
        return self.dtype

    @torch_dtype.setter
    def torch_dtype(self, value: Any) -> None:
        self.dtype = value

    @property
    def attn_implementation(self) -> str | None:
        """How attention is computed: "sdpa", "eager", or None where that is left open.

        Setting it sets it for the parts as well. A dictionary names them: {"": "sdpa", "text_config": "eager"}.
        """
        return self.__dict__["attn_implementation"]  # type: ignore[no-any-return]

    @attn_implementation.setter
    def attn_implementation(self, value: str | Mapping[str, str | None] | None) -> None:
        chosen = value if isinstance(value, Mapping) else dict.fromkeys(("", *self.sub_configs), value)
        self.__dict__["attn_implementation"] = chosen.get("", self.__dict__.get("attn_implementation"))
        for name in self.sub_configs:
            if chosen.get(name) is not None:
                getattr(self, name).attn_implementation = chosen[name]

    @property
    def _attn_implementation(self) -> str:
        """What a model of this configuration runs: `attn_implementation`, or else "sdpa"."""
        return self.attn_implementation or "sdpa"

    @_attn_implementation.setter
    def _attn_implementation(self, value: str | Mapping[str, str | None] | None) -> None:
        self.attn_implementation = value

    @property
    def use_return_dict(self) -> bool:
        """Whether a forward call answers with an output object (True) or a plain tuple, unless it is told.

        `torchscript`, a key of old files, stands for tuples: they are all that tracing knows.
        """
        return self.return_dict and not getattr(self, "torchscript", False)

    def __iter__(self) -> Iterator[str]:
        """-> the names of the attributes."""
        return iter(vars(self))

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Set attributes from a dictionary."""
        for name, value in config_dict.items():
            setattr(self, name, value)

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
        if self.id2label == _numbered(2):
            del values["id2label"], values["label2id"]
        else:
            values["id2label"] = dict(self.id2label)  # with numbers for keys, which JSON makes text of
        values["clipseg_version"] = __version__
        return values

    def to_diff_dict(self) -> dict[str, Any]:
        """-> what of `to_dict` a configuration without arguments has not, with the names of its type and release."""
        usual = type(self)().to_dict()
        always = ("model_type", "clipseg_version")
        return {k: v for k, v in self.to_dict().items() if k in always or k not in usual or v != usual[k]}

    def to_json_string(self, use_diff: bool = True) -> str:
        """-> the text of `config.json`; all values are written whatever `use_diff` says."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write `config.json` text to a path."""
        Path(json_file_path).write_text(self.to_json_string(), encoding="utf-8")

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write `config.json` into a folder, which is made if need be; the hub's options have no effect.

        Raises OutputError if the folder is a file, UsageError for `push_to_hub`.
        """
        if push_to_hub:
            raise UsageError("push_to_hub is not offered; call push_to_hub(repo_id) instead")
        folder = Path(save_directory)
        if folder.is_file():
            raise OutputError(f"{folder} is a file; save_pretrained needs a folder to write {CONFIG_NAME} into")
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / CONFIG_NAME)

    @overload
    @classmethod
    def from_dict(
        cls: type[ConfigType],
        config_dict: Mapping[str, Any],
        *,
        return_unused_kwargs: Literal[True],
        **kwargs: Any,
    ) -> tuple[ConfigType, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_dict(
        cls: type[ConfigType], config_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> ConfigType: ...
    @classmethod
    def from_dict(
        cls: type[ConfigType], config_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> ConfigType | tuple[ConfigType, dict[str, Any]]:
        """A dictionary, with keyword overrides -> the configuration. A composite's part is picked out of its whole.

        A dictionary given for a part overrides the named keys of that part alone. Overrides that the configuration
        does not know are kept as well, or come back beside it with `return_unused_kwargs`. Warns if the dictionary is
        another model's.
        """
        values = copy.deepcopy(dict(config_dict))
        if cls.own_part is not None and not values.keys().isdisjoint((cls.own_part, f"{cls.own_part}_dict")):
            whole, values = values, _merged(values.get(cls.own_part), values.get(f"{cls.own_part}_dict"))
            values = {name: whole[name] for name in cls.from_whole if whole.get(name) is not None} | values
        cls._check_type(values.get("model_type"))
        for name in cls.sub_configs:
            if isinstance(kwargs.get(name), Mapping):
                kwargs[name] = _merged(_merged(values.get(name), values.pop(f"{name}_dict", None)), kwargs[name])
        if (
            "num_labels" in kwargs
            and "id2label" not in kwargs
            and kwargs["num_labels"] != len(values.get("id2label") or ())
        ):
            values.pop("id2label", None)
        unused = {}
        if return_unused_kwargs:
            known = cls(**values)
            unused = {name: kwargs.pop(name) for name in list(kwargs) if not hasattr(known, name)}
        config = cls(**{**values, **kwargs})
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def _check_type(cls, found: str | None) -> None:
        """Warn unless a file's `model_type` is this one, or the same part of the other of CLIP and CLIPSeg."""
        if found and found.replace("clipseg", "clip") != cls.model_type.replace("clipseg", "clip"):
            warnings.warn(
                f"the configuration of a model of type {found!r} is read as one of type {cls.model_type!r}; "
                "keys with other names are not understood",
                stacklevel=4,
            )

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
        """A folder, the bundled name `nano` or a hub id -> its configuration, with keyword overrides as `from_dict`.

        `return_unused_kwargs` gives a pair as well. Options named in MOOT have no effect. Raises
        CheckpointNotFoundError (an OSError) when there is no `config.json`.
        """
        where = {"cache_dir": cache_dir, "local_files_only": local_files_only, "token": token, "revision": revision}
        values, overrides = cls.get_config_dict(pretrained_model_name_or_path, subfolder=subfolder, **where, **kwargs)
        found: Any = cls.from_dict(values, **overrides)
        config: ConfigType = found[0] if isinstance(found, tuple) else found
        config.name_or_path = os.fspath(pretrained_model_name_or_path)
        return found  # type: ignore[no-any-return]

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `from_pretrained` takes -> the content of its `config.json`, and the keywords that override it."""
        where = {name: kwargs.pop(name) for name in _WHERE if name in kwargs}
        former = kwargs.pop("use_auth_token", None)
        if where.get("token") is None:
            where["token"] = former
        path = hub.find_file(pretrained_model_name_or_path, CONFIG_NAME, **where)
        assert path is not None  # noqa: S101 - a required file is found or raises
        overrides = {name: value for name, value in kwargs.items() if name not in MOOT}
        if overrides.pop("proxies", None):
            raise UsageError("proxies is not offered; set the environment variable HTTPS_PROXY")
        return read_json(path), overrides

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and type(self) is type(other) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


PartType = TypeVar("PartType", bound=Configuration)


def part(cls: type[PartType], given: Mapping[str, Any] | Configuration | None, override: Any) -> PartType:
    """A sub-configuration from an object or a dictionary, see `_merged`. Raises TypeError for anything else."""
    if isinstance(given, cls) and not override:
        return given
    if isinstance(given, Configuration) and given.own_part == cls.own_part:
        given = given.to_dict()
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(
            f"{cls.own_part} is expected to be of type {cls.__name__} or dict but is {type(given).__name__}"
        )
    return cls(**_merged(given, override))


def _merged(given: Mapping[str, Any] | None, override: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values of a `…_config` key, under those of the older `…_config_dict` key beside it; either may be null."""
    return {**(given or {}), **(override or {})}


def _numbered(count: int) -> dict[int, str]:
    return {index: f"LABEL_{index}" for index in range(count)}


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


def check_heads(width: int, heads: int, usual: int) -> None:
    """Raise ConfigurationError unless `heads` divides `width`.

    The usual number of heads is let through, as existing code makes configurations of any width without naming heads;
    a model of them is refused.
    """
    if heads != usual and (heads < 1 or width % heads):
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
