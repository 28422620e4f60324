"""A traced graph -> the files of a target, and the engine that runs them once, to compare it with torch.

ONNX is written by torch's exporter, and OpenVINO's files are made of it; OpenVINO's own converter from torch is not
used, since it sends usage statistics.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

from clipseg.runtime import onnx_model, openvino_model
from clipseg.runtime.export_graphs import DECODER, Graph, Inputs
from clipseg.runtime.export_int8 import quantise
from clipseg.runtime.exported import Arrays, Run

OPSET = 18
"""The lowest that torch's exporter writes, so that engines of some years read it; only the layer norm asks for 17."""


@dataclass(frozen=True)
class Target:
    """A kind of export.

    Fields
        packages  -> the packages it takes and their versions. Raises MissingPackageError
        write     a graph, traced, a folder, whether in 8 bit -> the files written, the one to open first
        opened    that file, whether in 8 bit -> what runs it
        opset     of ONNX, where it is made of it
        int8      None where it can be written in 8 bit, else the reason why not
    """

    packages: Callable[[], dict[str, str]]
    write: Callable[[Graph, ExportedProgram, Path, bool], list[Path]]
    opened: Callable[[Path, bool], Run]
    opset: int | None = OPSET
    int8: str | None = None


def traced(graph: Graph, inputs: Inputs) -> ExportedProgram:
    """A graph and inputs of the shapes to trace with -> the program, with nothing in it of where it was made."""
    free = [Dim.DYNAMIC if axes is None else dict.fromkeys(axes, Dim.DYNAMIC) for axes in graph.inputs.values()]
    by_argument = inspect.signature(graph.module.forward).bind(*free).arguments
    with torch.no_grad():
        program = torch.export.export(graph.module, inputs, dynamic_shapes=by_argument)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


# -- ONNX --------------------------------------------------------------------------------------------------------


def _onnx_packages() -> dict[str, str]:
    return {name: onnx_model.onnx_package(name).__version__ for name in ("onnx", "onnxscript", "onnxruntime")}


def _write_onnx(
    graph: Graph, program: ExportedProgram, folder: Path, int8: bool, *, weights_alone: bool = False
) -> list[Path]:
    onnx = onnx_model.onnx_package("onnx")
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
    model = _described(graph, made.model_proto)  # type: ignore[union-attr]  # None is what the older exporter gives
    if int8 and graph.name != DECODER:  # whose matrices are small: rounding them costs accuracy and saves no time
        quantise(model, weights_alone=weights_alone)
    path, weights = folder / f"{graph.name}.onnx", folder / f"{graph.name}.onnx.data"
    onnx.save_model(model, path, save_as_external_data=True, location=weights.name, size_threshold=1024)
    weights.chmod(path.stat().st_mode)  # written for its owner alone, unlike the other files
    return [path, weights]


def _open_onnx(path: Path, _int8: bool) -> Run:
    return onnx_model.opened(path)


def _described(graph: Graph, model: Any) -> Any:
    """An ONNX model -> the same, its free axes named, without what the exporter tells of the way it took."""
    for value, axes in zip(
        (*model.graph.input, *model.graph.output), (*graph.inputs.values(), *graph.outputs.values()), strict=True
    ):
        for axis, name in (axes or {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself and nobody can change.

    That torchvision's operators are not there, which no graph has, and that it copies trees by a class which torch
    calls deprecated.
    """
    log = logging.getLogger("torch.onnx._internal.exporter._registration")

    def keep(record: logging.LogRecord) -> bool:
        return "torchvision" not in record.getMessage()

    log.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        log.removeFilter(keep)


# -- OpenVINO ----------------------------------------------------------------------------------------------------


def _openvino_packages() -> dict[str, str]:
    through = {name: onnx_model.onnx_package(name).__version__ for name in ("onnx", "onnxscript")}
    return {**through, "openvino": openvino_model.openvino().__version__}


def _write_openvino(graph: Graph, program: ExportedProgram, folder: Path, int8: bool) -> list[Path]:
    openvino = openvino_model.openvino()
    between = _write_onnx(graph, program, folder, int8, weights_alone=True)
    path = folder / f"{graph.name}.xml"
    openvino.save_model(openvino.Core().read_model(between[0]), path, compress_to_fp16=False)
    for file in between:
        file.unlink()
    return [path, path.with_suffix(".bin")]


def _open_openvino(path: Path, int8: bool) -> Run:
    return openvino_model.opened(path, "int8" if int8 else "float32")


# -- torch's own programs ----------------------------------------------------------------------------------------


def _write_program(graph: Graph, program: ExportedProgram, folder: Path, _int8: bool) -> list[Path]:
    path = folder / f"{graph.name}.pt2"
    torch.export.save(program, path)
    return [path]


def _open_program(path: Path, _int8: bool) -> Run:
    module = torch.export.load(path).module()

    def run(inputs: Arrays, _outputs: Sequence[str]) -> list[NDArray[Any]]:
        given = (torch.from_numpy(x) if x.ndim else int(x) for x in inputs.values())
        with torch.no_grad():
            outputs = module(*given)
        return [x.numpy() for x in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


TARGETS: Mapping[str, Target] = {
    "onnx": Target(_onnx_packages, _write_onnx, _open_onnx),
    "openvino": Target(_openvino_packages, _write_openvino, _open_openvino),
    "exported-program": Target(
        dict,
        _write_program,
        _open_program,
        opset=None,
        int8="torch quantises programs by a package of its own (torchao)",
    ),
}
