"""Cut anything out of a picture by saying what it is or by showing an example of it.

    from clipseg import Segmenter

    segmenter = Segmenter.from_pretrained("nano")
    masks = segmenter.segment("kitchen.jpg", ["a glass", "wood"])

Names are loaded when they are first used (PEP 562), so importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clipseg.version import __version__

if TYPE_CHECKING:
    from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
    from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
    from clipseg.errors import ClipsegError
    from clipseg.masks.masks import Mask, Masks
    from clipseg.modeling.clip import CLIPSegModel
    from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
    from clipseg.modeling.text import CLIPSegTextModel
    from clipseg.modeling.vision import CLIPSegVisionModel
    from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
    from clipseg.processing.images import to_rgb
    from clipseg.processing.processors import CLIPSegProcessor
    from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
    from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, TextPrompt
    from clipseg.segmenter import ImageFeatures, Segmenter

_HOMES = {
    "CLIPConfig": "configuration.clip",
    "CLIPImageProcessor": "processing.image_processors",
    "CLIPSegConfig": "configuration.clipseg",
    "CLIPSegForImageSegmentation": "modeling.segmentation",
    "CLIPSegModel": "modeling.clip",
    "CLIPSegProcessor": "processing.processors",
    "CLIPSegTextConfig": "configuration.clipseg",
    "CLIPSegTextModel": "modeling.text",
    "CLIPSegVisionConfig": "configuration.clipseg",
    "CLIPSegVisionModel": "modeling.vision",
    "CLIPTextConfig": "configuration.clip",
    "CLIPTokenizer": "processing.tokenization",
    "CLIPTokenizerFast": "processing.tokenization",
    "CLIPVisionConfig": "configuration.clip",
    "ClipsegError": "errors",
    "EmbeddingPrompt": "prompting.prompts",
    "ImageFeatures": "segmenter",
    "ImagePrompt": "prompting.prompts",
    "Mask": "masks.masks",
    "Masks": "masks.masks",
    "MixedPrompt": "prompting.prompts",
    "Segmenter": "segmenter",
    "TextPrompt": "prompting.prompts",
    "ViTImageProcessor": "processing.image_processors",
    "to_rgb": "processing.images",
}
"""Public name -> the module it lives in."""

__all__ = [
    "CLIPConfig",
    "CLIPImageProcessor",
    "CLIPSegConfig",
    "CLIPSegForImageSegmentation",
    "CLIPSegModel",
    "CLIPSegProcessor",
    "CLIPSegTextConfig",
    "CLIPSegTextModel",
    "CLIPSegVisionConfig",
    "CLIPSegVisionModel",
    "CLIPTextConfig",
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "CLIPVisionConfig",
    "ClipsegError",
    "EmbeddingPrompt",
    "ImageFeatures",
    "ImagePrompt",
    "Mask",
    "Masks",
    "MixedPrompt",
    "Segmenter",
    "TextPrompt",
    "ViTImageProcessor",
    "__version__",
    "to_rgb",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clipseg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"clipseg.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
