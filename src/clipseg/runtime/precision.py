"""What numbers are computed in where nobody says: bfloat16 where the device has it natively and the model is large."""

from __future__ import annotations

from typing import Literal

import torch

from clipseg.configuration.clipseg import CLIPSegConfig

Precision = Literal["float32", "bfloat16", "float16", "int8"]

LARGE_FROM = 512
"""Width of the vision tower from which a model counts as large. A smaller one, such as nano, takes hundredths of a
second in float32 as well, and there the same picture gives the same numbers in every batch and on every machine."""


def native_bfloat16(device: torch.device) -> bool:
    """A device -> whether it multiplies matrices of bfloat16 natively, not by way of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or matrix_tiles())
    return False


def matrix_tiles() -> bool:
    """Whether the processor multiplies tiles of bfloat16 (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())


def native_int8(device: torch.device) -> bool:
    """A device -> whether it multiplies 8-bit numbers natively, and torch can have it do so."""
    known = hasattr(torch.ops.onednn, "qlinear_pointwise") and torch.backends.mkldnn.is_available()
    return device.type == "cpu" and known and bool(torch.cpu._is_vnni_supported())


def beside(precision: Precision, device: torch.device) -> Precision:
    """-> what is computed in where a product of this precision is not to be had: what 8-bit weights stand among."""
    if precision != "int8":
        return precision
    return "bfloat16" if native_bfloat16(device) else "float32"


def chosen_precision(config: CLIPSegConfig, device: torch.device) -> Precision:
    """A model's configuration and its device -> what to compute in."""
    large = config.vision_config.hidden_size >= LARGE_FROM
    return "bfloat16" if large and native_bfloat16(device) else "float32"
