"""The configuration of CLIP-Deconv, the paper's baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig


class CLIPDeconvConfig(CLIPSegConfig):
    """CLIPSeg's configuration with the baseline's defaults: one layer, index 9, and 64 units between two linear layers.

    What only attention would need (`decoder_num_attention_heads`, `conditional_layer`) is kept and has no effect.
    """

    model_type = "clip_deconv"

    def __init__(
        self,
        text_config: Mapping[str, Any] | CLIPSegTextConfig | None = None,
        vision_config: Mapping[str, Any] | CLIPSegVisionConfig | None = None,
        projection_dim: int = 512,
        extract_layers: Sequence[int] = (9,),
        reduce_dim: int = 64,
        decoder_intermediate_size: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            text_config,
            vision_config,
            projection_dim,
            extract_layers=extract_layers,
            reduce_dim=reduce_dim,
            decoder_intermediate_size=decoder_intermediate_size,
            **kwargs,
        )
