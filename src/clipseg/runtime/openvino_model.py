"""Exported models under OpenVINO (extra `openvino`)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
from numpy.typing import NDArray

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import CheckpointError, MissingPackageError, UsageError
from clipseg.runtime.exported import Arrays, ExportedModel, Manifest, Run
from clipseg.runtime.precision import chosen_precision
from clipseg.runtime.signal_stack import signal_stack_kept

OPTIONS: dict[str, dict[str, Any]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16"},
    # Activations are rounded 64 at a time, each group with a scale; smaller groups, as by default, cost more.
    "int8": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64},
}
"""What can be computed in -> OpenVINO's options for it."""


class OpenVINOModel(ExportedModel):
    """A folder of `clipseg export --to openvino`, run on the CPU in float32, bfloat16, or 8 bit if exported so."""

    to = "openvino"

    @classmethod
    def _precision(cls, manifest: Manifest, config: CLIPSegConfig, dtype: str) -> str:
        openvino()
        known = ("int8",) if manifest.precision == "int8" else ("float32", "bfloat16")
        if dtype == "auto":
            return known[0] if len(known) == 1 else chosen_precision(config, torch.device("cpu"))
        if dtype in known:
            return dtype
        ways = {**dict.fromkeys(OPTIONS, "export it again without --int8"), "int8": "export it again with --int8"}
        way = ways.get(dtype, 'take backend="torch"')
        raise UsageError(
            f"dtype is {dtype!r}, but this model was exported in {manifest.precision}, which runs in "
            f"{' or '.join(known)}; use that, or {way}"
        )

    def _opened(self, path: Path) -> Run:
        return opened(path, self.precision)


def openvino() -> Any:
    """-> the package. Raises MissingPackageError where it is not installed."""
    try:
        return importlib.import_module("openvino")
    except ImportError:
        raise MissingPackageError(
            "OpenVINO models need openvino, which is not installed; install it with: pip install 'clipseg[openvino]'"
        ) from None


def opened(path: Path, precision: str = "float32") -> Run:
    """An OpenVINO model's .xml -> what runs it, on as many threads as torch uses.

    Raises CheckpointError, MissingPackageError.
    """
    package = openvino()
    options = {
        **OPTIONS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        with signal_stack_kept():
            compiled = package.Core().compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise CheckpointError(
            f"{path} cannot be opened by OpenVINO {package.__version__} ({reason}): update it, or export anew"
        ) from error
    # A request holds one call's tensors, so each thread that calls takes its own.
    idle: SimpleQueue[Any] = SimpleQueue()

    def run(inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        try:
            request = idle.get_nowait()
        except Empty:
            request = compiled.create_infer_request()
        with signal_stack_kept():
            answers = request.infer(dict(inputs), share_inputs=True)
        wanted = [answers[name] for name in outputs]
        idle.put(request)
        return wanted

    return run
