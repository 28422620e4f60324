"""The reference implementation with our weights in it, answering in our output classes.

Some of what recent transformers releases answer differs from the documented contract, so nothing is taken from their
output objects except logits, embeddings and losses: hidden states, attentions and pooled states are heard by hooks.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.outputs import (
    BaseModelOutputWithPooling,
    CLIPSegDecoderOutput,
    CLIPSegImageSegmentationOutput,
    CLIPSegOutput,
    ModelOutput,
)
from clipseg.modeling.pretrained import PreTrainedModel


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of the reference are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reference_config(config: CLIPSegConfig) -> Any:
    """Our configuration -> theirs."""
    from transformers import CLIPSegConfig as Reference

    values = config.to_dict()
    for part in (values, values["text_config"], values["vision_config"]):
        for ours in ("clipseg_version", "freeze_clip", "model_type", "architectures", "dtype"):
            part.pop(ours, None)
    with quiet():
        return Reference(**values)


class Twin:
    """The reference twin of one of our models, sharing its weights, on one attention backend."""

    def __init__(self, ours: PreTrainedModel, attention: str, config: CLIPSegConfig | None = None) -> None:
        import transformers

        name = type(ours).__name__
        with quiet(), torch.device("meta"):  # the weights come from ours
            whole = reference_config(config or ours.config)
            part = {"CLIPSegTextModel": "text_config", "CLIPSegVisionModel": "vision_config"}.get(name)
            self.model = getattr(transformers, name)(getattr(whole, part) if part else whole)
        # A tower on its own has lost its prefix in recent releases.
        prefix = {"CLIPSegTextModel": "text_model.", "CLIPSegVisionModel": "vision_model."}.get(name, "")
        weights = {key.removeprefix(prefix): value for key, value in ours.state_dict().items()}
        self.model.load_state_dict(weights, assign=True)
        for module in self.model.modules():
            if getattr(module, "position_ids", None) is not None:
                module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
            if hasattr(module, "config"):  # the decoder keeps its own backend when the model's is switched
                module.config._attn_implementation = attention
        self.model.eval()

    @torch.no_grad()
    def segment(self, states: bool = False, attentions: bool = False, **inputs: Any) -> CLIPSegImageSegmentationOutput:
        """The documented answer of CLIPSegForImageSegmentation."""
        clip, decoder = self.model.clip, self.model.decoder
        with quiet(), Ear(clip.vision_model, clip.vision_model.pre_layrnorm) as vision, Ear(decoder) as decoded:
            answer = self.model(**inputs)
        return CLIPSegImageSegmentationOutput(
            loss=answer.loss,
            logits=answer.logits,
            conditional_embeddings=answer.conditional_embeddings,
            pooled_output=answer.pooled_output,
            vision_model_output=vision.tower(states, attentions),
            decoder_output=CLIPSegDecoderOutput(
                answer.logits,
                tuple(decoded.states) if states else None,
                tuple(decoded.attentions) if attentions else None,
            ),
        )

    @torch.no_grad()
    def compare(self, states: bool = False, attentions: bool = False, **inputs: Any) -> CLIPSegOutput:
        """The documented answer of CLIPSegModel."""
        model = self.model
        with (
            quiet(),
            Ear(model.vision_model, model.vision_model.pre_layrnorm) as vision,
            Ear(model.text_model, model.text_model.embeddings) as text,
        ):
            answer = model(**inputs)
        return CLIPSegOutput(
            loss=answer.loss,
            logits_per_image=answer.logits_per_image,
            logits_per_text=answer.logits_per_text,
            text_embeds=answer.text_embeds,
            image_embeds=answer.image_embeds,
            text_model_output=text.tower(states, attentions),
            vision_model_output=vision.tower(states, attentions),
        )

    @torch.no_grad()
    def tower(self, states: bool = False, attentions: bool = False, **inputs: Any) -> BaseModelOutputWithPooling:
        """The documented answer of CLIPSegTextModel or CLIPSegVisionModel."""
        first = self.model.pre_layrnorm if hasattr(self.model, "pre_layrnorm") else self.model.embeddings
        with quiet(), Ear(self.model, first) as heard:
            self.model(**inputs)
        return heard.tower(states, attentions)


class Ear:
    """Listens to the first call of a reference tower, or of the decoder, which has no `first` module."""

    def __init__(self, part: nn.Module, first: nn.Module | None = None) -> None:
        self.part, self.first = part, first
        self.layers = part.encoder.layers if hasattr(part, "encoder") else part.layers
        self.states: list[torch.Tensor] = []
        self.attentions: list[torch.Tensor] = []
        self.last = self.pooled = torch.empty(0)
        self.heard = False

    def __enter__(self) -> "Ear":
        self.handles = [self.part.register_forward_hook(self._part, with_kwargs=False)]
        if self.first is not None:
            self.handles.append(self.first.register_forward_hook(self._state))
        for layer in self.layers:
            self.handles.append(layer.self_attn.register_forward_hook(self._attention))
            self.handles.append(layer.register_forward_hook(self._state))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _state(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if not self.heard:
            self.states.append(output)

    def _attention(self, _module: nn.Module, _inputs: Any, output: tuple[Any, ...]) -> None:
        if not self.heard:
            self.attentions.append(output[1])

    def _part(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if not self.heard and self.first is not None:  # before the pooled state is replaced by its projection
            self.last, self.pooled = output.last_hidden_state, output.pooler_output
        self.heard = True

    def tower(self, states: bool, attentions: bool) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(
            self.last,
            self.pooled,
            tuple(self.states) if states else None,
            tuple(self.attentions) if attentions else None,
        )


def difference(ours: Any, theirs: Any) -> float:
    """Two answers of one structure -> the largest relative difference; structure, shapes and types must be equal."""
    if isinstance(theirs, ModelOutput):
        assert type(ours) is type(theirs)
        assert list(ours.keys()) == list(theirs.keys())
        return max(difference(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple)
        assert len(ours) == len(theirs)
        return max(map(difference, ours, theirs))
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return float((ours - theirs).abs().max() / theirs.abs().max())
