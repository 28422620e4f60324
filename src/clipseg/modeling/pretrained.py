"""What all models share: loading, saving, devices, attention backend, gradient checkpointing."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, overload

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from clipseg.checkpoints import files
from clipseg.checkpoints.fitting import Fitted, fit
from clipseg.checkpoints.sharing import Shareable
from clipseg.checkpoints.soundness import refuse_absent_tensors, refuse_sick_tensors
from clipseg.configuration.base import Configuration
from clipseg.errors import ConfigurationError, UsageError
from clipseg.modeling.devices import available_device
from clipseg.modeling.embeddings import InputEmbeddings
from clipseg.modeling.layers import ATTENTIONS, Attention
from clipseg.modeling.options import LOADING_MOOT, SAVING_MOOT, effective, refuse_unknown

ModelType = TypeVar("ModelType", bound="PreTrainedModel")

PARTS = ("text_model", "vision_model", "text_projection", "visual_projection", "logit_scale", "classifier", "decoder")
"""What a file may hold; a model takes its own parts of it and leaves the others."""


class PreTrainedModel(Shareable, InputEmbeddings):
    """Base of all models. A subclass says which keys of a file it may lack or leave, and draws its new weights."""

    config_class: ClassVar[type[Configuration]]
    base_model_prefix: ClassVar[str] = "clip"
    main_input_name: ClassVar[str] = "pixel_values"
    supports_gradient_checkpointing: ClassVar[bool] = True
    head_prefixes: ClassVar[tuple[str, ...]] = ()
    """Parts a file may lack entirely; they are then drawn anew, with a warning."""

    # What code written for the reference implementation asks of a model's class.
    _supports_sdpa: ClassVar[bool] = True
    _supports_flash_attn: ClassVar[bool] = False
    _supports_flash_attn_2: ClassVar[bool] = False
    _supports_flex_attn: ClassVar[bool] = False
    _keep_in_fp32_modules: ClassVar[None] = None
    _keys_to_ignore_on_load_missing: ClassVar[None] = None
    _keys_to_ignore_on_save: ClassVar[None] = None
    _tied_weights_keys: ClassVar[None] = None

    def __init__(self, config: Configuration) -> None:
        super().__init__()
        self.name_or_path = ""  # where the weights came from, if they came from somewhere
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, got a {type(config).__name__}"
            )
        for name, expected in config.sub_configs.items():
            if not isinstance(part := getattr(config, name), expected):
                raise TypeError(
                    f"config.{name} is expected to be of type {expected.__name__} but is {type(part).__name__}"
                )
        self.config: Any = config

    @classmethod
    def _from_config(
        cls: type[ModelType],
        config: Configuration,
        *,
        attn_implementation: str | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
    ) -> ModelType:
        """A configuration -> a new model of a copy of it, as the constructor makes it, in the wanted type."""
        config = copy.deepcopy(config)
        if attn_implementation is not None:
            config.attn_implementation = attn_implementation
        return cls(config).to(parse_dtype(dtype or torch_dtype, {}))

    def initialise(self) -> None:
        """Finish construction: draw new weights, unless the model has none yet, and follow the configuration."""
        if not any(parameter.is_meta for parameter in self.parameters()):
            with torch.no_grad():
                self._initialise()
        self._choose_attention()
        if getattr(self.config, "gradient_checkpointing", False):
            self.gradient_checkpointing_enable()

    def _initialise(self) -> None:
        raise TypeError(f"{type(self).__name__} does not say how its weights start")

    def initialise_head(self, prefix: str) -> None:
        """Draw the weights of a head that a checkpoint does not hold."""
        raise TypeError(f"{type(self).__name__} has no head {prefix!r}")

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' floating-point type."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def base_model(self) -> nn.Module:
        """The CLIP model inside, or this model where it has none."""
        return getattr(self, self.base_model_prefix, self)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """-> how many numbers the model holds, those of token and position tables counted or not."""
        tables = [m.weight for m in self.modules() if isinstance(m, nn.Embedding)] if exclude_embeddings else []
        counted = [p for p in self.parameters() if p.requires_grad or not only_trainable]
        return sum(p.numel() for p in counted if not any(p is table for table in tables))

    def can_generate(self) -> bool:
        """-> False: no model here writes text."""
        return False

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """-> how many bytes the parameters hold, with those of the buffers or without."""
        held = [*self.parameters(), *(self.buffers() if return_buffers else ())]
        return sum(tensor.nelement() * tensor.element_size() for tensor in held)

    def set_attn_implementation(self, attn_implementation: str | dict[str, str]) -> None:
        """Choose "sdpa" or "eager" for every attention, decoder included.

        A dictionary chooses by part: {"": "sdpa", "text_config": "eager"}. Raises ConfigurationError for other names.
        """
        named = attn_implementation.values() if isinstance(attn_implementation, dict) else [attn_implementation]
        for name in named:
            check_attention(name)
        self.config.attn_implementation = attn_implementation
        self._choose_attention()

    def _choose_attention(self) -> None:
        for part in self.modules():  # the whole before its parts, which may differ from it
            config = getattr(part, "config", None)
            if isinstance(config, Configuration):
                name = check_attention(config._attn_implementation)
                for module in part.modules():
                    if isinstance(module, Attention):
                        module.implementation = name

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """In training, compute activations again in the backward pass and save their memory.

        The arguments have no effect: the way of doing it that works for all inputs (`use_reentrant=False`) is taken.
        """
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations for the backward pass, as by default."""
        self._set_gradient_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether any part computes its activations again."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = value  # type: ignore[assignment]  # torch expects tensors and modules

    @overload
    @classmethod
    def from_pretrained(
        cls: type[ModelType],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        output_loading_info: Literal[True],
        **kwargs: Any,
    ) -> tuple[ModelType, dict[str, list[Any]]]: ...
    @overload
    @classmethod
    def from_pretrained(
        cls: type[ModelType],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        output_loading_info: Literal[False] = False,
        **kwargs: Any,
    ) -> ModelType: ...
    @classmethod
    def from_pretrained(
        cls: type[ModelType],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        output_loading_info: bool = False,
        config: Configuration | str | os.PathLike[str] | None = None,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        use_auth_token: str | bool | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        variant: str | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device: torch.device | str | int | None = None,
        device_map: torch.device | str | int | dict[str, Any] | None = None,
        attn_implementation: str | dict[str, str] | None = None,
        ignore_mismatched_sizes: bool = False,
        **kwargs: Any,
    ) -> ModelType | tuple[ModelType, dict[str, list[Any]]]:
        """A folder, the bundled name `nano` or a hub id -> the model, in evaluation mode.

        Every tensor must be there, be used and have its shape, or one CheckpointMismatchError names them all; only a
        head that is missing entirely is drawn anew, with a warning, and with `ignore_mismatched_sizes` one of other
        shapes as well. `dtype` is a torch type, its name, or "auto": the configuration's, or else the file's own;
        float32 unless given.
        `device_map` is the documented name of `device`, and may be "auto": a GPU where there is one. `config` is a
        configuration, or where to find it; `state_dict` takes the place of the weights' files, of which `variant`
        ("fp16") names others than the usual. Other keywords override the configuration, in a copy of it, and must be
        known to it.

        With `output_loading_info` a dictionary comes along: `missing_keys` of new heads, `unexpected_keys` that were
        left, `mismatched_keys` of heads that did not fit, each with both shapes, and `error_msgs`, empty.
        """
        where: dict[str, Any] = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": use_auth_token if token is None else token,
            "local_files_only": local_files_only,
            "subfolder": subfolder,
        }
        name: Any = pretrained_model_name_or_path
        if name is None and (config is None or state_dict is None):
            raise UsageError(f"{cls.__name__}.from_pretrained needs a name or a folder, or config and state_dict")
        where_to = device_map if device is None else device
        chosen = None if where_to is None else available_device(where_to)
        overrides = effective(kwargs, LOADING_MOOT)
        if isinstance(config, Configuration):
            own, unknown = copy.deepcopy(config), {k: v for k, v in overrides.items() if not hasattr(config, k)}
            own.update({k: v for k, v in overrides.items() if k not in unknown})
        else:
            found: Any = cls.config_class.from_pretrained(
                name if config is None else config, return_unused_kwargs=True, **where, **overrides
            )
            own, unknown = found
        refuse_unknown(cls.__name__, unknown, vars(own))
        if attn_implementation is not None:
            own.attn_implementation = attn_implementation
        wanted = dtype or torch_dtype
        if wanted == "auto" and own.dtype is not None:
            wanted = own.dtype
        if state_dict is None:
            source, tensors = str(name), files.read_weights(name, variant=variant, **where)
        else:
            source, tensors = "state_dict", {key: tensor.detach().clone() for key, tensor in state_dict.items()}
            refuse_sick_tensors(source, tensors)
        model, fitted = cls._from_tensors(
            own,
            tensors,
            source=source,
            dtype=wanted,
            device=chosen,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        model.name_or_path = model.config.name_or_path = str(name or "")
        if not output_loading_info:
            return model
        return model, {
            "missing_keys": list(fitted.missing_keys),
            "unexpected_keys": list(fitted.surplus_keys),
            "mismatched_keys": list(fitted.mismatched_keys),
            "error_msgs": [],
        }

    @classmethod
    def _from_tensors(
        cls: type[ModelType],
        config: Configuration,
        tensors: dict[str, torch.Tensor],
        *,
        source: str,
        dtype: torch.dtype | str | None,
        device: torch.device | None,
        ignore_mismatched_sizes: bool,
    ) -> tuple[ModelType, Fitted]:
        with torch.device("meta"), _Undrawn():
            model = cls(config)
        fitted = fit(
            tensors,
            {key: tensor.shape for key, tensor in model.state_dict().items()},
            source=source,
            heads=cls.head_prefixes,
            surplus=_others(model),
            ignore_mismatched_heads=ignore_mismatched_sizes,
        )
        wanted = parse_dtype(dtype, fitted.tensors)
        held = {
            key: tensor.to(device=device, dtype=wanted if tensor.is_floating_point() else None)
            for key, tensor in fitted.tensors.items()
        }
        model.load_state_dict(held, strict=not fitted.missing_heads, assign=True)
        for prefix in fitted.missing_heads:
            head = model.get_submodule(prefix.removesuffix("."))
            head.to_empty(device=device or "cpu")
            head.to(wanted)
            with torch.no_grad():
                model.initialise_head(prefix)
            found = "other shapes for" if fitted.mismatched_keys else "no"
            warnings.warn(
                f"{source} holds {found} {prefix}* weights, so this part of {cls.__name__} starts untrained; "
                "train it before use",
                stacklevel=3,
            )
        model.config.dtype = wanted
        return model.eval(), fitted

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        *,
        dtype: torch.dtype | str | None = None,
        max_shard_size: int | str = "5GB",
        safe_serialization: bool = True,
        variant: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Write `config.json` and `model.safetensors` (an index and shards above `max_shard_size`) into a folder.

        `dtype` stores the weights in another type, such as "float16" for half the size. `state_dict` takes the place
        of the model's own. Without `safe_serialization` the weights are one `pytorch_model.bin`. A `variant` is part
        of the names of its files, as in `model.fp16.safetensors`. Nothing is written unless `is_main_process`.
        """
        refuse_unknown("save_pretrained", effective(kwargs, SAVING_MOOT), ("dtype", "max_shard_size", "state_dict"))
        if not is_main_process:
            return
        tensors = self.state_dict() if state_dict is None else state_dict
        refuse_absent_tensors(type(self).__name__, tensors)
        stored = self.dtype if dtype is None else parse_dtype(dtype, tensors)
        self.config.architectures = [type(self).__name__]
        self.config.dtype = stored
        self.config.save_pretrained(save_directory)
        converted = {
            key: tensor.to(stored) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
        }
        folder = Path(save_directory)
        if safe_serialization:
            files.write_weights(folder, converted, max_shard_size=max_shard_size, variant=variant)
        else:
            files.write_tensors(folder / files.of_variant("pytorch_model.bin", variant), converted)
            for preferred in (files.SAFETENSORS, files.INDEX):  # an earlier save would be read in its stead
                (folder / files.of_variant(preferred, variant)).unlink(missing_ok=True)


class _Undrawn(TorchFunctionMode):
    """Within it nothing is drawn: numbers for the meta device are nobody's, and asking for some loads torch's compiler.

    That takes a second, more than all the rest of loading a model.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        draws = func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
        return kwargs.get("tensor", *args[:1]) if draws else func(*args, **kwargs)


def check_attention(name: str) -> str:
    """The name of an attention implementation -> itself. Raises ConfigurationError for one that is not offered."""
    if name not in ATTENTIONS:
        fused = '; "sdpa" runs flash attention where torch can' if name.startswith("flash") else ""
        raise ConfigurationError(f"unknown attn_implementation {name!r}; known are {', '.join(ATTENTIONS)}{fused}")
    return name


def _others(model: nn.Module) -> tuple[str, ...]:
    """The parts of a file that a model has no place for."""
    own = {name for key in model.state_dict() for name in key.split(".")}
    return tuple(part if part == "logit_scale" else f"{part}." for part in PARTS if part not in own)


def parse_dtype(name: torch.dtype | str | None, tensors: Mapping[str, torch.Tensor]) -> torch.dtype:
    """A torch type, its name, "auto" (that of the tensors) or None (float32) -> the type."""
    if name is None:
        return torch.float32
    if isinstance(name, torch.dtype):
        return name
    if name == "auto":
        return next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(f"unknown dtype {name!r}; use float32, float16, bfloat16 or auto")
    return found
