"""A model without its text encoder, for where all phrases are embedded already."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import nn

from clipseg.errors import PromptError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation


def drop_text_encoder(model: CLIPSegForImageSegmentation) -> None:
    """Let go of the weights of a model's text encoder, in place: its parameters keep their shapes and have no values.

    They are on the meta device. Whoever runs the encoder afterwards gets a PromptError, and whoever saves the model a
    UsageError. Their memory is free where nobody else holds them.
    """
    for part in (model.clip.text_model, model.clip.text_projection):
        part.to("meta")
        part.register_forward_pre_hook(_refuse)


def _refuse(_module: nn.Module, _arguments: Any) -> NoReturn:
    raise PromptError("this model's text encoder was dropped; load the model anew to embed phrases")
