"""What forward calls return: ordered, dict-like dataclasses. A field that is None is absent from keys and indices."""

from __future__ import annotations

import dataclasses
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any

import torch


class ModelOutput:
    """Attribute, key, index and slice access over the fields that are not None, in the order of their definition."""

    def _present(self) -> dict[str, Any]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: value for field in fields if (value := getattr(self, field.name)) is not None}

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._present()[key] if isinstance(key, str) else tuple(self._present().values())[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in {field.name for field in dataclasses.fields(self)}:  # type: ignore[arg-type]
            raise KeyError(f"{type(self).__name__} has no field {key!r}")
        setattr(self, key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def __contains__(self, key: object) -> bool:
        return key in self._present()

    def keys(self) -> KeysView[str]:
        """-> names of the fields that are not None."""
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        """-> values of the fields that are not None."""
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        """-> pairs of name and value of the fields that are not None."""
        return self._present().items()

    def get(self, key: str, default: Any = None) -> Any:
        """A field's value, or the default where it is None or not there."""
        return self._present().get(key, default)

    def to_tuple(self) -> tuple[Any, ...]:
        """-> the values that are not None, nested outputs as tuples."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """A tower's answer: (B, S, D) states, (B, D) pooled; layers + 1 hidden states, an attention a layer if asked."""

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class CLIPSegOutput(ModelOutput):
    """Similarities of n_img pictures and n_txt texts; both embeddings are L2-normalised, (n, E)."""

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None


@dataclass
class CLIPSegDecoderOutput(ModelOutput):
    """The decoder's answer: (B, H, W) logits; one (B, N, d) state and one attention a decoder layer if asked."""

    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class CLIPSegImageSegmentationOutput(ModelOutput):
    """A segmentation: (B, H, W) logits before the sigmoid, (B, E) conditions, (B, E) projected picture embeddings."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    conditional_embeddings: torch.Tensor | None = None
    pooled_output: torch.Tensor | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None
    decoder_output: CLIPSegDecoderOutput | None = None
