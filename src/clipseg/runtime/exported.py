"""Folders that `clipseg export` makes, and a model that runs from one, whatever the engine.

    export.json                                                the manifest: what is here, and the digest of every file
    picture_encoder.* text_encoder.* decoder.* picture_embedder.*   the graphs; see `export_graphs`
    config.json, preprocessor_config.json, tokenizer files     as in every model folder
    presence.json                                              where the model has one

Shapes: as in `export_graphs`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.checkpoints.files import read_json, write_json
from clipseg.checkpoints.hub import local_folder
from clipseg.configuration.base import CONFIG_NAME
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.errors import CheckpointError, PictureError, PromptError, UsageError
from clipseg.modeling.segmentation import EncodedImages
from clipseg.modeling.text import check_ids
from clipseg.modeling.vision import Grid, check_pixels
from clipseg.runtime.export_graphs import DECODER, PICTURE_EMBEDDER, PICTURE_ENCODER, TEXT_ENCODER, tap_names

MANIFEST = "export.json"
FORMAT_VERSION = 1

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays, Sequence[str]], list[NDArray[Any]]]
"""Inputs by name and the names of the outputs that are wanted -> those outputs. Threads may call it at once."""

Name = str | os.PathLike[str]
Self = TypeVar("Self", bound="ExportedModel")


@dataclass(frozen=True)
class ExportedGraph:
    """What the manifest says of a graph: its files, of which the first is opened, and how far it is from torch.

    Fields
        files          name -> SHA-256
        largest_error  of its outputs on random inputs, in standard deviations of what torch computes
        rms_error      the same, the root of the mean square
    """

    files: dict[str, str]
    largest_error: float
    rms_error: float


@dataclass(frozen=True)
class Manifest:
    """What `export.json` says.

    Fields
        to         what was exported to, a key of `export.TARGETS`
        precision  of the weights: "float32" or "int8"
        opset      of ONNX; None for what is not made of it
        size_hw    the one size of pictures that the graphs take; None: any
        versions   package -> version that the graphs were made and checked with
        graphs     name -> files and errors
    """

    to: str
    precision: str
    opset: int | None
    size_hw: tuple[int, int] | None
    versions: dict[str, str]
    graphs: dict[str, ExportedGraph]

    def write(self, folder: Path) -> None:
        """Write it into a folder. Raises OutputError."""
        write_json(folder / MANIFEST, {"format_version": FORMAT_VERSION, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """A folder that has a manifest -> what it says. Raises CheckpointError for one of a newer format or damaged."""
        again = "make it anew with `clipseg export`"
        path = folder / MANIFEST
        fields = read_json(path)
        version = fields.pop("format_version", None)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has the format version {version!r}, and this clipseg reads up to {FORMAT_VERSION}: "
                f"update clipseg, or {again}"
            )
        try:
            size_hw = fields.pop("size_hw")
            graphs = {name: ExportedGraph(**graph) for name, graph in fields.pop("graphs").items()}
            for name, graph in graphs.items():
                if not graph.files.keys() or any(Path(file).name != file for file in graph.files):
                    raise ValueError(f"{name} has {list(graph.files)}, no plain file names")
            return cls(**fields, size_hw=None if size_hw is None else (size_hw[0], size_hw[1]), graphs=graphs)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{path} is not a whole manifest ({error}): {again}") from error


class ExportedModel(ABC):
    """A `runtime.runner.Runner` of an exported folder. A subclass says which, and how a graph's file is opened.

    A graph is checked and opened when it is first needed. Threads may share a model; a pickle of it is its folder.
    """

    to: ClassVar[str]

    def __init__(self, folder: Path, manifest: Manifest, config: CLIPSegConfig, precision: str) -> None:
        self.name_or_path = str(folder)
        self.manifest = manifest
        self.config = config
        self.precision = precision
        self._taps = tap_names(len(self.config.extract_layers))
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_folder(
        cls: type[Self], name_or_path: Name, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
    ) -> Self:
        """A folder of `clipseg export` -> the model, on the CPU.

        Raises CheckpointError for a folder that is none, is of another kind or lacks a file, UsageError for another
        device or a dtype that the folder cannot be run in, and MissingPackageError.
        """
        folder, name = local_folder(name_or_path), os.fspath(name_or_path)
        if folder is None or not (folder / MANIFEST).is_file():
            raise CheckpointError(
                f"{name} is no folder that was exported: make one with `clipseg export {name} --to {cls.to} --out …`, "
                "and name that"
            )
        manifest = Manifest.read(folder)
        if manifest.to != cls.to:
            raise CheckpointError(
                f"{folder} was exported to {manifest.to}, not to {cls.to}: name its own back end, or make another with "
                f"`clipseg export … --to {cls.to}`"
            )
        lacking = [file for graph in manifest.graphs.values() for file in graph.files if not (folder / file).is_file()]
        if lacking:
            raise CheckpointError(f"{folder} lacks {', '.join(lacking)}: copy it whole, or export it anew")
        if str(device) not in ("auto", "cpu"):
            raise UsageError(f'device is "{device}", but exported models run on the CPU; use backend="torch" there')
        config = _configuration(folder)
        return cls(folder, manifest, config, cls._precision(manifest, config, str(dtype).removeprefix("torch.")))

    @classmethod
    @abstractmethod
    def _precision(cls, manifest: Manifest, config: CLIPSegConfig, dtype: str) -> str:
        """What a folder holds and what is wished -> what it is computed in. Raises UsageError, MissingPackageError."""

    @abstractmethod
    def _opened(self, path: Path) -> Run:
        """A graph's file -> what runs it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_folder, (self.name_or_path, "cpu", self.precision)

    @property
    def device(self) -> torch.device:
        """-> the CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of conditions: float32, whatever is computed in."""
        return torch.float32

    def encode_images(self, pixel_values: torch.Tensor) -> EncodedImages:
        """Pixels (B, 3, H, W) -> reduced taps and the grid. Raises PictureError for a shape that cannot be."""
        grid = self._grid("pixel_values", pixel_values)
        reduced = self._run(PICTURE_ENCODER, {"pixels": _array(pixel_values)}, self._taps)
        return EncodedImages(tuple(reduced), grid)

    def decode(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        """B pictures under conditions (P, E) or (B, P, E) -> logits (B, P, h, w). Raises PromptError."""
        pictures, width = len(encoded), self.config.projection_dim
        each = conditions.expand(pictures, -1, -1) if conditions.dim() == 2 else conditions
        if each.dim() != 3 or len(each) != pictures or each.shape[2] != width or each.shape[1] == 0:
            raise PromptError(
                f"conditions have shape {tuple(conditions.shape)}; expected (P, {width}) or ({pictures}, P, {width}), "
                "at least one"
            )
        rows, columns = (np.asarray(side, dtype=np.int64) for side in encoded.grid)
        taps = dict(zip(self._taps, map(_array, encoded.reduced), strict=True))
        inputs = {"conditions": _array(each), "rows": rows, "columns": columns, **taps}
        return self._run(DECODER, inputs, ["logits"])[0]

    def get_conditional_embeddings(
        self,
        batch_size: int | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        conditional_pixel_values: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Token ids (P, S) with their mask, or pixels (P, 3, H, W) -> conditions (P, E), not normalised."""
        given = conditional_pixel_values if input_ids is None else input_ids
        if given is None:
            raise PromptError("neither input_ids nor conditional_pixel_values are given; expected one of them")
        if batch_size is not None and len(given) != batch_size:
            raise PromptError(f"{batch_size} conditions are expected, and prompts are given for {len(given)}")
        if conditional_pixel_values is not None and input_ids is None:
            self._grid("conditional_pixel_values", conditional_pixel_values)
            (state,) = self._run(PICTURE_ENCODER, {"pixels": _array(conditional_pixel_values)}, ["state"])
            return self._run(PICTURE_EMBEDDER, {"state": state.numpy()}, ["embeddings"])[0]
        return self._texts(given, attention_mask, position_ids)

    def _texts(
        self, ids: torch.Tensor, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None
    ) -> torch.Tensor:
        text = self.config.text_config
        if position_ids is not None:
            raise PromptError(
                'an exported text encoder numbers positions itself; leave position_ids out, or backend="torch"'
            )
        check_ids("input_ids", ids, text.vocab_size)
        if ids.dim() != 2 or ids.shape[1] > text.max_position_embeddings:
            raise PromptError(
                f"input_ids have shape {tuple(ids.shape)}; expected (P, S) with at most "
                f"{text.max_position_embeddings} tokens, as tokenised with truncation=True"
            )
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask
        if mask.shape != ids.shape:
            raise PromptError(
                f"attention_mask has shape {tuple(mask.shape)}; expected that of input_ids, {tuple(ids.shape)}"
            )
        inputs = {"ids": _array(ids, torch.int64), "mask": _array(mask, torch.int64)}
        return self._run(TEXT_ENCODER, inputs, ["conditions"])[0]

    def _grid(self, name: str, pixels: torch.Tensor) -> Grid:
        """Pixels -> their patch grid. Raises PictureError for pixels that cannot be, or that the graphs do not take."""
        vision = self.config.vision_config
        check_pixels(name, pixels, vision.num_channels)
        size_hw = (pixels.shape[2], pixels.shape[3])
        if min(size_hw) < vision.patch_size:
            raise PictureError(
                f"a picture of {size_hw[0]}x{size_hw[1]} pixels is smaller than one patch of {vision.patch_size}; "
                "enlarge it"
            )
        if self.manifest.size_hw not in (None, size_hw):
            raise PictureError(
                f"a picture of {size_hw[0]}x{size_hw[1]} pixels does not fit {self.name_or_path}, which was exported "
                f"for {'x'.join(map(str, self.manifest.size_hw or ()))}; resize it, or export without a size"
            )
        return size_hw[0] // vision.patch_size, size_hw[1] // vision.patch_size

    def _run(self, graph: str, inputs: Arrays, outputs: Sequence[str]) -> list[torch.Tensor]:
        with self._lock:
            if graph not in self._runs:
                self._runs[graph] = self._opened(checked_file(Path(self.name_or_path), graph, self.manifest))
            run = self._runs[graph]
        return [torch.from_numpy(array) for array in run(inputs, outputs)]


def checked_file(folder: Path, graph: str, manifest: Manifest) -> Path:
    """A folder and the name of a graph -> the file to open, once all of the graph's are as they were written.

    Raises CheckpointError.
    """
    if graph not in manifest.graphs:
        raise CheckpointError(f"{folder} has no {graph}: export the model anew with `clipseg export`")
    files = manifest.graphs[graph].files
    for file, digest in files.items():
        path = folder / file
        if not path.is_file() or digest_of(path) != digest:
            raise CheckpointError(
                f"{path} is not what was exported, its SHA-256 is another: copy it again, or make it anew with "
                "`clipseg export`"
            )
    return folder / next(iter(files))


def digest_of(path: Path) -> str:
    """A file -> the SHA-256 of its content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _configuration(folder: Path) -> CLIPSegConfig:
    path = folder / CONFIG_NAME
    baseline = read_json(path).get("model_type") == CLIPDeconvConfig.model_type
    kind = CLIPDeconvConfig if baseline else CLIPSegConfig
    config: CLIPSegConfig = kind.from_pretrained(folder)
    return config


def _array(tensor: torch.Tensor, dtype: torch.dtype = torch.float32) -> NDArray[Any]:
    return tensor.detach().to("cpu", dtype).contiguous().numpy()
