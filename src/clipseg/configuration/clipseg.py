"""CLIPSeg's configurations: CLIP's towers under their own names, and the whole with its decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from clipseg.configuration.base import Configuration, part
from clipseg.configuration.clip import TextConfiguration, VisionConfiguration


class CLIPSegTextConfig(TextConfiguration):
    """The text tower of a CLIPSeg model."""

    model_type = "clipseg_text_model"


class CLIPSegVisionConfig(VisionConfiguration):
    """The vision tower of a CLIPSeg model."""

    model_type = "clipseg_vision_model"


class CLIPSegConfig(Configuration):
    """A whole CLIPSeg model: both towers, the projection and the decoder.

    `extract_layers` are 0-based vision layers; `conditional_layer` is the decoder step (0 = deepest tap) that receives
    the prompt; `decoder_hidden_act` and `decoder_attention_dropout` are kept for round trips and have no effect, as in
    every existing implementation. `freeze_clip` (ours) freezes the towers' parameters when a model is built.
    """

    model_type = "clipseg"
    sub_configs: ClassVar[dict[str, type[Configuration]]] = {
        "text_config": CLIPSegTextConfig,
        "vision_config": CLIPSegVisionConfig,
    }

    def __init__(
        self,
        text_config: Mapping[str, Any] | CLIPSegTextConfig | None = None,
        vision_config: Mapping[str, Any] | CLIPSegVisionConfig | None = None,
        projection_dim: int = 512,
        logit_scale_init_value: float = 2.6592,
        extract_layers: Sequence[int] = (3, 6, 9),
        reduce_dim: int = 64,
        decoder_num_attention_heads: int = 4,
        decoder_attention_dropout: float = 0.0,
        decoder_hidden_act: Any = "quick_gelu",
        decoder_intermediate_size: int = 2048,
        conditional_layer: int = 0,
        use_complex_transposed_convolution: bool = False,
        **kwargs: Any,
    ) -> None:
        self.freeze_clip: bool = kwargs.pop("freeze_clip", True)
        self.text_config = part(CLIPSegTextConfig, text_config, kwargs.pop("text_config_dict", None))
        self.vision_config = part(CLIPSegVisionConfig, vision_config, kwargs.pop("vision_config_dict", None))
        self.projection_dim = projection_dim
        self.logit_scale_init_value = logit_scale_init_value
        self.extract_layers = list(extract_layers)
        self.reduce_dim = reduce_dim
        self.decoder_num_attention_heads = decoder_num_attention_heads
        self.decoder_attention_dropout = decoder_attention_dropout
        self.decoder_hidden_act = decoder_hidden_act
        self.decoder_intermediate_size = decoder_intermediate_size
        self.conditional_layer = conditional_layer
        self.use_complex_transposed_convolution = use_complex_transposed_convolution
        self.initializer_factor = 1.0
        super().__init__(**kwargs)

    @classmethod
    def from_text_vision_configs(
        cls, text_config: CLIPSegTextConfig, vision_config: CLIPSegVisionConfig, **kwargs: Any
    ) -> CLIPSegConfig:
        """Two tower configurations -> the composite one."""
        return cls(text_config=text_config.to_dict(), vision_config=vision_config.to_dict(), **kwargs)
