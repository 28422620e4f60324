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
    from clipseg.auto import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForImageClassification,
        AutoModelForZeroShotImageClassification,
        AutoProcessor,
        AutoTokenizer,
    )
    from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
    from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
    from clipseg.errors import ClipsegError
    from clipseg.image_utils import load_image
    from clipseg.masks.instances import Instance
    from clipseg.masks.masks import Mask, Masks
    from clipseg.masks.options import MaskOptions
    from clipseg.modeling.classification import CLIPForImageClassification
    from clipseg.modeling.clip import CLIPModel, CLIPSegModel
    from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
    from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection
    from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel, CLIPVisionModelWithProjection
    from clipseg.pipelines import pipeline
    from clipseg.processing.batch import BatchFeature
    from clipseg.processing.choices import TensorType
    from clipseg.processing.encoding import BatchEncoding
    from clipseg.processing.fast_image_processors import CLIPImageProcessorFast
    from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
    from clipseg.processing.images import to_rgb
    from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor
    from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
    from clipseg.prompting.prompt_files import load_prompts, save_prompts
    from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, TextPrompt
    from clipseg.prompting.styles import VisualStyle
    from clipseg.segmenter import ImageFeatures, Segmenter
    from clipseg.video import segment_frames, segment_video

_HOMES = {
    "AutoConfig": "auto",
    "AutoImageProcessor": "auto",
    "AutoModel": "auto",
    "AutoModelForImageClassification": "auto",
    "AutoModelForZeroShotImageClassification": "auto",
    "AutoProcessor": "auto",
    "AutoTokenizer": "auto",
    "BatchEncoding": "processing.encoding",
    "BatchFeature": "processing.batch",
    "CLIPConfig": "configuration.clip",
    "CLIPForImageClassification": "modeling.classification",
    "CLIPImageProcessor": "processing.image_processors",
    "CLIPImageProcessorFast": "processing.fast_image_processors",
    "CLIPModel": "modeling.clip",
    "CLIPProcessor": "processing.processors",
    "CLIPSegConfig": "configuration.clipseg",
    "CLIPSegForImageSegmentation": "modeling.segmentation",
    "CLIPSegModel": "modeling.clip",
    "CLIPSegProcessor": "processing.processors",
    "CLIPSegTextConfig": "configuration.clipseg",
    "CLIPSegTextModel": "modeling.text",
    "CLIPSegVisionConfig": "configuration.clipseg",
    "CLIPSegVisionModel": "modeling.vision",
    "CLIPTextConfig": "configuration.clip",
    "CLIPTextModel": "modeling.text",
    "CLIPTextModelWithProjection": "modeling.text",
    "CLIPTokenizer": "processing.tokenization",
    "CLIPTokenizerFast": "processing.tokenization",
    "CLIPVisionConfig": "configuration.clip",
    "CLIPVisionModel": "modeling.vision",
    "CLIPVisionModelWithProjection": "modeling.vision",
    "ClipsegError": "errors",
    "EmbeddingPrompt": "prompting.prompts",
    "ImageFeatures": "segmenter",
    "ImagePrompt": "prompting.prompts",
    "Instance": "masks.instances",
    "Mask": "masks.masks",
    "MaskOptions": "masks.options",
    "Masks": "masks.masks",
    "MixedPrompt": "prompting.prompts",
    "Segmenter": "segmenter",
    "TensorType": "processing.choices",
    "TextPrompt": "prompting.prompts",
    "ViTImageProcessor": "processing.image_processors",
    "VisualStyle": "prompting.styles",
    "load_image": "image_utils",
    "load_prompts": "prompting.prompt_files",
    "pipeline": "pipelines",
    "save_prompts": "prompting.prompt_files",
    "segment_frames": "video",
    "segment_video": "video",
    "to_rgb": "processing.images",
}
"""Public name -> the module it lives in."""

__all__ = [
    "AutoConfig",
    "AutoImageProcessor",
    "AutoModel",
    "AutoModelForImageClassification",
    "AutoModelForZeroShotImageClassification",
    "AutoProcessor",
    "AutoTokenizer",
    "BatchEncoding",
    "BatchFeature",
    "CLIPConfig",
    "CLIPForImageClassification",
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPModel",
    "CLIPProcessor",
    "CLIPSegConfig",
    "CLIPSegForImageSegmentation",
    "CLIPSegModel",
    "CLIPSegProcessor",
    "CLIPSegTextConfig",
    "CLIPSegTextModel",
    "CLIPSegVisionConfig",
    "CLIPSegVisionModel",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "CLIPVisionConfig",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
    "ClipsegError",
    "EmbeddingPrompt",
    "ImageFeatures",
    "ImagePrompt",
    "Instance",
    "Mask",
    "MaskOptions",
    "Masks",
    "MixedPrompt",
    "Segmenter",
    "TensorType",
    "TextPrompt",
    "ViTImageProcessor",
    "VisualStyle",
    "__version__",
    "load_image",
    "load_prompts",
    "pipeline",
    "save_prompts",
    "segment_frames",
    "segment_video",
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
