"""The documented `Auto…` classes: a name -> the class that its files ask for, loaded.

Each is a table and one way to read it. Models are told apart by the `model_type` of config.json; processors, tokenizers
and image processors by the class their own files name, where they name one, and by `model_type` otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from clipseg.checkpoints.files import read_json
from clipseg.checkpoints.hub import find_file
from clipseg.configuration.base import CONFIG_NAME, Configuration
from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.errors import CheckpointNotFoundError, ConfigurationError
from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel
from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel
from clipseg.processing.fast_image_processors import CLIPImageProcessorFast
from clipseg.processing.files import HUB_OPTIONS
from clipseg.processing.image_processors import (
    CONFIG_FILE,
    WHOLE_CONFIG_FILE,
    CLIPImageProcessor,
    ViTImageProcessor,
)
from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast

TOKENIZER_CONFIG = "tokenizer_config.json"

CONFIGS: dict[str, type[Configuration]] = {
    config.model_type: config
    for config in (CLIPConfig, CLIPTextConfig, CLIPVisionConfig, CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig)
}
"""`model_type` -> its configuration."""


class _Auto:
    """Base: a table by `model_type`, and a constructor that says how it is meant."""

    by_model_type: ClassVar[Mapping[str, type[Any]]]
    otherwise: ClassVar[str] = ""
    """What to use for a model type the table lacks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise CheckpointNotFoundError(f"{name} makes nothing without files; use {name}.from_pretrained(name or folder)")

    @classmethod
    def _of(cls, model_type: object, source: object) -> Any:
        """A model type and what stated it -> the class of the table. Raises ConfigurationError for one not in it."""
        if isinstance(model_type, str) and model_type in cls.by_model_type:
            return cls.by_model_type[model_type]
        stated = "no model_type" if model_type is None else f"model_type {model_type!r}"
        raise ConfigurationError(
            f"{source} has {stated}; {cls.__name__} knows {', '.join(cls.by_model_type)}{cls.otherwise}"
        )


class AutoConfig(_Auto):
    """The configuration of any model."""

    by_model_type = CONFIGS

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """A folder, a config.json, "nano" or a hub id -> its configuration; see `Configuration.from_pretrained`.

        Raises CheckpointNotFoundError where there is no config.json, ConfigurationError for a model type not known.
        """
        path = _config_file(pretrained_model_name_or_path, kwargs)
        found = cls._of(read_json(path).get("model_type"), path).from_pretrained(path, **kwargs)
        config = found[0] if isinstance(found, tuple) else found
        config.name_or_path = os.fspath(pretrained_model_name_or_path)
        return found

    @classmethod
    def for_model(cls, model_type: str, *args: Any, **kwargs: Any) -> Any:
        """A model type, with the arguments of its configuration -> that configuration."""
        return cls._of(model_type, "this call")(*args, **kwargs)


class _AutoModelBase(_Auto):
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: Configuration | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A folder, "nano" or a hub id -> its model; keywords as of `PreTrainedModel.from_pretrained`.

        Raises what that raises, and ConfigurationError for a model type that is not in the table.
        """
        if isinstance(config, Configuration):
            kind = cls._of(config.model_type, "config")
        else:
            # Given to the model as a file, so that the configuration is looked for once.
            config = _config_file(pretrained_model_name_or_path if config is None else config, kwargs)
            kind = cls._of(read_json(config).get("model_type"), config)
        return kind.from_pretrained(pretrained_model_name_or_path, config=config, **kwargs)

    @classmethod
    def from_config(cls, config: Configuration, **kwargs: Any) -> Any:
        """A configuration -> a new, untrained model of it; `attn_implementation` and `dtype` as in loading."""
        return cls._of(config.model_type, "config")._from_config(config, **kwargs)


class AutoModel(_AutoModelBase):
    """The model without a head: both towers, or the one that the files are of."""

    by_model_type: ClassVar[Mapping[str, type[Any]]] = {
        "clip": CLIPModel,
        "clip_text_model": CLIPTextModel,
        "clip_vision_model": CLIPVisionModel,
        "clipseg": CLIPSegModel,
        "clipseg_text_model": CLIPSegTextModel,
        "clipseg_vision_model": CLIPSegVisionModel,
    }


class AutoModelForZeroShotImageClassification(_AutoModelBase):
    """The model that compares pictures with texts."""

    by_model_type: ClassVar[Mapping[str, type[Any]]] = {"clip": CLIPModel, "clipseg": CLIPSegModel}
    otherwise = "; for a tower alone use AutoModel"


class AutoModelForImageClassification(_AutoModelBase):
    """The vision tower under a classifier, which starts untrained where the files hold none."""

    by_model_type: ClassVar[Mapping[str, type[Any]]] = {"clip": CLIPForImageClassification}
    otherwise = "; without training use AutoModelForZeroShotImageClassification"


class _AutoPart(_Auto):
    """Base: a table by class name as well, in use before the other where a file names a class."""

    by_name: ClassVar[Mapping[str, type[Any]]]
    files: ClassVar[tuple[str, ...]]
    """Where a class may be named, most telling file first."""
    keys: ClassVar[tuple[str, ...]]
    """Under which keys."""
    by_use_fast: ClassVar[Mapping[type[Any], Mapping[bool | None, type[Any]]]] = {}
    """What `use_fast` makes of a class that has two implementations."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: Configuration | None = None,
        **kwargs: Any,
    ) -> Any:
        """A folder, "nano" or a hub id -> what its files are for; keywords as of that class's `from_pretrained`.

        `use_fast` chooses between two implementations, where there are two. `config` stands in for config.json.
        Raises CheckpointNotFoundError where no file tells the class, ConfigurationError for a model type not known.
        """
        kind = cls._kind(pretrained_model_name_or_path, config, kwargs)
        kind = cls.by_use_fast.get(kind, {}).get(kwargs.get("use_fast"), kind)
        return kind.from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _kind(cls, name: str | os.PathLike[str], config: Configuration | None, options: Mapping[str, Any]) -> Any:
        for named in cls._named(name, options):
            if named in cls.by_name:
                return cls.by_name[named]
        if config is not None:
            return cls._of(config.model_type, "config")
        path = find_file(name, CONFIG_NAME, required=False, **_where(options))
        if path is None:
            raise CheckpointNotFoundError(
                f"{os.fspath(name)} has no {CONFIG_NAME}, and none of {', '.join(cls.files)} names one of "
                f"{', '.join(cls.by_name)}; load it by the class itself"
            )
        return cls._of(read_json(path).get("model_type"), path)

    @classmethod
    def _named(cls, name: str | os.PathLike[str], options: Mapping[str, Any]) -> Iterable[str]:
        """The class names that the files state."""
        for file in cls.files:
            path = find_file(name, file, required=False, **_where(options))
            content = {} if path is None else read_json(path)
            for part in (content, content.get("image_processor")):  # newer releases nest it, in processor_config.json
                if isinstance(part, dict):
                    yield from (value for key in cls.keys if isinstance(value := part.get(key), str))


class AutoImageProcessor(_AutoPart):
    """The image processor that a model's files describe: the PIL one, unless they or `use_fast` say Fast."""

    by_model_type: ClassVar[Mapping[str, type[Any]]] = {
        "clip": CLIPImageProcessor,
        "clip_vision_model": CLIPImageProcessor,
        "clipseg": ViTImageProcessor,
        "clipseg_vision_model": ViTImageProcessor,
    }
    by_name: ClassVar[Mapping[str, type[Any]]] = {
        "CLIPFeatureExtractor": CLIPImageProcessor,
        "CLIPImageProcessor": CLIPImageProcessor,
        "CLIPImageProcessorFast": CLIPImageProcessorFast,
        "CLIPImageProcessorPil": CLIPImageProcessor,
        "CLIPSegFeatureExtractor": ViTImageProcessor,
        "CLIPSegImageProcessor": ViTImageProcessor,
        "ViTFeatureExtractor": ViTImageProcessor,
        "ViTImageProcessor": ViTImageProcessor,
        "ViTImageProcessorFast": ViTImageProcessor,
        "ViTImageProcessorPil": ViTImageProcessor,
    }
    files = (CONFIG_FILE, WHOLE_CONFIG_FILE)
    keys = ("image_processor_type", "feature_extractor_type")
    by_use_fast: ClassVar[Mapping[type[Any], Mapping[bool | None, type[Any]]]] = {
        CLIPImageProcessor: {True: CLIPImageProcessorFast},
        CLIPImageProcessorFast: {False: CLIPImageProcessor},
    }


class AutoTokenizer(_AutoPart):
    """The tokenizer of a model: the Fast name of it, unless `use_fast` is False."""

    by_model_type: ClassVar[Mapping[str, type[Any]]] = dict.fromkeys(
        ("clip", "clip_text_model", "clipseg", "clipseg_text_model"), CLIPTokenizerFast
    )
    by_name: ClassVar[Mapping[str, type[Any]]] = {
        "CLIPTokenizer": CLIPTokenizerFast,
        "CLIPTokenizerFast": CLIPTokenizerFast,
    }
    files = (TOKENIZER_CONFIG,)
    keys = ("tokenizer_class",)
    by_use_fast: ClassVar[Mapping[type[Any], Mapping[bool | None, type[Any]]]] = {
        CLIPTokenizerFast: {False: CLIPTokenizer}
    }


class AutoProcessor(_AutoPart):
    """The tokenizer and the image processor of a model, as one."""

    by_model_type: ClassVar[Mapping[str, type[Any]]] = {"clip": CLIPProcessor, "clipseg": CLIPSegProcessor}
    by_name: ClassVar[Mapping[str, type[Any]]] = {
        "CLIPProcessor": CLIPProcessor,
        "CLIPSegProcessor": CLIPSegProcessor,
    }
    files = (WHOLE_CONFIG_FILE, CONFIG_FILE, TOKENIZER_CONFIG)
    keys = ("processor_class",)
    otherwise = "; for a tower alone use AutoTokenizer or AutoImageProcessor"


def _where(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a `from_pretrained` -> those that say where to look; `use_auth_token` is the older `token`."""
    where = {name: options[name] for name in HUB_OPTIONS if name in options}
    if where.get("token") is None and options.get("use_auth_token") is not None:
        where["token"] = options["use_auth_token"]
    return where


def _config_file(name: str | os.PathLike[str], options: Mapping[str, Any]) -> Path:
    """A model's name -> its config.json on this machine. Raises CheckpointNotFoundError."""
    return Path(str(find_file(name, CONFIG_NAME, **_where(options))))
