"""Text and vision tower with their projections into one space, and the similarity between them.

Shapes: n_img pictures · n_txt texts · E projected width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.errors import PromptError
from clipseg.modeling.initialisation import initialise_projection
from clipseg.modeling.outputs import CLIPSegOutput
from clipseg.modeling.pretrained import PreTrainedModel, flag
from clipseg.modeling.text import TextTransformer
from clipseg.modeling.vision import VisionTransformer


def contrastive_loss(logits_per_text: torch.Tensor) -> torch.Tensor:
    """Similarities (n, n) of matching pairs -> the mean of both directions' cross-entropies."""
    if logits_per_text.shape[0] != logits_per_text.shape[1]:
        raise PromptError(
            f"return_loss needs as many texts as pictures; got {logits_per_text.shape[0]} texts "
            f"and {logits_per_text.shape[1]} pictures"
        )
    target = torch.arange(len(logits_per_text), device=logits_per_text.device)
    return (F.cross_entropy(logits_per_text, target) + F.cross_entropy(logits_per_text.t(), target)) / 2


class CLIPSegModel(PreTrainedModel):
    """The CLIP model under CLIPSeg; it takes pictures of any size by default."""

    config_class = CLIPSegConfig
    main_input_name = "input_ids"
    surplus_prefixes = ("decoder.",)

    def __init__(self, config: CLIPSegConfig) -> None:
        super().__init__(config)
        _check_part("text_config", config.text_config, CLIPSegTextConfig)
        _check_part("vision_config", config.vision_config, CLIPSegVisionConfig)
        self.text_model = TextTransformer(config.text_config)
        self.vision_model = VisionTransformer(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.initialise()

    def _initialise(self) -> None:
        self.text_model.initialise(self.config.text_config)
        self.vision_model.initialise(self.config.vision_config)
        initialise_projection(self.text_projection, self.config.initializer_factor)
        initialise_projection(self.visual_projection, self.config.initializer_factor)
        nn.init.constant_(self.logit_scale, self.config.logit_scale_init_value)

    def get_input_embeddings(self) -> nn.Embedding:
        """-> the token embedding."""
        return self.text_model.embeddings.token_embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embedding."""
        self.text_model.embeddings.token_embedding = value

    def get_text_features(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> torch.Tensor:
        """Ids (n_txt, S) -> projected text embeddings (n_txt, E), not normalised. The last three change nothing."""
        pooled = self.text_model(input_ids, attention_mask, position_ids).pooler_output
        return self.text_projection(pooled)  # type: ignore[no-any-return]

    def get_image_features(
        self,
        pixel_values: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = True,
        return_dict: bool | None = None,
    ) -> torch.Tensor:
        """Pixels (n_img, 3, H, W) -> projected picture embeddings (n_img, E), not normalised."""
        output, _ = self.vision_model(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        return self.visual_projection(output.pooler_output)  # type: ignore[no-any-return]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = True,
        return_dict: bool | None = None,
    ) -> CLIPSegOutput | tuple[Any, ...]:
        """Ids (n_txt, S) and pixels (n_img, 3, H, W) -> similarities (n_img, n_txt), normalised embeddings, towers.

        With `return_loss` also the contrastive loss; that needs as many texts as pictures (PromptError).
        """
        attentions = flag(output_attentions, self.config.output_attentions)
        states = flag(output_hidden_states, self.config.output_hidden_states)
        vision, _ = self.vision_model(
            pixel_values,
            output_attentions=attentions,
            output_hidden_states=states,
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        text = self.text_model(
            input_ids, attention_mask, position_ids, output_attentions=attentions, output_hidden_states=states
        )
        image_embeds = self.visual_projection(vision.pooler_output)
        text_embeds = self.text_projection(text.pooler_output)
        image_embeds = image_embeds / image_embeds.norm(dim=-1, keepdim=True)
        text_embeds = text_embeds / text_embeds.norm(dim=-1, keepdim=True)
        logits_per_text = text_embeds @ image_embeds.t().to(text_embeds.device) * self.logit_scale.exp()
        output = CLIPSegOutput(
            loss=contrastive_loss(logits_per_text) if return_loss else None,
            logits_per_image=logits_per_text.t(),
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text,
            vision_model_output=vision,
        )
        return self.answer(output, return_dict)


def _check_part(name: str, given: object, expected: type) -> None:
    if not isinstance(given, expected):
        raise TypeError(f"config.{name} is expected to be of type {expected.__name__} but is {type(given).__name__}")
