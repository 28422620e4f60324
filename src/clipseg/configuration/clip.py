"""CLIP's configurations: its two towers, which CLIPSeg's share, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clipseg.configuration.base import Configuration, check_heads, part


class TextConfiguration(Configuration):
    """The text tower. Parameters in the documented order; `hidden_size` must be divisible by the head count."""

    own_part = "text_config"

    def __init__(
        self,
        vocab_size: int = 49408,
        hidden_size: int = 512,
        intermediate_size: int = 2048,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 8,
        max_position_embeddings: int = 77,
        hidden_act: Any = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        initializer_range: float = 0.02,
        initializer_factor: float = 1.0,
        pad_token_id: int | None = 1,
        bos_token_id: int | None = 49406,
        eos_token_id: int | None = 49407,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        self.hidden_act = hidden_act
        self.layer_norm_eps = layer_norm_eps
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        self.initializer_factor = initializer_factor
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        super().__init__(**kwargs)
        check_heads(hidden_size, num_attention_heads, usual=8)


class VisionConfiguration(Configuration):
    """The vision tower. Parameters in the documented order; `hidden_size` must be divisible by the head count."""

    own_part = "vision_config"

    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        num_channels: int = 3,
        image_size: int = 224,
        patch_size: int = 32,
        hidden_act: Any = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        initializer_range: float = 0.02,
        initializer_factor: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_channels = num_channels
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_act = hidden_act
        self.layer_norm_eps = layer_norm_eps
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        self.initializer_factor = initializer_factor
        super().__init__(**kwargs)
        check_heads(hidden_size, num_attention_heads, usual=12)


class CLIPTextConfig(TextConfiguration):
    """The text tower of a CLIP model; `projection_dim` is the width of `CLIPTextModelWithProjection`'s answer.

    The parameters after it are those of `TextConfiguration`, in its order.
    """

    model_type = "clip_text_model"
    from_whole = ("projection_dim",)

    def __init__(
        self,
        vocab_size: int = 49408,
        hidden_size: int = 512,
        intermediate_size: int = 2048,
        projection_dim: int = 512,
        *more: Any,
        **kwargs: Any,
    ) -> None:
        self.projection_dim = projection_dim
        super().__init__(vocab_size, hidden_size, intermediate_size, *more, **kwargs)


class CLIPVisionConfig(VisionConfiguration):
    """The vision tower of a CLIP model; `projection_dim` is the width of `CLIPVisionModelWithProjection`'s answer.

    The parameters after it are those of `VisionConfiguration`, in its order.
    """

    model_type = "clip_vision_model"
    from_whole = ("projection_dim",)

    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        projection_dim: int = 512,
        *more: Any,
        **kwargs: Any,
    ) -> None:
        self.projection_dim = projection_dim
        super().__init__(hidden_size, intermediate_size, *more, **kwargs)


class CLIPConfig(Configuration):
    """A whole CLIP model: both towers and the space they are projected into."""

    model_type = "clip"
    sub_configs: ClassVar[dict[str, type[Configuration]]] = {
        "text_config": CLIPTextConfig,
        "vision_config": CLIPVisionConfig,
    }

    def __init__(
        self,
        text_config: Mapping[str, Any] | CLIPTextConfig | None = None,
        vision_config: Mapping[str, Any] | CLIPVisionConfig | None = None,
        projection_dim: int = 512,
        logit_scale_init_value: float = 2.6592,
        **kwargs: Any,
    ) -> None:
        self.text_config = part(CLIPTextConfig, text_config, kwargs.pop("text_config_dict", None))
        self.vision_config = part(CLIPVisionConfig, vision_config, kwargs.pop("vision_config_dict", None))
        self.projection_dim = projection_dim
        self.logit_scale_init_value = logit_scale_init_value
        self.initializer_factor = 1.0
        super().__init__(**kwargs)

    @classmethod
    def from_text_vision_configs(
        cls, text_config: CLIPTextConfig, vision_config: CLIPVisionConfig, **kwargs: Any
    ) -> CLIPConfig:
        """Two tower configurations -> the composite one."""
        return cls(text_config=text_config.to_dict(), vision_config=vision_config.to_dict(), **kwargs)
