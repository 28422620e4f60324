"""Which parameters of a model train.

    "decoder"    the decoder; CLIP is frozen, as in the paper
    "head"       the decoder's upsampling head alone
    "adapters"   the decoder, and a few more hidden units in every MLP of CLIP
    "lora"       the decoder, and low-rank changes of CLIP's attention
    "all"        everything

Trained parameters of ViT-B/16 under the plain decoder of width 64: 1,073,153 · 16,385 · 3,040,769 (width 64, both
towers) · 1,564,673 (rank 8, both towers) · 150,693,890.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from clipseg.errors import UsageError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.training.adapters import (
    QUERY_AND_VALUE,
    TOWERS,
    Tower,
    add_adapters,
    add_low_rank,
    added_parameters,
    merge,
)
from clipseg.training.stages import TrainedPart


def prepare_parameters(
    model: CLIPSegForImageSegmentation,
    train: TrainedPart,
    *,
    rank: int = 8,
    width: int = 64,
    towers: Iterable[Tower] = TOWERS,
    projections: Sequence[str] = QUERY_AND_VALUE,
) -> None:
    """Free what is to train and freeze all else; LoRA and adapters of an earlier stage are merged first.

    `rank` and `projections` are LoRA's, `width` is that of adapters, `towers` are those that get either. What is added
    is drawn from torch's generator, and changes no answer yet. A model is saved after `adapters.merge(model)`; between
    `prepare_parameters` and that its state dict has further names. Raises UsageError for what there is none of.
    """
    if train not in get_args(TrainedPart):
        raise UsageError(f"train is {train!r}; expected one of {', '.join(get_args(TrainedPart))}")
    merge(model)
    if train == "adapters":
        add_adapters(model, width, towers)
    if train == "lora":
        add_low_rank(model, rank, towers, projections)
    model.requires_grad_(train == "all")
    (model.decoder.transposed_convolution if train == "head" else model.decoder).requires_grad_(True)
    for parameter in added_parameters(model):
        parameter.requires_grad_(True)
