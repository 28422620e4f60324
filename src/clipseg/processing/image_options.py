"""What an image processor can be told: its options checked, kept, read from files and written to them."""

import copy
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, overload

import numpy as np
from PIL import Image

from clipseg.checkpoints.files import read_json, write_json
from clipseg.checkpoints.hub import find_first
from clipseg.checkpoints.sharing import Shareable
from clipseg.errors import CheckpointError, ConfigurationError, UsageError
from clipseg.processing.files import FilePath, split_hub_options

CONFIG_FILE = "preprocessor_config.json"
WHOLE_CONFIG_FILE = "processor_config.json"  # newer releases keep the same options in here, under "image_processor"

# Keys of a file that name classes: notes for whoever reads the file, and written anew by whoever writes it.
CLASS_NAMES = ("image_processor_type", "feature_extractor_type", "processor_class")
# What a call is asked for beside the options, with what it means where neither call nor constructor say.
ANSWER_OPTIONS: Mapping[str, Any] = {
    "return_tensors": None,
    "data_format": "channels_first",
    "input_data_format": None,
}
SIZE_FORMS: Mapping[str, tuple[set[str], ...]] = {
    "size": ({"height", "width"}, {"shortest_edge"}),
    "crop_size": ({"height", "width"},),
    "pad_size": ({"height", "width"},),
}

Self = TypeVar("Self", bound="ImageOptions")


class ImageOptions(Shareable):
    """The options of an image processor as attributes, and as a preprocessor_config.json.

    The constructor takes each option by keyword, or by position in the order of `order`; None stands for the default.
    Keywords that are no option are kept and saved again, for released files carry some. Raises ConfigurationError for
    options that make no sense.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    order: ClassVar[tuple[str, ...]] = ()
    """What is meant by position, as the documented signatures have it."""
    int_size_is_square: ClassVar[bool] = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options = self._named(arguments, options)
        self.extra = {
            name: value for name, value in options.items() if name not in self.defaults and name not in CLASS_NAMES
        }
        given = {name: value for name, value in options.items() if name in self.defaults and value is not None}
        self._set({**self.defaults, **given})

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    @property
    def call_options(self) -> frozenset[str]:
        """The name of everything that a call can be told."""
        return frozenset(self.defaults) | frozenset(ANSWER_OPTIONS)

    def _named(self, arguments: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """What is given by position and by keyword -> all of it by keyword. Raises UsageError where that clashes."""
        if len(arguments) > len(self.order):
            raise UsageError(f"{type(self).__name__} takes {len(self.order)} options by position, got {len(arguments)}")
        placed = dict(zip(self.order, arguments, strict=False))
        if twice := placed.keys() & options.keys():
            raise UsageError(f"{', '.join(sorted(twice))} is given twice, by position and by keyword")
        return {**placed, **options}

    def _told(self: Self, options: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Options of one call -> the processor with them, and what of `ANSWER_OPTIONS` holds. Raises UsageError."""
        if unknown := [name for name in options if name not in self.call_options]:
            known = ", ".join((*self.defaults, *ANSWER_OPTIONS))
            raise UsageError(f"{type(self).__name__} has no option {', '.join(unknown)}; it has {known}")
        processor = self
        if changed := {name: options[name] for name in options.keys() & self.defaults.keys()}:
            processor = copy.copy(self)
            processor._set({name: value for name, value in changed.items() if value is not None})
        constructed = {name: self.extra[name] for name in ANSWER_OPTIONS if self.extra.get(name) is not None}
        called = {name: options[name] for name in options.keys() & ANSWER_OPTIONS.keys()}
        if called.get("return_tensors", "") is None:
            del called["return_tensors"]
        return processor, {name: plain(value) for name, value in {**ANSWER_OPTIONS, **constructed, **called}.items()}

    def _set(self, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            setattr(self, name, None if value is None else self._checked(name, value))

    def _checked(self, name: str, value: Any) -> Any:
        """An option as given -> in the form in which it is kept and saved."""
        if name in SIZE_FORMS:
            return _checked_size(name, value, square=name != "size" or self.int_size_is_square)
        if name == "resample":
            if isinstance(value, bool) or value not in list(Image.Resampling):
                raise ConfigurationError(f"resample is one of PIL's filters, 0 to 5, got {value!r}")
            return int(value)
        if name in ("image_mean", "image_std"):
            return _checked_statistics(name, value)
        if name.startswith("do_") and value not in (True, False):
            raise ConfigurationError(f"{name} is True or False, got {value!r}")
        if name == "rescale_factor" and not (isinstance(value, (int, float)) and np.isfinite(value)):
            raise ConfigurationError(f"rescale_factor is a number, got {value!r}")
        return value

    # -- files ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Every option that is set, what an unknown file brought along, and the name of this class."""
        options = {name: copy.copy(getattr(self, name)) for name in self.defaults}
        named = {name: value for name, value in options.items() if value is not None}
        return {**self.extra, **named, "image_processor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: FilePath) -> None:
        """`to_dict` -> a JSON file."""
        write_json(json_file_path, self.to_dict())

    @overload
    @classmethod
    def from_dict(
        cls: type[Self],
        image_processor_dict: Mapping[str, Any],
        *,
        return_unused_kwargs: Literal[True],
        **overrides: Any,
    ) -> tuple[Self, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_dict(cls: type[Self], image_processor_dict: Mapping[str, Any], **overrides: Any) -> Self: ...
    @classmethod
    def from_dict(
        cls: type[Self], image_processor_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **overrides: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Options, as `to_dict` gives them, and those that override them -> an image processor.

        With `return_unused_kwargs=True` also the overrides that are no option of it, which are then not kept.
        """
        if not return_unused_kwargs:
            return cls(**{**image_processor_dict, **overrides})
        unused = {name: overrides.pop(name) for name in overrides.keys() - cls.defaults.keys()}
        return cls(**{**image_processor_dict, **overrides}), unused

    @classmethod
    def from_json_file(cls: type[Self], json_file: FilePath) -> Self:
        """A JSON file of options -> an image processor. Raises CheckpointError for any other file."""
        return cls(**read_json(Path(json_file)))

    def save_pretrained(self, save_directory: FilePath) -> list[str]:
        """A folder -> the path of the preprocessor_config.json written there."""
        path = Path(save_directory) / CONFIG_FILE
        self.to_json_file(path)
        return [str(path)]

    @overload
    @classmethod
    def from_pretrained(
        cls: type[Self], name_or_path: FilePath, *, return_unused_kwargs: Literal[True], **options: Any
    ) -> tuple[Self, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_pretrained(cls: type[Self], name_or_path: FilePath, **options: Any) -> Self: ...
    @classmethod
    def from_pretrained(cls: type[Self], name_or_path: FilePath, **options: Any) -> Self | tuple[Self, dict[str, Any]]:
        """A hub name, "nano" or a folder -> its image processor.

        `subfolder`, `revision`, `cache_dir`, `token` and `local_files_only` say where to look; every other keyword is
        as in `from_dict`. Raises CheckpointNotFoundError if there is no file.
        """
        where, overrides = split_hub_options(options)
        loaded: Self | tuple[Self, dict[str, Any]] = cls.from_dict(read_options(name_or_path, **where), **overrides)
        return loaded


def read_options(name_or_path: FilePath, **where: Any) -> dict[str, Any]:
    """A hub name, "nano" or a folder -> what its file says of the image processor.

    Raises CheckpointNotFoundError if there is no file, and CheckpointError if it says nothing of one.
    """
    path = Path(str(find_first(name_or_path, (CONFIG_FILE, WHOLE_CONFIG_FILE), **where)))
    config: Any = read_json(path)
    if path.name == WHOLE_CONFIG_FILE:
        config = config.get("image_processor")
    if not isinstance(config, dict):
        raise CheckpointError(f'{path} has no "image_processor", and there is no {CONFIG_FILE} beside it')
    return config


def plain(value: Any) -> Any:
    """A member of an enumeration (`ChannelDimension.FIRST`, `TensorType.PYTORCH`) -> its value; others as they are."""
    return value.value if isinstance(value, Enum) else value


def check_choice(name: str, value: Any, allowed: Sequence[str | None]) -> None:
    """Raises UsageError for a value that is not among those allowed."""
    if value not in allowed:
        raise UsageError(f"{name} is one of {', '.join(map(str, allowed))}, got {value!r}")


def _checked_size(name: str, size: Any, *, square: bool) -> dict[str, int]:
    """A number, (height, width) or a dictionary -> the dictionary it stands for."""
    given = size
    if _positive(size):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    elif isinstance(size, (list, tuple)) and len(size) == 2:
        size = dict(zip(("height", "width"), size, strict=True))
    if not isinstance(size, Mapping) or set(size) not in SIZE_FORMS[name] or not all(map(_positive, size.values())):
        expected = " or ".join("{" + ", ".join(sorted(form)) + "}" for form in SIZE_FORMS[name])
        raise ConfigurationError(
            f"{name} is {expected} of whole numbers above 0, (height, width) or one number, got {given!r}"
        )
    return {edge: int(size[edge]) for edge in size}


def _positive(edge: Any) -> bool:
    return isinstance(edge, (int, np.integer)) and not isinstance(edge, bool) and bool(edge > 0)


def _checked_statistics(name: str, value: Any) -> list[float] | float:
    """One number or one for each channel, in any sequence -> the same as plain floats."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.full((1, 1), np.nan)
    if numbers.ndim > 1 or not np.isfinite(numbers).all() or (name == "image_std" and not (numbers > 0).all()):
        above = " above 0" if name == "image_std" else ""
        raise ConfigurationError(f"{name} is a number{above}, or one for each channel, got {value!r}")
    return numbers.tolist()  # type: ignore[no-any-return]
