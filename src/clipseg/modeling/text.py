"""The text tower: token ids in, one vector a phrase out.

Shapes: B phrases · S tokens · D width · E projected width.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from clipseg.configuration.clip import CLIPTextConfig, TextConfiguration
from clipseg.configuration.clipseg import CLIPSegTextConfig
from clipseg.errors import PromptError
from clipseg.modeling.calls import answer, can_look_at, flag
from clipseg.modeling.embeddings import LEGACY_EOS
from clipseg.modeling.initialisation import initialise_encoder, initialise_projection
from clipseg.modeling.layers import padded_causal_mask, tower_encoder
from clipseg.modeling.outputs import BaseModelOutputWithPooling, CLIPTextModelOutput
from clipseg.modeling.pretrained import PreTrainedModel

NO_EOS = -1
"""An id that no token has, for configurations that name no end-of-text id."""

IDS_IN = "text_model.embeddings.token_embedding"
"""Where a model with a text tower takes its ids in."""


class TextEmbeddings(nn.Module):
    """Token plus position embeddings."""

    def __init__(self, config: TextConfiguration) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor | None = None) -> torch.Tensor:
        """Ids (B, S), positions (S,) or (B or 1, S), default 0…S-1 -> (B, S, D). Raises PromptError."""
        length, longest = input_ids.shape[-1], self.position_embedding.num_embeddings
        if length > longest:
            raise PromptError(
                f"Sequence length must be less than max_position_embeddings (got `sequence length`: {length} and "
                f"max_position_embeddings: {longest}); shorten the text or tokenise with truncation=True"
            )
        if position_ids is None:
            position_ids = torch.arange(length, device=input_ids.device)[None]
        elif tuple(position_ids.shape) not in ((length,), (1, length), tuple(input_ids.shape)):
            raise PromptError(
                f"position_ids have shape {tuple(position_ids.shape)}; expected ({length},) or {tuple(input_ids.shape)}"
            )
        else:
            check_ids("position_ids", position_ids, longest)
        return self.token_embedding(input_ids) + self.position_embedding(position_ids)  # type: ignore[no-any-return]


def check_ids(name: str, ids: torch.Tensor, count: int) -> None:
    """Raise PromptError unless `ids` are integers from 0 to `count` - 1.

    The range is looked at on the CPU alone: elsewhere the look would cost a wait for the device.
    """
    kind = ids.dtype if isinstance(ids, torch.Tensor) else type(ids).__name__
    if kind not in (torch.long, torch.int):
        raise PromptError(f"{name} are {kind}; expected a tensor of integers (torch.long)")
    if ids.device.type == "cpu" and ids.numel() and can_look_at(ids):
        low, high = (int(bound) for bound in torch.aminmax(ids))
        if low < 0 or high >= count:
            raise PromptError(
                f"{name} reach from {low} to {high}, but the model knows 0 to {count - 1}; "
                "tokenise with the model's own tokenizer"
            )


class TextTransformer(nn.Module):
    """Embeddings, causal layers, final norm, and the state at the end-of-text token."""

    def __init__(self, config: TextConfiguration) -> None:
        super().__init__()
        self.config = config
        self.eos_token_id = config.eos_token_id
        self.embeddings = TextEmbeddings(config)
        self.encoder = tower_encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self._missed_an_end = False

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """As `read`; options left out are the configuration's."""
        output = self.read(
            input_ids,
            attention_mask,
            position_ids,
            with_attentions=flag(output_attentions, self.config.output_attentions),
            with_states=flag(output_hidden_states, self.config.output_hidden_states),
        )
        return answer(output, self.config, return_dict)

    def read(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        *,
        with_attentions: bool = False,
        with_states: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Ids (…, S), keep flags of their shape or a 4-D mask, positions (S,) or (B, S) -> states (B, S, D) after the
        final norm and the state at the end-of-text token (B, D).

        Leading axes of the ids become one, B. A 4-D mask is used as it is: additive, or True where tokens are seen.
        Raises PromptError for ids, a mask or positions that cannot be.
        """  # fmt: skip
        if input_ids is None:
            raise PromptError("You have to specify input_ids")
        check_ids("input_ids", input_ids, self.embeddings.token_embedding.num_embeddings)
        ids = input_ids.reshape(-1, input_ids.shape[-1])
        x = self.embeddings(ids, position_ids)
        if attention_mask is not None and attention_mask.dim() != 4:
            if attention_mask.shape != input_ids.shape:
                raise PromptError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}; "
                    f"expected that of input_ids, {tuple(input_ids.shape)}"
                )
            attention_mask = padded_causal_mask(attention_mask.reshape(ids.shape), x.dtype)
        keep = range(len(self.encoder.layers) + 1) if with_states else ()
        x, states, attentions = self.encoder(x, attention_mask, causal=True, keep=keep, with_weights=with_attentions)
        x = self.final_layer_norm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=x[torch.arange(len(x), device=x.device), self.end_positions(ids)],
            hidden_states=tuple(states.values()) if with_states else None,
            attentions=attentions,
        )

    def end_positions(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids (B, S) -> the positions (B,) to pool at: the first end-of-text token, or 0, with one warning a model."""
        if self.eos_token_id == LEGACY_EOS:
            return input_ids.int().argmax(-1)
        ends = input_ids.eq(NO_EOS if self.eos_token_id is None else self.eos_token_id).int()
        if not self._missed_an_end and can_look_at(ends) and not bool(ends.any(-1).all()):
            self._missed_an_end = True
            warnings.warn(
                f"a text has no end-of-text token (id {self.eos_token_id}), so its start token is pooled; "
                "tokenise with the model's own tokenizer",
                stacklevel=2,
            )
        return ends.argmax(-1)

    def initialise(self, config: TextConfiguration) -> None:
        """Draw the documented initial weights."""
        nn.init.normal_(self.embeddings.token_embedding.weight, std=0.02 * config.initializer_factor)
        nn.init.normal_(self.embeddings.position_embedding.weight, std=0.02 * config.initializer_factor)
        initialise_encoder(self.encoder, config.initializer_factor)


class _TextModel(PreTrainedModel):
    """A text tower; what its subclasses differ in is the configuration and what stands on top."""

    main_input_name = "input_ids"
    input_embeddings = IDS_IN

    def __init__(self, config: TextConfiguration) -> None:
        super().__init__(config)
        self.text_model = TextTransformer(config)

    def _initialise(self) -> None:
        self.text_model.initialise(self.config)


class _TextTower(_TextModel):
    """The text tower on its own."""

    def __init__(self, config: TextConfiguration) -> None:
        super().__init__(config)
        self.initialise()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Ids (B, S) -> states (B, S, D) after the final norm and the pooled state at the end-of-text token (B, D)."""
        return self.text_model(  # type: ignore[no-any-return]
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, return_dict
        )


class CLIPTextModel(_TextTower):
    """CLIP's text tower on its own."""

    config_class = CLIPTextConfig


class CLIPSegTextModel(_TextTower):
    """CLIPSeg's text tower on its own."""

    config_class = CLIPSegTextConfig


class CLIPTextModelWithProjection(_TextModel):
    """CLIP's text tower under its projection into the space it shares with pictures."""

    config_class = CLIPTextConfig

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.initialise()

    def _initialise(self) -> None:
        super()._initialise()
        initialise_projection(self.text_projection, self.config.initializer_factor)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPTextModelOutput | tuple[Any, ...]:
        """Ids (B, S) -> embeddings (B, E), not normalised, and the states (B, S, D) they come from."""
        text = self.text_model(
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, return_dict=True
        )
        output = CLIPTextModelOutput(
            text_embeds=self.text_projection(text.pooler_output),
            last_hidden_state=text.last_hidden_state,
            hidden_states=text.hidden_states,
            attentions=text.attentions,
        )
        return answer(output, self.config, return_dict)
