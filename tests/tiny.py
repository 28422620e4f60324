"""Small CLIP and CLIPSeg models whose weights matter, and inputs for them.

A freshly initialised model answers almost the same everywhere, so that a wrong step would hardly show. Here every layer
keeps the scale of what passes through it, and the logits spread over some units.
"""

from typing import Any, TypeVar

import torch
from torch import nn

from clipseg.configuration.clip import CLIPConfig
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation

WORDS, START, END = 60, 58, 59
"""The vocabulary: its last id ends a text, so both ways of finding the end agree on it."""

Module = TypeVar("Module", bound=nn.Module)
Model = TypeVar("Model", bound=PreTrainedModel)


TEXT = {
    "vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 20, "bos_token_id": START, "eos_token_id": END,
}  # fmt: skip
VISION = {
    "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3,
    "image_size": 64, "patch_size": 16,
}  # fmt: skip


def config(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, **changes: Any) -> CLIPSegConfig:
    """Two text layers, four vision layers of patches of 16 in a 4x4 grid, three decoder steps of width 8."""
    options = {"projection_dim": 12, "reduce_dim": 8, "decoder_intermediate_size": 16, "extract_layers": [0, 1, 2]}
    return CLIPSegConfig({**TEXT, **(text or {})}, {**VISION, **(vision or {})}, **{**options, **changes})


def clip_config(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, **changes: Any) -> CLIPConfig:
    """The same towers for CLIP's classes; the three widths that can be projected to all differ."""
    parts = {"projection_dim": 10} | TEXT | (text or {}), {"projection_dim": 14} | VISION | (vision or {})
    return CLIPConfig(*parts, **({"projection_dim": 12} | changes))


def part_config(cls: type[PreTrainedModel], whole: CLIPConfig | CLIPSegConfig) -> Any:
    """A model class and the configuration of a whole model -> what the class is built from: the whole, or its part."""
    own = cls.config_class.own_part
    return getattr(whole, own) if own else whole


def model(cls: type[Model], whole: CLIPConfig | CLIPSegConfig, seed: int = 0) -> Model:
    """A model of any class, of its part of a configuration, with weights that matter, in evaluation mode."""
    return randomise(cls(part_config(cls, whole)), seed).eval()


def segmenter(seed: int = 0, **changes: Any) -> CLIPSegForImageSegmentation:
    """A model of `config(**changes)` with weights that matter, in evaluation mode."""
    return model(CLIPSegForImageSegmentation, config(**changes), seed)


@torch.no_grad()
def randomise(model: Module, seed: int = 0) -> Module:
    """Draw all weights anew so that signals keep their scale on the way through; norms and biases are drawn as well."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if name == "logit_scale":
                weight.fill_(2.6592)
                continue
            noise = torch.randn(weight.shape, generator=draw)
            if isinstance(module, nn.LayerNorm):
                noise = 0.2 * noise + (name == "weight")
            elif name == "bias":
                noise = 0.2 * noise
            elif isinstance(module, nn.ConvTranspose2d):
                noise = noise * weight.shape[0] ** -0.5  # kernels do not overlap
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                noise = noise * weight[0].numel() ** -0.5
            weight.copy_(noise)
    return model


def pixels(batch: int, height: int = 64, width: int | None = None, seed: int = 0) -> torch.Tensor:
    """-> noise (B, 3, H, W); square where no width is given."""
    return torch.randn(batch, 3, height, width or height, generator=torch.Generator().manual_seed(seed))


def texts(batch: int, length: int = 9, seed: int = 0) -> dict[str, torch.Tensor]:
    """-> ids (B, S) of texts of several lengths, padded on the right with the end token, and their mask."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, START, (batch, length), generator=draw)
    ids[:, 0] = START
    mask = torch.ones_like(ids)
    for row in range(batch):
        end = length - 1 - row % (length - 2)
        ids[row, end:] = END
        mask[row, end + 1 :] = 0
    return {"input_ids": ids, "attention_mask": mask}
