"""By which engine a model is run: a name -> what loads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from clipseg.checkpoints.hub import local_folder
from clipseg.errors import UsageError
from clipseg.modeling.deconv import load_segmentation_model
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.runtime.compiled import CompiledModel
from clipseg.runtime.exported import MANIFEST
from clipseg.runtime.fused import FusedModel
from clipseg.runtime.precision import chosen_precision
from clipseg.runtime.runner import Runner

Name = str | os.PathLike[str]


DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def load_runner(
    name_or_path: Name,
    backend: str = "torch",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    compiled: bool = False,
    **where: Any,
) -> Runner:
    """A folder, "nano" or a hub id -> the model, ready to run; options and errors as `Segmenter.from_pretrained`.

    `where` holds the keywords of `checkpoints.hub.find_file`.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} is not known; expected {', '.join(BACKENDS)}")
    runner = BACKENDS[backend](name_or_path, device, dtype, where)
    if not compiled:
        return runner
    if not isinstance(runner, FusedModel):
        raise UsageError(f'compile is of backend "torch"; backend {backend!r} has a compiler of its own')
    return CompiledModel(_in_precision(runner))


def _torch(name_or_path: Name, device: str | torch.device, dtype: str | torch.dtype, where: dict[str, Any]) -> Runner:
    folder = local_folder(name_or_path)
    if folder is not None and (folder / MANIFEST).is_file():
        raise UsageError(f'{folder} holds an exported model; load it with backend="onnx" or backend="openvino"')
    chosen = _device(device)
    computed = str(dtype).removeprefix("torch.")
    if computed not in DTYPES:
        raise UsageError(f"unknown dtype {computed!r}; expected {', '.join(DTYPES)}")
    if computed == "int8" and chosen.type != "cpu":
        raise UsageError(f'dtype "int8" is for the CPU, not for {chosen.type}; use "bfloat16" or "float16" there')
    if computed not in ("auto", "int8"):
        kept = getattr(torch, computed)
        return FusedModel(load_segmentation_model(name_or_path, dtype=kept, device=chosen, **where).eval())
    # What is packed is read from the file as it lies there, mapped, and not kept twice.
    model = load_segmentation_model(name_or_path, dtype=torch.float32, **where).eval()
    precision = chosen_precision(model.config, chosen) if computed == "auto" else "int8"
    if chosen.type == "cpu":
        return FusedModel(model, precision)
    return FusedModel(model.to(chosen, getattr(torch, precision)))


def _in_precision(runner: FusedModel) -> CLIPSegForImageSegmentation:
    """-> the model with its weights in what they were to be packed in, as compiled ones are not packed."""
    if runner.precision == "int8":
        raise UsageError('dtype "int8" cannot be compiled; leave compile out, or use another dtype')
    return runner.model.to(getattr(torch, runner.precision))


def _onnx(name_or_path: Name, device: str | torch.device, dtype: str | torch.dtype, _where: dict[str, Any]) -> Runner:
    from clipseg.runtime.onnx_model import ONNXModel

    return ONNXModel.from_folder(name_or_path, device, dtype)


def _openvino(
    name_or_path: Name, device: str | torch.device, dtype: str | torch.dtype, _where: dict[str, Any]
) -> Runner:
    from clipseg.runtime.openvino_model import OpenVINOModel

    return OpenVINOModel.from_folder(name_or_path, device, dtype)


BACKENDS: dict[str, Callable[[Name, str | torch.device, str | torch.dtype, dict[str, Any]], Runner]] = {
    "torch": _torch,
    "onnx": _onnx,
    "openvino": _openvino,
}


def _device(name: str | torch.device) -> torch.device:
    """A device, its name, or "auto": a GPU where there is one -> the device. Raises UsageError for one not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {str(name)!r} is not available here ({reason}); use auto or cpu") from None
    return device
