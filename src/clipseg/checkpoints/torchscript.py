"""The tensors of a TorchScript archive, read without running any of it.

OpenAI publishes CLIP as such archives (`ViT-B-16.pt`). `torch.jit.load` would compile and run the program inside. Here
only `data.pkl` and the raw storages beside it are looked at, by an unpickler that knows five names: a tensor, the
storage types, an ordered dictionary, the list helpers of TorchScript, and an inert stand-in for every class the program
defines. Any other name ends the reading. Layout: torch/csrc/jit/serialization of PyTorch; a zip whose records are
`<name>/data.pkl`, `<name>/data/<key>`, `<name>/constants.pkl` and `<name>/code/…`.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipseg.errors import CheckpointError, UnsafeFileError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS = frozenset({"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"})


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with a program in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # no zip, or one too damaged to list
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """A TorchScript archive -> its parameters and buffers by dotted name, as `state_dict` would name them.

    Raises UnsafeFileError if the archive names anything but tensors and its own classes, CheckpointError if it is
    damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            record = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
            module = _Unpickler(archive, record.removesuffix(".pkl"), path).load()
    except UnsafeFileError:
        raise
    except Exception as error:  # a damaged pickle or zip fails in many ways
        raise CheckpointError(f"{path} is a damaged TorchScript archive ({error}): fetch it again") from error
    return dict(_tensors(module, ""))


class _Module:
    """Stands in for every class of the program: it keeps its attributes and does nothing."""

    attributes: object = None

    def __setstate__(self, state: object) -> None:
        self.attributes = state


def _tensors(node: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield name, node
    elif isinstance(node, _Module) and isinstance(node.attributes, dict):
        for key, value in node.attributes.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


class _Unpickler(pickle.Unpickler):
    """Builds tensors, containers of the language and `_Module`; refuses to look up anything else."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}.pkl")))
        self._archive = archive
        self._folder = folder
        self._path = path
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        raise UnsafeFileError(
            f"{self._path} wants {module}.{name}, which weights do not need: turn it into safetensors on a machine "
            "where you trust it, or do not use it"
        )

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown record {kind!r}")
        if key not in self._storages:
            raw = bytearray(self._archive.read(f"{self._folder}/{key}"))
            self._storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return storage.as_strided(size, stride, offset)  # refuses what lies outside the storage
