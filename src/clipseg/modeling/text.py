"""The text tower: token ids in, one vector a phrase out.

Shapes: B phrases · S tokens · D width.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from clipseg.configuration.clip import TextConfiguration
from clipseg.configuration.clipseg import CLIPSegTextConfig
from clipseg.errors import PromptError
from clipseg.modeling.initialisation import initialise_encoder
from clipseg.modeling.layers import Encoder, Layer, padded_causal_mask
from clipseg.modeling.outputs import BaseModelOutputWithPooling
from clipseg.modeling.pretrained import PreTrainedModel, flag

LEGACY_EOS = 2
"""The end-of-text id in old configurations. It is wrong as an id, and means: pool at the highest id."""

NO_EOS = -1
"""An id that no token has, for configurations that name no end-of-text id."""


class TextEmbeddings(nn.Module):
    """Token plus position embeddings."""

    def __init__(self, config: TextConfiguration) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor | None = None) -> torch.Tensor:
        """Ids (B, S), positions (B or 1, S), default 0…S-1 -> (B, S, D). Raises PromptError if S exceeds the table."""
        length, longest = input_ids.shape[-1], self.position_embedding.num_embeddings
        if length > longest:
            raise PromptError(
                f"Sequence length must be less than max_position_embeddings (got `sequence length`: {length} and "
                f"max_position_embeddings: {longest}); shorten the text or tokenise with truncation=True"
            )
        if position_ids is None:
            position_ids = torch.arange(length, device=input_ids.device)[None]
        return self.token_embedding(input_ids) + self.position_embedding(position_ids)  # type: ignore[no-any-return]


class TextTransformer(nn.Module):
    """Embeddings, causal layers, final norm, and the state at the end-of-text token."""

    def __init__(self, config: TextConfiguration) -> None:
        super().__init__()
        self.eos_token_id = config.eos_token_id
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(
            [
                Layer(
                    config.hidden_size,
                    config.num_attention_heads,
                    config.intermediate_size,
                    config.hidden_act,
                    eps=config.layer_norm_eps,
                    dropout=config.attention_dropout,
                )
                for _ in range(config.num_hidden_layers)
            ]
        )
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        *,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Ids (…, S), keep flags (B, S) or an additive 4-D mask -> states (B, S, D), pooled (B, D)."""
        if input_ids is None:
            raise PromptError("You have to specify input_ids")
        input_ids = input_ids.reshape(-1, input_ids.shape[-1])
        x = self.embeddings(input_ids, position_ids)
        mask = attention_mask
        if attention_mask is not None and attention_mask.dim() == 2:
            mask = padded_causal_mask(attention_mask, x.dtype)
        states = range(len(self.encoder.layers) + 1) if output_hidden_states else ()
        x, kept, attentions = self.encoder(x, mask, causal=True, keep=states, with_weights=output_attentions)
        x = self.final_layer_norm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=x[torch.arange(len(x), device=x.device), self.end_positions(input_ids)],
            hidden_states=tuple(kept.values()) if output_hidden_states else None,
            attentions=attentions,
        )

    def end_positions(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids (B, S) -> the positions (B,) to pool at: the first end-of-text token, or 0 with a warning without one."""
        if self.eos_token_id == LEGACY_EOS:
            return input_ids.int().argmax(-1)
        ends = input_ids.eq(NO_EOS if self.eos_token_id is None else self.eos_token_id).int()
        if not bool(ends.any(-1).all()):
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


class CLIPSegTextModel(PreTrainedModel):
    """The text tower on its own."""

    config_class = CLIPSegTextConfig
    main_input_name = "input_ids"
    surplus_prefixes = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale", "decoder.")

    def __init__(self, config: CLIPSegTextConfig) -> None:
        super().__init__(config)
        self.text_model = TextTransformer(config)
        self.initialise()

    def _initialise(self) -> None:
        self.text_model.initialise(self.config)

    def get_input_embeddings(self) -> nn.Embedding:
        """-> the token embedding."""
        return self.text_model.embeddings.token_embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embedding."""
        self.text_model.embeddings.token_embedding = value

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
        output = self.text_model(
            input_ids,
            attention_mask,
            position_ids,
            output_attentions=flag(output_attentions, self.config.output_attentions),
            output_hidden_states=flag(output_hidden_states, self.config.output_hidden_states),
        )
        return self.answer(output, return_dict)
