"""The reference implementation with our weights in it, answering in our output classes.

Some of what recent transformers releases answer differs from the documented contract: pooled states come projected,
lists of hidden states have holes or one entry more, attentions are missing under sdpa. So nothing is taken from their
output objects except logits, embeddings and losses: hidden states, attentions and pooled states are heard by hooks.
"""

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from clipseg.configuration.base import Configuration
from clipseg.modeling import outputs
from clipseg.modeling.outputs import BaseModelOutputWithPooling, CLIPSegDecoderOutput, ModelOutput
from clipseg.modeling.pretrained import PreTrainedModel

ANSWERS: dict[str, type[ModelOutput]] = {
    "CLIPForImageClassification": outputs.ImageClassifierOutput,
    "CLIPModel": outputs.CLIPOutput,
    "CLIPSegForImageSegmentation": outputs.CLIPSegImageSegmentationOutput,
    "CLIPSegModel": outputs.CLIPSegOutput,
    "CLIPSegTextModel": BaseModelOutputWithPooling,
    "CLIPSegVisionModel": BaseModelOutputWithPooling,
    "CLIPTextModel": BaseModelOutputWithPooling,
    "CLIPTextModelWithProjection": outputs.CLIPTextModelOutput,
    "CLIPVisionModel": BaseModelOutputWithPooling,
    "CLIPVisionModelWithProjection": outputs.CLIPVisionModelOutput,
}
"""Every model class and what its forward call answers."""

OURS_ALONE = ("clipseg_version", "freeze_clip", "model_type", "architectures", "dtype")
FLAGS = ("return_dict", "output_hidden_states", "output_attentions")


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of the reference are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reference_config(config: Configuration) -> Any:
    """Our configuration -> theirs, without the flags, which crash some of their models or are not looked at."""
    import transformers

    values = config.to_dict()
    for part in (values, values.get("text_config", {}), values.get("vision_config", {})):
        for name in (*OURS_ALONE, *FLAGS):
            part.pop(name, None)
    with quiet():
        return getattr(transformers, type(config).__name__)(**values)


class Twin:
    """The reference twin of one of our models, sharing its weights, on one attention backend."""

    def __init__(self, ours: PreTrainedModel, attention: str) -> None:
        import transformers

        transformers.activations.ACT2FN.setdefault("selu", nn.SELU)  # documented, but unknown to the reference
        name = type(ours).__name__
        with quiet(), torch.device("meta"):  # the weights come from ours
            self.model = getattr(transformers, name)(reference_config(ours.config))
        # A tower on its own has lost its prefix in recent releases.
        alone = {"TextModel": "text_model.", "VisionModel": "vision_model."}
        prefix = next((prefix for ending, prefix in alone.items() if name.endswith(ending)), "")
        weights = {key.removeprefix(prefix): value for key, value in ours.state_dict().items()}
        self.model.load_state_dict(weights, assign=True)
        for module in self.model.modules():
            if getattr(module, "position_ids", None) is not None:
                module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
        self.model.eval()
        self.answer, self.attention = ANSWERS[name], attention
        clip = getattr(self.model, "clip", self.model)
        owners = {"text_model_output": clip, "vision_model_output": clip, "decoder_output": self.model}
        found = {field: getattr(owner, field.removesuffix("_output"), None) for field, owner in owners.items()}
        parts = {field: part for field, part in found.items() if part is not None}
        fields = {field.name for field in dataclasses.fields(self.answer)}  # type: ignore[arg-type]
        self.parts: dict[str, nn.Module] = {field: part for field, part in parts.items() if field in fields}
        if not self.parts:  # the states of the only tower stand in the answer itself
            self.parts = {"": next(iter(parts.values()), self.model)}

    def attend(self, attention: str) -> None:
        """Switch the backend; the decoder keeps its own when the model's is switched, so every part is told."""
        for module in self.model.modules():
            if hasattr(module, "config"):
                module.config._attn_implementation = attention

    @torch.no_grad()
    def __call__(self, states: bool = False, attentions: bool = False, **inputs: Any) -> Any:
        """The documented answer, with hidden states and attentions where wanted; these are those of eager attention."""
        self.attend("eager" if attentions else self.attention)
        with quiet(), ExitStack() as stack:
            ears = {field: stack.enter_context(Ear(part)) for field, part in self.parts.items()}
            values = vars(self.model(**inputs))
        for field, ear in ears.items():
            heard = ear.output(states, attentions)
            values |= {field: heard} if field else vars(heard)
        return self.answer(**{field.name: values[field.name] for field in dataclasses.fields(self.answer)})  # type: ignore[arg-type]


class Ear:
    """Listens to the first call of a reference tower or of the decoder, inside a `with`."""

    def __init__(self, part: nn.Module) -> None:
        self.part = part
        # What goes into the layers counts as a state of a tower; the decoder has no such state.
        self.first = getattr(part, "pre_layrnorm", getattr(part, "embeddings", None))
        self.layers = part.encoder.layers if hasattr(part, "encoder") else part.layers
        self.states: list[torch.Tensor] = []
        self.attentions: list[torch.Tensor] = []
        self.answer: dict[str, torch.Tensor] = {}

    def __enter__(self) -> "Ear":
        self.handles = [self.part.register_forward_hook(self._part)]
        for module in ([] if self.first is None else [self.first]) + list(self.layers):
            self.handles.append(module.register_forward_hook(self._state))
        for layer in self.layers:
            self.handles.append(layer.self_attn.register_forward_hook(self._attention))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _state(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if not self.answer:
            self.states.append(output)

    def _attention(self, _module: nn.Module, _inputs: Any, output: tuple[Any, ...]) -> None:
        if not self.answer:
            self.attentions.append(output[1])

    def _part(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        names = ("logits",) if self.first is None else ("last_hidden_state", "pooler_output")
        if not self.answer:  # read at once: the pooled state is replaced by its projection later
            self.answer = {name: getattr(output, name) for name in names}

    def output(self, states: bool, attentions: bool) -> ModelOutput:
        """What was heard, as the documented answer of the part."""
        kind = CLIPSegDecoderOutput if self.first is None else BaseModelOutputWithPooling
        return kind(
            **self.answer,
            hidden_states=tuple(self.states) if states else None,
            attentions=tuple(self.attentions) if attentions else None,
        )


def difference(ours: Any, theirs: Any) -> float:
    """Two answers of one structure -> the largest relative difference; structure, shapes and types must be equal."""
    if isinstance(theirs, ModelOutput):
        assert type(ours) is type(theirs)
        assert list(ours.keys()) == list(theirs.keys())
        return max(difference(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, tuple):
        assert type(ours) is tuple
        assert len(ours) == len(theirs)
        return max(map(difference, ours, theirs))
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    scale = (
        theirs.detach().double().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    )  # the loss of a single pair is 0
    return float((ours.detach().double() - theirs.detach().double()).abs().max() / scale)
