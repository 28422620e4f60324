"""Exported models under ONNX Runtime (extra `onnx`)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import CheckpointError, MissingPackageError, UsageError
from clipseg.runtime.exported import Arrays, ExportedModel, Manifest, Run

_FATAL = 4  # of ONNX Runtime's five levels: what goes wrong is raised, and need not be printed as well


class ONNXModel(ExportedModel):
    """A folder of `clipseg export --to onnx`, run by ONNX Runtime in the precision it was exported in."""

    to = "onnx"

    @classmethod
    def _precision(cls, manifest: Manifest, _config: CLIPSegConfig, dtype: str) -> str:
        onnx_package("onnxruntime")
        if dtype in ("auto", manifest.precision):
            return manifest.precision
        ways = {
            "int8": "export the model again with --int8",
            "float32": "export the model again without --int8",
            "bfloat16": 'export it to openvino, or take backend="torch"',
        }
        way = ways.get(dtype, 'take backend="torch"')
        raise UsageError(
            f"dtype is {dtype!r}, but this model was exported in {manifest.precision}; leave it out, or {way}"
        )

    def _opened(self, path: Path) -> Run:
        return opened(path)


def onnx_package(name: str) -> Any:
    """onnx, onnxscript or onnxruntime -> the package. Raises MissingPackageError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingPackageError(
            f"ONNX models need {name}, which is not installed; install it with: pip install 'clipseg[onnx]'"
        ) from None


def opened(path: Path) -> Run:
    """An ONNX file -> what runs it, on as many threads as torch uses. Raises CheckpointError, MissingPackageError."""
    runtime = onnx_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _FATAL
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of several types that the package does not promise
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be opened by ONNX Runtime {runtime.__version__} ({reason}): update it, or export anew"
        ) from error

    def run(inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        answers: list[NDArray[Any]] = session.run(list(outputs), dict(inputs))
        return answers

    return run
