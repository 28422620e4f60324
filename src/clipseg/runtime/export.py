"""A model -> a folder that other engines run: its graphs, each compared with torch before the folder appears."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.checkpoints.hub import find_file
from clipseg.errors import CheckpointError, ClipsegError, OutputError, UsageError
from clipseg.masks.presence import PRESENCE_FILE
from clipseg.modeling.deconv import load_segmentation_model
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.runtime.export_files import TARGETS, Target, traced
from clipseg.runtime.export_graphs import Graph, Inputs, graphs_of, rehearsals
from clipseg.runtime.exported import MANIFEST, ExportedGraph, Manifest, digest_of
from clipseg.version import __version__

LARGEST_ERROR = 1e-4
"""In float32: of any output, in standard deviations of what torch computes. Measured: 5e-6 at the released size."""

RMS_ERROR = 0.05
"""In 8 bit: the root of the mean square, in the same unit; single values are further off. Measured: 0.024."""

Rehearsal = dict[str, tuple[Inputs, tuple[torch.Tensor, ...]]]


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the folder, all its files, and what its manifest says."""

    folder: Path
    files: tuple[Path, ...]
    manifest: Manifest


def export(
    model: str | os.PathLike[str] | CLIPSegForImageSegmentation,
    folder: str | os.PathLike[str],
    to: str = "onnx",
    *,
    int8: bool = False,
    size_hw: tuple[int, int] | None = None,
    overwrite: bool = False,
    processor: CLIPSegProcessor | None = None,
    **where: Any,
) -> Exported:
    """A model's folder, "nano", a hub id or the model itself -> a folder that another engine runs.

    to         "onnx", "openvino" or "exported-program"
    int8       8-bit weights; not with "exported-program"
    size_hw    fix the size of pictures, which some engines gain by; None: any number, size and shape of them
    overwrite  replace a folder that an earlier export made
    processor  of a model given itself, which has none beside it; None: the one beside the files it came from
    where      keywords of `checkpoints.hub.find_file`, of a name

    Every graph is run by its engine on random inputs of two sets of shapes, and the folder appears only if all are near
    enough to torch: LARGEST_ERROR, or RMS_ERROR in 8 bit. Raises CheckpointError where one is not, or where torch's
    exporter fails, UsageError, OutputError, MissingPackageError, and for a name what `from_pretrained` raises.
    """
    target = _target(to, int8)
    versions = {"clipseg": __version__, "torch": str(torch.__version__), **target.packages()}
    folder = Path(folder)
    _check_folder(folder, overwrite)
    name: str | os.PathLike[str] = ""
    if isinstance(model, CLIPSegForImageSegmentation):
        name, loaded = model.name_or_path, _plain(model)
    else:
        name, loaded = model, load_segmentation_model(model, **where)
    _check_size(size_hw, loaded.config.vision_config.patch_size)
    with _appearing(folder) as partial:
        _write_companions(loaded, name, processor, size_hw, partial, where)
        with torch.no_grad():
            rehearsed = list(rehearsals(loaded, size_hw))
        graphs = {
            graph.name: _exported(graph, target, partial, int8, [each[graph.name] for each in rehearsed])
            for graph in graphs_of(loaded, size_hw)
        }
        manifest = Manifest(to, "int8" if int8 else "float32", target.opset, size_hw, versions, graphs)
        manifest.write(partial)
        names = sorted(path.name for path in partial.iterdir())
    return Exported(folder, tuple(folder / name for name in names), manifest)


def _target(to: str, int8: bool) -> Target:
    if to not in TARGETS:
        raise UsageError(f"to is {to!r}; expected {', '.join(TARGETS)}")
    target = TARGETS[to]
    if int8 and target.int8:
        raise UsageError(
            f'an export to {to} cannot be in 8 bit: {target.int8}; leave int8 out, or export to "onnx" or "openvino"'
        )
    return target


def _check_size(size_hw: tuple[int, int] | None, patch: int) -> None:
    if size_hw is not None and min(size_hw) < patch:
        raise UsageError(f"size is {size_hw[0]}x{size_hw[1]}; expected at least one patch of {patch} pixels a side")


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise OutputError(f"{folder} exists and is neither an empty folder nor an earlier export: name another")
    if not overwrite:
        raise OutputError(f"{folder} holds an earlier export: name another folder, or overwrite it (overwrite=True)")


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to be -> one beside it to write into, which takes its place or, if anything is raised, goes."""
    partial = folder.absolute().parent / f".{folder.name}.{uuid4().hex[:8]}.tmp"
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            former = partial.with_suffix(".old")
            folder.rename(former)
            partial.rename(folder)
            shutil.rmtree(former)
        else:
            partial.rename(folder)
    except OSError as error:
        if isinstance(error, ClipsegError):
            raise
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}; choose another place") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _plain(model: CLIPSegForImageSegmentation) -> CLIPSegForImageSegmentation:
    """A model -> itself, or a copy where it is not in evaluation mode, on the CPU and in float32."""
    if not model.training and model.device.type == "cpu" and model.dtype == torch.float32:
        return model
    return copy.deepcopy(model).eval().to("cpu", torch.float32)


def _write_companions(
    model: CLIPSegForImageSegmentation,
    name: str | os.PathLike[str],
    processor: CLIPSegProcessor | None,
    size_hw: tuple[int, int] | None,
    folder: Path,
    where: dict[str, Any],
) -> None:
    """Write what a segmenter takes beside the graphs. Raises UsageError for a model that came without a processor."""
    if processor is None and not name:
        raise UsageError(
            "this model came from no folder, so nothing tells how its pictures are prepared; give processor"
        )
    own = CLIPSegProcessor.from_pretrained(name, **where) if processor is None else processor
    if size_hw is not None:
        own = copy.deepcopy(own)
        own.image_processor.size = {"height": size_hw[0], "width": size_hw[1]}
    own.save_pretrained(folder)
    model.config.save_pretrained(folder)
    presence = find_file(name, PRESENCE_FILE, required=False, **where) if name else None
    if presence is not None:
        shutil.copyfile(presence, folder / PRESENCE_FILE)


def _exported(
    graph: Graph, target: Target, folder: Path, int8: bool, rehearsed: Sequence[tuple[Inputs, tuple[torch.Tensor, ...]]]
) -> ExportedGraph:
    """Write a graph, run it -> what the manifest says of it. Raises CheckpointError."""
    try:
        files = target.write(graph, traced(graph, rehearsed[0][0]), folder, int8)
    except RuntimeError as error:  # of torch.export and torch.onnx; also what they make of a full disk
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(
            f"torch {torch.__version__} cannot export the {graph.name} of this model ({reason}): try another release "
            "of torch, or another target"
        ) from error
    run = target.opened(files[0], int8)
    errors = [
        compared(torch.from_numpy(found), wanted)
        for inputs, expected in rehearsed
        for found, wanted in zip(run(_arrays(graph, inputs), list(graph.outputs)), expected, strict=True)
    ]
    largest, rms = (max(column) for column in zip(*errors, strict=True))
    found, limit, kind = (rms, RMS_ERROR, "root mean square") if int8 else (largest, LARGEST_ERROR, "largest")
    if not found <= limit:
        raise CheckpointError(
            f"the exported {graph.name} is not what torch computes: its {kind} error is {found:.1e} of the outputs' "
            f"spread, expected at most {limit}; nothing was written. Try another {'precision' if int8 else 'target'}"
        )
    return ExportedGraph({path.name: digest_of(path) for path in files}, largest, rms)


def _arrays(graph: Graph, inputs: Inputs) -> dict[str, NDArray[Any]]:
    arrays = (x.numpy() if isinstance(x, torch.Tensor) else np.asarray(x, dtype=np.int64) for x in inputs)
    return dict(zip(graph.inputs, arrays, strict=True))


def compared(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Two tensors -> the largest and the root mean square of their difference, in standard deviations of the second.

    Infinite where their shapes differ or something is not a number.
    """
    if found.shape != expected.shape or not found.isfinite().all():
        return float("inf"), float("inf")
    spread = expected.std(correction=0).clamp_min(torch.finfo(torch.float32).tiny)
    difference = (found - expected) / spread
    return float(difference.abs().max()), float(difference.square().mean().sqrt())
