"""Refusing weights with NaN or infinite numbers in them, without keeping what was looked at in memory."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from clipseg.checkpoints.keymaps import abbreviate
from clipseg.errors import CheckpointError, UsageError

_WHOLE = 2**26
"""Bytes up to which a file is looked through from end to end."""

_PART = 2**16
"""Bytes that are read at a time, and of larger files the most that is read of a tensor in full."""

_SAMPLES = 4
"""Blocks of 4 KiB that are read of each larger tensor of a larger file."""

_BLOCK = 2**12


def refuse_sick_tensors(source: str, tensors: Mapping[str, Tensor]) -> None:
    """Tensors in memory by name -> nothing, or CheckpointError naming those with NaN or infinity."""
    _refuse(source, [name for name, tensor in tensors.items() if not _is_finite(tensor)])


def refuse_absent_tensors(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Tensors that are to be written -> nothing, or UsageError naming those that have no values."""
    absent = [name for name, tensor in tensors.items() if tensor.is_meta]
    if absent:
        raise UsageError(
            f"{what} cannot be saved: {len(absent)} of its tensors have no values, {absent[0]} the first, as after "
            "drop_text_encoder(); load it anew and save that"
        )


def refuse_sick_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A sound safetensors file and its tensors, which stay untouched -> as `refuse_sick_tensors`.

    Mapped weights are read when they are used, and some never are, so files of hundreds of MB are not gone through for
    this: a training that diverged leaves NaN in every tensor, so of large tensors a few blocks tell.
    """
    part = bytearray(_PART)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")  # the format: the header's length, the header in JSON, the data
        header = json.loads(file.read(length))
        whole = path.stat().st_size <= _WHOLE
        sick = []
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                continue
            start, stop = header[name]["data_offsets"]
            for place, size in _places(stop - start, tensor.dtype.itemsize, whole):
                file.seek(8 + length + start + place)
                if file.readinto(memoryview(part)[:size]) != size:
                    raise CheckpointError(f"{path} became shorter while it was read: fetch it again")
                if not _is_finite(torch.frombuffer(part, dtype=tensor.dtype, count=size // tensor.dtype.itemsize)):
                    sick.append(name)
                    break
    _refuse(str(path), sick)


def _places(size: int, itemsize: int, whole: bool) -> Iterator[tuple[int, int]]:
    """The bytes of a tensor -> the parts of it to look at, each where it begins and its bytes."""
    if whole or size <= _PART:
        yield from ((place, min(_PART, size - place)) for place in range(0, size, _PART))
    else:
        last = (size - _BLOCK) // itemsize
        yield from ((last * number // (_SAMPLES - 1) * itemsize, _BLOCK) for number in range(_SAMPLES))


def _is_finite(tensor: Tensor) -> bool:
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor)  # one pass, no mask as large as the tensor; NaN comes through
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _refuse(source: str, sick: list[str]) -> None:
    if sick:
        raise CheckpointError(f"{source}: NaN or infinite values in {abbreviate(sick)}: the file is damaged")
