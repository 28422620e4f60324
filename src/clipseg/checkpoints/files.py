"""Reading and writing weights: never running what a file brings along, never leaving half a file behind."""

import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from clipseg.checkpoints.hub import find_file, find_first
from clipseg.checkpoints.soundness import refuse_sick_file, refuse_sick_tensors
from clipseg.checkpoints.torchscript import is_torchscript, read_torchscript
from clipseg.errors import CheckpointError, CheckpointNotFoundError, OutputError, UnsafeFileError, UsageError

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
WEIGHT_FILES = (SAFETENSORS, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")

_NESTED = ("state_dict", "model")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)


# Reading


def read_weights(
    name_or_path: str | os.PathLike[str],
    *,
    subfolder: str = "",
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    variant: str | None = None,
) -> dict[str, Tensor]:
    """A model's name -> its tensors by name, from one file or from shards; see `hub.find_file` and `read_tensors`.

    Looked for in the order of WEIGHT_FILES, under the names that they have for a `variant`, such as "fp16". Raises
    CheckpointNotFoundError, CheckpointError, UsageError for a variant that cannot be part of a name.
    """
    return read_files(
        resolve_weights(
            name_or_path,
            subfolder=subfolder,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            variant=variant,
        )
    )


def resolve_weights(
    name_or_path: str | os.PathLike[str],
    *,
    subfolder: str = "",
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    variant: str | None = None,
) -> list[Path]:
    """A model's name -> the files that hold its weights, here: one, or an index's shards. Raises as `read_weights`."""
    where: dict[str, Any] = {
        "subfolder": subfolder,
        "revision": revision,
        "cache_dir": cache_dir,
        "token": token,
        "local_files_only": local_files_only,
    }
    found = find_first(name_or_path, [of_variant(name, variant) for name in WEIGHT_FILES], **where)
    if found is not None and found.suffix == ".json":
        shards = [find_file(name_or_path, shard, **where) for shard in sorted(set(_weight_map(found).values()))]
    else:
        shards = [found]
    return [shard for shard in shards if shard is not None]


def of_variant(name: str, variant: str | None) -> str:
    """A file's name and a variant -> its name in that variant: "model.safetensors", "fp16" -> "model.fp16.safetensors".

    Raises UsageError for a variant that is no plain word.
    """
    if not variant:
        return name
    if not re.fullmatch(r"\w[\w-]*", variant):
        raise UsageError(f"variant is {variant!r}; expected a word that file names have, such as 'fp16'")
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{variant}{dot}{suffix}"


def read_files(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Tensor]:
    """Weight files that belong together -> all their tensors. Raises CheckpointError, also if two name one tensor."""
    tensors: dict[str, Tensor] = {}
    for path in paths:
        part = read_tensors(path)
        twice = sorted(tensors.keys() & part.keys())
        if twice:
            raise CheckpointError(f"{path} holds {twice[0]}, which another shard holds as well: fetch the model again")
        tensors |= part
    return tensors


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """One weight file -> its tensors by name, on the CPU, memory mapped where the format allows.

    Read by content, not by suffix: safetensors, PyTorch pickles of a state dict (also one level down, under
    "state_dict" or "model") and TorchScript archives. No code of the file runs. Raises UnsafeFileError for a pickle
    that holds more than tensors and plain values, CheckpointError for anything damaged, with NaN or infinity in it or
    of another kind, CheckpointNotFoundError if there is no file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"weight file {path} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"weight file {path} cannot be read ({error.strerror})") from error
    if not start:
        raise CheckpointError(f"{path} is empty: fetch it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` where it comes from")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path} is a web page, not weights: fetch the file itself")
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    tensors = read_torchscript(path) if is_torchscript(path) else _read_pickle(path, start)
    refuse_sick_tensors(str(path), tensors)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, KeyError) as error:  # KeyError: a type of number this torch does not know
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): fetch it again") from error
    refuse_sick_file(path, tensors)
    return tensors


def _read_pickle(path: Path, start: bytes) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a pickle's protocol, just before it is refused
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named or start.startswith((b"\x80", b"PK")):
            wish = named[1] if named else "more than tensors"
            raise UnsafeFileError(
                f"{path} is a pickle that wants {wish}, so it was not read: turn its tensors into safetensors on a "
                "machine where you trust it"
            ) from error
        raise CheckpointError(f"{path} is neither safetensors nor a PyTorch file") from error
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{path} is damaged or no PyTorch file ({reason}): fetch it again") from error
    return _state_dict(path, content)


def _state_dict(path: Path, content: object) -> dict[str, Tensor]:
    """What a pickle held -> its tensors; a state dict one level down counts only if there is no other tensor."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a state dict")
    state: dict[Any, Any] = content
    if not any(isinstance(value, Tensor) for value in state.values()):
        nested = [key for key in _NESTED if isinstance(state.get(key), dict)]
        if len(nested) != 1:
            raise CheckpointError(
                f"{path} holds no tensors; expected them plainly or under one of {', '.join(_NESTED)}"
            )
        state = state[nested[0]]
    others = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{path} holds {others[0]!r}, which is no tensor; expected a state dict of tensors alone")
    return {str(key): value.detach() for key, value in state.items()}


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON file -> its object. Raises CheckpointError if it is not one."""
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}, expected an object")
    return content


def _weight_map(index: Path) -> dict[str, str]:
    """An index file -> tensor name -> shard, each shard a plain file name beside the index."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f'{index} has no "weight_map" from tensors to shards')
    for shard in weight_map.values():
        if not isinstance(shard, str) or not re.fullmatch(r"\w[\w.-]*", shard):
            raise CheckpointError(f"{index} names the shard {shard!r}; expected a plain file name beside it")
    return weight_map


# Writing


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path -> a temporary path beside it, moved over the first, and synced, once the block ends well.

    Readers see the old file or the new one, never a part. Raises OutputError; makes missing folders.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: what torch.save makes of a full disk
        raise OutputError(f"{path} cannot be written ({getattr(error, 'strerror', None) or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """An object -> an indented JSON file, written whole or not at all. Raises OutputError."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Tensors -> one file, whole or not at all: safetensors by that suffix, else a PyTorch state dict.

    `metadata` (default `{"format": "pt"}`) is kept by safetensors only. Raises OutputError.
    """
    owned = _owned(tensors)
    with replacing(path) as temporary:
        if Path(path).suffix == ".safetensors":
            save_safetensors(temporary, owned, dict(metadata or {"format": "pt"}))
        else:
            torch.save(owned, temporary)


def save_safetensors(path: Path, owned: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Contiguous tensors that share nothing -> a file with the permissions that other new files have.

    Some releases of safetensors (0.8) leave it to its owner alone, so that a model folder in a shared place cannot be
    read there. Raises OSError and SafetensorError.
    """
    path.touch()
    usual = path.stat().st_mode
    safetensors.torch.save_file(dict(owned), path, metadata)
    path.chmod(usual)


def _owned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors -> contiguous ones on the CPU, none of which shares memory with another or is a part of a larger one."""
    seen: set[int] = set()
    owned = {}
    for key, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.numel() * value.element_size():
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        owned[key] = value
    return owned


def write_weights(
    folder: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    max_shard_size: int | str = "5GB",
    variant: str | None = None,
) -> list[Path]:
    """Tensors -> `model.safetensors` in a folder, or numbered shards with an index if they are larger than one shard.

    `max_shard_size` is in bytes or like "200MB" (10^6) and "2GiB" (2^30); one tensor is never split. Weights of an
    earlier save that the new ones do not replace are removed last, other variants excepted. Raises OutputError,
    UsageError for a malformed size or variant.
    """
    folder = Path(folder)
    single, index = folder / of_variant(SAFETENSORS, variant), folder / of_variant(INDEX, variant)
    shards = list(_shards(tensors, parse_size(max_shard_size)))
    if len(shards) == 1:
        written = [single]
        write_tensors(written[0], shards[0])
    else:
        names = [f"{single.stem}-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
        for name, shard in zip(names, shards, strict=True):
            write_tensors(folder / name, shard)
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        total = sum(map(_nbytes, tensors.values()))
        write_json(index, {"metadata": {"total_size": total}, "weight_map": weight_map})
        written = [*(folder / name for name in names), index]
    for old in [single, index, *folder.glob(f"{single.stem}-?????-of-?????.safetensors")]:
        if old not in written:
            old.unlink(missing_ok=True)
    return written


def _shards(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for key, tensor in tensors.items():
        if shard and size + _nbytes(tensor) > limit:
            yield shard
            shard, size = {}, 0
        shard[key] = tensor
        size += _nbytes(tensor)
    yield shard


def _nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def parse_size(size: int | str) -> int:
    """A number of bytes, or text such as "5GB" (10^9) and "2GiB" (2^30) -> bytes. Raises UsageError."""
    if isinstance(size, int):
        return size
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise UsageError(f'size {size!r} is not understood; expected bytes or text such as "5GB" or "200MiB"')
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))
