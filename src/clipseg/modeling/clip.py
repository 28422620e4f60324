"""Text and vision tower with their projections into one space, and the similarity between them.

Shapes: n_img pictures · n_txt texts · E projected width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.configuration.clip import CLIPConfig
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import PromptError
from clipseg.modeling.calls import answer, flag
from clipseg.modeling.initialisation import initialise_projection
from clipseg.modeling.outputs import CLIPOutput, CLIPSegOutput
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.text import IDS_IN, TextTransformer
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


class _TwoTowers(PreTrainedModel):
    """All of CLIP. Its public names differ in configuration, order of arguments, and `any_size`.

    `any_size` says whether pictures of any size are taken where the call does not.
    """

    main_input_name = "input_ids"
    input_embeddings = IDS_IN
    output_class: ClassVar[type[CLIPOutput]] = CLIPOutput
    any_size: ClassVar[bool] = False

    def __init__(self, config: CLIPConfig | CLIPSegConfig) -> None:
        super().__init__(config)
        text, vision = config.text_config, config.vision_config
        self.text_model = TextTransformer(text)
        self.vision_model = VisionTransformer(vision, interpolate_pos_encoding=self.any_size)
        self.visual_projection = nn.Linear(vision.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(text.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.initialise()

    def _initialise(self) -> None:
        self.text_model.initialise(self.config.text_config)
        self.vision_model.initialise(self.config.vision_config)
        initialise_projection(self.text_projection, self.config.initializer_factor)
        initialise_projection(self.visual_projection, self.config.initializer_factor)
        nn.init.constant_(self.logit_scale, self.config.logit_scale_init_value)

    def _text_features(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
    ) -> torch.Tensor:
        pooled = self.text_model(input_ids, attention_mask, position_ids, False, False, return_dict=True).pooler_output
        return self.text_projection(pooled)  # type: ignore[no-any-return]

    def _image_features(self, pixel_values: torch.Tensor | None, interpolate_pos_encoding: bool) -> torch.Tensor:
        pooled = self.vision_model(pixel_values, False, False, interpolate_pos_encoding, return_dict=True).pooler_output
        return self.visual_projection(pooled)  # type: ignore[no-any-return]

    def _compare(
        self,
        input_ids: torch.Tensor | None,
        pixel_values: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        return_loss: bool | None,
        interpolate_pos_encoding: bool,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        return_dict: bool | None,
    ) -> CLIPOutput | tuple[Any, ...]:
        attentions = flag(output_attentions, self.config.output_attentions)
        states = flag(output_hidden_states, self.config.output_hidden_states)
        vision = self.vision_model(pixel_values, attentions, states, interpolate_pos_encoding, return_dict=True)
        text = self.text_model(input_ids, attention_mask, position_ids, attentions, states, return_dict=True)
        image_embeds = self.visual_projection(vision.pooler_output)
        text_embeds = self.text_projection(text.pooler_output)
        image_embeds = image_embeds / image_embeds.norm(dim=-1, keepdim=True)
        text_embeds = text_embeds / text_embeds.norm(dim=-1, keepdim=True)
        logits_per_text = text_embeds @ image_embeds.t().to(text_embeds.device) * self.logit_scale.exp()
        output = self.output_class(
            loss=contrastive_loss(logits_per_text) if return_loss else None,
            logits_per_image=logits_per_text.t(),
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text,
            vision_model_output=vision,
        )
        return answer(output, self.config, return_dict)


class CLIPModel(_TwoTowers):
    """CLIP; it takes pictures of one size unless `interpolate_pos_encoding` is set."""

    config_class = CLIPConfig

    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Ids (n_txt, S) -> projected text embeddings (n_txt, E), not normalised."""
        return self._text_features(input_ids, attention_mask, position_ids)

    def get_image_features(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool = False) -> torch.Tensor:
        """Pixels (n_img, 3, H, W) -> projected picture embeddings (n_img, E), not normalised."""
        return self._image_features(pixel_values, interpolate_pos_encoding)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Ids (n_txt, S) and pixels (n_img, 3, H, W) -> similarities (n_img, n_txt), normalised embeddings, towers.

        With `return_loss` also the contrastive loss; that needs as many texts as pictures (PromptError).
        """
        return self._compare(
            input_ids, pixel_values, attention_mask, position_ids, return_loss, interpolate_pos_encoding,
            output_attentions, output_hidden_states, return_dict,
        )  # fmt: skip


class CLIPSegModel(_TwoTowers):
    """The CLIP under CLIPSeg: `CLIPModel` with its own order of arguments, and pictures of any size by default."""

    config_class = CLIPSegConfig
    output_class = CLIPSegOutput
    any_size = True

    def get_text_features(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> torch.Tensor:
        """As of `CLIPModel`; the last three change nothing."""
        return self._text_features(input_ids, attention_mask, position_ids)

    def get_image_features(
        self,
        pixel_values: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = True,
        return_dict: bool | None = None,
    ) -> torch.Tensor:
        """As of `CLIPModel`; the outputs' flags change nothing."""
        return self._image_features(pixel_values, interpolate_pos_encoding)

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
    ) -> CLIPOutput | tuple[Any, ...]:
        """As of `CLIPModel`, with a `CLIPSegOutput`."""
        return self._compare(
            input_ids, pixel_values, attention_mask, position_ids, return_loss, interpolate_pos_encoding,
            output_attentions, output_hidden_states, return_dict,
        )  # fmt: skip
