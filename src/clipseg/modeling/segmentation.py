"""CLIPSeg: the documented forward call, and its two halves, which everything else uses: encode once, decode many.

Shapes: B pictures · P conditions · E condition width · N tokens · D tower width · H, W logits' size = grid · patch.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from clipseg.configuration.base import Configuration
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import ConfigurationError, PictureError, PromptError
from clipseg.modeling.calls import answer, distinct_rows, flag, spread
from clipseg.modeling.clip import CLIPSegModel
from clipseg.modeling.decoder import CLIPSegDecoder
from clipseg.modeling.outputs import BaseModelOutputWithPooling, CLIPSegDecoderOutput, CLIPSegImageSegmentationOutput
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.text import IDS_IN
from clipseg.modeling.vision import Grid, check_pixels


@dataclass(frozen=True)
class EncodedImages:
    """What the decoder needs of B pictures: reduced taps (B, N, d), deepest first, and the patch grid.

    `pooled_output` is the projected embedding (B, E), there only if it was asked for.
    """

    reduced: tuple[torch.Tensor, ...]
    grid: Grid
    pooled_output: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.reduced[0])


class CLIPSegForImageSegmentation(PreTrainedModel):
    """CLIP's towers under a small decoder that answers a condition with a mask."""

    config_class: ClassVar[type[Configuration]] = CLIPSegConfig
    main_input_name = "input_ids"
    input_embeddings = f"clip.{IDS_IN}"
    head_prefixes = ("decoder.",)
    decoder_class: ClassVar[type[Any]] = CLIPSegDecoder

    def __init__(self, config: CLIPSegConfig) -> None:
        super().__init__(config)
        depth = config.vision_config.num_hidden_layers
        taps = config.extract_layers
        if not taps or not all(0 <= layer < depth for layer in taps):
            raise ConfigurationError(f"extract_layers {taps} must name vision layers from 0 to {depth - 1}")
        if list(taps) != sorted(taps):
            warnings.warn(
                f"extract_layers {taps} are not ascending; the decoder walks them as given, last one first",
                stacklevel=2,
            )
        self.clip = CLIPSegModel(config)
        self.extract_layers = list(taps)
        self.decoder = self.decoder_class(config)
        self.initialise()
        if config.freeze_clip:
            self.clip.requires_grad_(False)

    def _initialise(self) -> None:
        self.decoder.initialise(self.config)  # the CLIP part has drawn its own

    def initialise_head(self, prefix: str) -> None:
        """Draw the weights of a head that a checkpoint does not hold."""
        self.decoder.initialise(self.config)

    def encode_images(self, pixel_values: torch.Tensor, *, pooled: bool = False) -> EncodedImages:
        """Pixels (B, 3, H, W), any size of at least one patch -> what the decoder needs of them.

        Vision layers deeper than the deepest tap run only if the `pooled` embedding is wanted.
        """
        taps, state, grid = self.clip.vision_model.taps(pixel_values, self.extract_layers, pooled=pooled)
        projected = None if state is None else self.clip.visual_projection(state)
        return EncodedImages(tuple(self.decoder.reduce(taps)), grid, projected)

    def decode(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        """B pictures under P conditions, (P, E) for all or (B, P, E) for each -> (B, P, H, W) logits, before sigmoid.

        Raises PromptError for no condition at all or one of another width than `projection_dim`.
        """
        if conditions.dim() == 2:
            conditions = conditions.expand(len(encoded), -1, -1)
        width = self.config.projection_dim
        if conditions.dim() != 3 or len(conditions) != len(encoded) or conditions.shape[2] != width:
            raise PromptError(
                f"conditions have shape {tuple(conditions.shape)}; "
                f"expected (P, {width}) or ({len(encoded)}, P, {width})"
            )
        if conditions.shape[1] == 0:
            raise PromptError("no conditions given; decode needs at least one")
        logits, _, _ = self.decoder(list(encoded.reduced), conditions, encoded.grid)
        return logits  # type: ignore[no-any-return]

    def get_conditional_embeddings(
        self,
        batch_size: int | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        conditional_pixel_values: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = True,
    ) -> torch.Tensor:
        """Texts or prompt pictures, `batch_size` of either -> conditions (B, E), not normalised."""
        if input_ids is not None:
            conditions = self.clip.get_text_features(input_ids, attention_mask, position_ids)
            if batch_size is not None and len(conditions) != batch_size:
                raise PromptError(
                    "Make sure to pass as many prompt texts as there are query images "
                    f"(got {len(conditions)} texts for {batch_size} images)"
                )
            return conditions
        if conditional_pixel_values is not None:
            check_pixels("conditional_pixel_values", conditional_pixel_values, self.config.vision_config.num_channels)
            if batch_size is not None and len(conditional_pixel_values) != batch_size:
                raise PromptError(
                    "Make sure to pass as many prompt images as there are query images "
                    f"(got {len(conditional_pixel_values)} prompt images for {batch_size} images)"
                )
            pictures, which = self._distinct(conditional_pixel_values)
            conditions = self.clip.get_image_features(pictures, interpolate_pos_encoding=interpolate_pos_encoding)
            return conditions if which is None else conditions[which]
        raise PromptError(
            "Invalid conditional, should be either provided as `input_ids` or `conditional_pixel_values` "
            "(or as `conditional_embeddings`)"
        )

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        conditional_pixel_values: torch.Tensor | None = None,
        conditional_embeddings: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = True,
        return_dict: bool | None = None,
    ) -> CLIPSegImageSegmentationOutput | tuple[Any, ...]:
        """B pictures, each under the condition of its own row -> (B, H, W) logits before the sigmoid.

        `conditional_embeddings` (B, E) win over `input_ids`, which win over `conditional_pixel_values`. `labels` are
        masks (B, H, W) in [0, 1], and give the mean binary cross-entropy.
        """
        with_attentions = flag(output_attentions, self.config.output_attentions)
        with_states = flag(output_hidden_states, self.config.output_hidden_states)
        if pixel_values is None:
            raise PictureError("You have to specify pixel_values")
        check_pixels("pixel_values", pixel_values, self.config.vision_config.num_channels)
        if conditional_embeddings is None:
            conditional_embeddings = self.get_conditional_embeddings(
                len(pixel_values), input_ids, attention_mask, position_ids, conditional_pixel_values,
                interpolate_pos_encoding,
            )  # fmt: skip
        else:
            self._check_conditions(conditional_embeddings, len(pixel_values))
        vision, reduced, grid = self._encode_rows(pixel_values, with_attentions, with_states, interpolate_pos_encoding)
        logits, states, attentions = self.decoder(
            reduced,
            conditional_embeddings[:, None],
            grid,
            output_hidden_states=with_states,
            output_attentions=with_attentions,
        )
        logits = logits[:, 0]
        output = CLIPSegImageSegmentationOutput(
            loss=None if labels is None else mask_loss(logits, labels),
            logits=logits,
            conditional_embeddings=conditional_embeddings,
            pooled_output=self.clip.visual_projection(vision.pooler_output),
            vision_model_output=vision,
            decoder_output=CLIPSegDecoderOutput(
                logits=logits,
                hidden_states=states if with_states else None,
                attentions=attentions if with_attentions else None,
            ),
        )
        return answer(output, self.config, return_dict)

    def _encode_rows(
        self,
        pixel_values: torch.Tensor,
        with_attentions: bool,
        with_states: bool,
        interpolate_pos_encoding: bool,
    ) -> tuple[BaseModelOutputWithPooling, list[torch.Tensor], Grid]:
        """Pixels (B, 3, H, W) -> the tower's answer, the reduced taps, the grid; equal pictures are encoded once."""
        retained = torch.is_grad_enabled() and (with_attentions or with_states)  # one may ask for their gradients
        pictures, which = (pixel_values, None) if retained else self._distinct(pixel_values)
        vision, taps, grid = self.clip.vision_model.look(
            pictures,
            taps=self.extract_layers,
            with_attentions=with_attentions,
            with_states=with_states,
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        reduced = self.decoder.reduce(taps)
        if which is None:
            return vision, reduced, grid
        return spread(vision, which), [tap[which] for tap in reduced], grid

    def _distinct(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `distinct_rows`; the documented way to ask several things of a picture is to repeat it.

        All are given back as well where gradients reach them one by one, or dropout differs between them.
        """
        if pixels.requires_grad and torch.is_grad_enabled():
            return pixels, None
        dropout = self.training and self.config.vision_config.attention_dropout
        return (pixels, None) if dropout else distinct_rows(pixels)

    def _check_conditions(self, conditions: torch.Tensor, batch_size: int) -> None:
        if conditions.shape[0] != batch_size:
            raise PromptError(
                "Make sure to pass as many conditional embeddings as there are query images in the batch "
                f"(got {conditions.shape[0]} for {batch_size} images)"
            )
        if conditions.dim() != 2 or conditions.shape[1] != self.config.projection_dim:
            raise PromptError(
                "Make sure that the feature dimension of the conditional embeddings matches "
                f"`config.projection_dim` (got {tuple(conditions.shape)}, expected ({batch_size}, "
                f"{self.config.projection_dim}))"
            )


def mask_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logits (B, H, W), masks of the same shape (bool, integer or float in [0, 1]) -> mean binary cross-entropy."""
    if labels.shape != logits.shape:
        raise PromptError(
            f"labels have shape {tuple(labels.shape)} but the logits {tuple(logits.shape)}; "
            "resize the masks to the logits' size"
        )
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits))
