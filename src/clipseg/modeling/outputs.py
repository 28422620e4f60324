"""What forward calls return: ordered dictionaries that are dataclasses as well. A field that is None is no key."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch
from torch.utils import _pytree as pytree

OutputType = TypeVar("OutputType", bound="ModelOutput")


class ModelOutput(dict[str, Any]):
    """Attribute, key, index and slice access over the fields that are not None, in the order of their definition.

    It is a real dictionary, so `dict(output)`, `**output`, `DataParallel` and torch's tree functions take it as it is.
    Fields can be set, by attribute or by key, but not removed.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output)),
            lambda values, names: cls(**dict(zip(names, values, strict=True))),
            serialized_type_name=f"{cls.__module__}.{cls.__name__}",
        )

    def __post_init__(self) -> None:
        fields = _fields(self)
        first = getattr(self, fields[0])
        if isinstance(first, Iterable) and not isinstance(first, torch.Tensor):  # pairs, as `dict` is made of them
            setattr(self, fields[0], None)
            for name, value in dict(first).items():
                self[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _fields(self):
            super().clear()
            for field in _fields(self):  # all of them, as a field set late has its place among the others
                held = getattr(self, field)
                if held is not None:
                    super().__setitem__(field, held)

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in _fields(self):
            raise KeyError(f"{type(self).__name__} has no field {key!r}")
        setattr(self, key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in _fields(self))

    def copy(self: OutputType) -> OutputType:
        """-> another output with the same values."""
        return copy.copy(self)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"the fields of {type(self).__name__} can be set one by one, but not removed")

    __delitem__ = clear = pop = popitem = setdefault = update = _refuse

    def to_tuple(self) -> tuple[Any, ...]:
        """-> the values that are not None, nested outputs as tuples."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


def _fields(output: ModelOutput) -> tuple[str, ...]:
    return tuple(type(output).__dataclass_fields__)  # type: ignore[attr-defined]  # every subclass is a dataclass


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """A tower's answer: (B, S, D) states, (B, D) pooled; layers + 1 hidden states, an attention a layer if asked."""

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass(eq=False)
class CLIPTextModelOutput(ModelOutput):
    """The text tower under its projection: (B, E) embeddings, not normalised, then the tower's states."""

    text_embeds: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass(eq=False)
class CLIPVisionModelOutput(ModelOutput):
    """The vision tower under its projection: (B, E) embeddings, not normalised, then the tower's states."""

    image_embeds: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass(eq=False)
class ImageClassifierOutput(ModelOutput):
    """A classification: (B, num_labels) logits, before the softmax or sigmoid, and the tower's states if asked."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass(eq=False)
class CLIPOutput(ModelOutput):
    """Similarities of n_img pictures and n_txt texts; both embeddings are L2-normalised, (n, E)."""

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None


@dataclass(eq=False)
class CLIPSegOutput(CLIPOutput):
    """`CLIPOutput` under the name it has for CLIPSeg."""


@dataclass(eq=False)
class CLIPSegDecoderOutput(ModelOutput):
    """The decoder's answer: (B, H, W) logits; one (B, N, d) state and one attention a decoder layer if asked."""

    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass(eq=False)
class CLIPSegImageSegmentationOutput(ModelOutput):
    """A segmentation: (B, H, W) logits before the sigmoid, (B, E) conditions, (B, E) projected picture embeddings."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    conditional_embeddings: torch.Tensor | None = None
    pooled_output: torch.Tensor | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None
    decoder_output: CLIPSegDecoderOutput | None = None
