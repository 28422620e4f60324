"""What all models share: loading, saving, devices, attention backend, gradient checkpointing."""

from __future__ import annotations

import copy
import os
import warnings
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from clipseg.checkpoints import files
from clipseg.checkpoints.fitting import fit
from clipseg.configuration.base import Configuration
from clipseg.errors import ConfigurationError, UsageError
from clipseg.modeling.layers import ATTENTIONS, Attention
from clipseg.modeling.outputs import ModelOutput

ModelType = TypeVar("ModelType", bound="PreTrainedModel")
OutputType = TypeVar("OutputType", bound=ModelOutput)


def flag(given: bool | None, configured: bool) -> bool:
    """An argument that may be left out -> its value, or the configured one."""
    return configured if given is None else bool(given)


class PreTrainedModel(nn.Module):
    """Base of all models. A subclass says which keys of a file it may lack or leave, and draws its new weights."""

    config_class: ClassVar[type[Configuration]]
    main_input_name: ClassVar[str] = "pixel_values"
    head_prefixes: ClassVar[tuple[str, ...]] = ()
    """Parts a file may lack entirely; they are then drawn anew, with a warning."""
    surplus_prefixes: ClassVar[tuple[str, ...]] = ()
    """Parts a file may hold that this model has no use for."""

    def __init__(self, config: Configuration) -> None:
        super().__init__()
        self.name_or_path = ""  # where the weights came from, if they came from somewhere
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, got a {type(config).__name__}"
            )
        self.config: Any = config

    def initialise(self) -> None:
        """Finish construction: draw new weights, unless the model has none yet, and set the attention backend."""
        if not any(parameter.is_meta for parameter in self.parameters()):
            with torch.no_grad():
                self._initialise()
        self.set_attn_implementation(self.config.attn_implementation or "sdpa")

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

    def num_parameters(self, only_trainable: bool = False) -> int:
        """-> how many numbers the model holds."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def get_input_embeddings(self) -> nn.Module:
        """-> the module that takes the raw input in."""
        raise UsageError(f"{type(self).__name__} has no input embeddings")

    def get_output_embeddings(self) -> None:
        """-> None: no model here has output embeddings."""

    def set_attn_implementation(self, name: str) -> None:
        """Choose "sdpa" or "eager" for every attention, decoder included."""
        if name not in ATTENTIONS:
            raise ConfigurationError(f"unknown attn_implementation {name!r}; known are {', '.join(ATTENTIONS)}")
        for module in self.modules():
            if isinstance(module, Attention):
                module.implementation = name

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """In training, compute activations again in the backward pass and save their memory."""
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

    def answer(self, output: OutputType, return_dict: bool | None) -> OutputType | tuple[Any, ...]:
        """An output object -> itself, or its tuple where argument or configuration ask for that."""
        return output if flag(return_dict, self.config.use_return_dict) else output.to_tuple()

    @classmethod
    def from_pretrained(
        cls: type[ModelType],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: Configuration | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        device_map: torch.device | str | None = None,
        attn_implementation: str | None = None,
        **kwargs: Any,
    ) -> ModelType:
        """A folder, the bundled name `nano` or a hub id -> the model, in evaluation mode.

        Every tensor must be there, be used and have its shape, or one CheckpointMismatchError names them all; only a
        head that is missing entirely is drawn anew, with a warning. `dtype` is a torch type, its name, or "auto" for
        the file's own; float32 unless given. `device_map` is the documented name of `device`, and may be "auto": a
        GPU where there is one. Other keywords override the configuration, in a copy of it.
        """
        where: dict[str, Any] = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "local_files_only": local_files_only,
            "subfolder": subfolder,
        }
        if config is None:
            config = cls.config_class.from_pretrained(pretrained_model_name_or_path, **where, **kwargs)
        else:
            config = copy.deepcopy(config)
            for name, value in kwargs.items():
                setattr(config, name, value)
        if attn_implementation is not None:
            config.attn_implementation = attn_implementation
        tensors = files.read_weights(pretrained_model_name_or_path, **where)
        source = str(pretrained_model_name_or_path)
        if device is None:
            device = ("cuda" if torch.cuda.is_available() else "cpu") if device_map == "auto" else device_map
        model = cls.from_tensors(config, tensors, source=source, dtype=dtype or torch_dtype, device=device)
        model.name_or_path = source
        return model

    @classmethod
    def from_tensors(
        cls: type[ModelType],
        config: Configuration,
        tensors: dict[str, torch.Tensor],
        *,
        source: str,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> ModelType:
        """A configuration and tensors by name -> the model, as by `from_pretrained`; `source` names them in errors."""
        with torch.device("meta"):
            model = cls(config)
        fitted = fit(
            tensors,
            {key: tensor.shape for key, tensor in model.state_dict().items()},
            source=source,
            heads=cls.head_prefixes,
            surplus=cls.surplus_prefixes,
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
            warnings.warn(
                f"{source} holds no {prefix}* weights, so this part of {cls.__name__} starts untrained; "
                "train it before use",
                stacklevel=3,
            )
        return model.eval()

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        dtype: torch.dtype | str | None = None,
        max_shard_size: int | str = "5GB",
        **kwargs: Any,
    ) -> None:
        """Write `config.json` and `model.safetensors` (an index and shards above `max_shard_size`) into a folder.

        `dtype` stores the weights in another type, such as "float16" for half the size.
        """
        tensors = self.state_dict()
        stored = self.dtype if dtype is None else parse_dtype(dtype, tensors)
        self.config.architectures = [type(self).__name__]
        self.config.dtype = str(stored).removeprefix("torch.")
        self.config.save_pretrained(save_directory)
        files.write_weights(
            Path(save_directory),
            {key: tensor.to(stored) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()},
            max_shard_size=max_shard_size,
        )


def parse_dtype(name: torch.dtype | str | None, tensors: dict[str, torch.Tensor]) -> torch.dtype:
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
