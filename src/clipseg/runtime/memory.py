"""Memory on this machine and on a GPU: weights that were packed are let go of, batches are as large as there is room.

Weights of a checkpoint are mapped from their file, so the system can drop their pages and read them again if they are
ever asked for. Once a layer is packed that is what we tell it to do: a packed model then takes no more than what is
packed, though the float32 model is still there to be used.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.vision import Grid

T = TypeVar("T")

PROMPTS_ON_CPU = 8
"""Maps decoded at once: their activations stay in a processor's cache."""

MOST_PROMPTS = 512
"""Beyond so many maps at once a GPU gains nothing more."""

_PAGEOUT = 21  # MADV_PAGEOUT of Linux 5.4 and later: pages that are in a file are dropped, none is ever lost


def let_go(tensors: Iterable[torch.Tensor]) -> None:
    """Tensors -> their pages are dropped where they are mapped from a file; they are read again when looked at.

    What was freed meanwhile goes back to the system as well: between packed weights lie holes of what they were packed
    from, which the allocator would keep.
    """
    if not sys.platform.startswith("linux"):
        return
    system = ctypes.CDLL(None)
    if hasattr(system, "malloc_trim"):  # of glibc
        system.malloc_trim(0)
    mapped = _mapped_files()
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.is_meta:
            continue
        storage = tensor.untyped_storage()
        start, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
        if any(low <= start and end <= high for low, high in mapped):
            first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
            length = end // mmap.PAGESIZE * mmap.PAGESIZE - first
            if length > 0:
                system.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _PAGEOUT)


def _mapped_files() -> list[tuple[int, int]]:
    """-> from and to which address this process has files mapped, of which it has written nothing to the disk."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    fields = (line.split(maxsplit=5) for line in lines)
    files = (each[0] for each in fields if len(each) == 6 and each[5].endswith((".safetensors", ".bin", ".pt", ".pth")))
    return [tuple(int(end, 16) for end in span.split("-")) for span in files]  # type: ignore[misc]  # two of them


def prompts_at_once(config: CLIPSegConfig, grid: Grid, device: torch.device) -> int:
    """-> how many maps are decoded at once: on a GPU as many as half of its free memory holds."""
    if device.type != "cuda":
        return PROMPTS_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    tokens = 1 + grid[0] * grid[1]
    # The widest states of one layer, in float32 at worst, three at a time; then the finest map of the head.
    of_layer = 3 * 4 * tokens * (config.decoder_intermediate_size + 4 * config.reduce_dim)
    of_head = 2 * 4 * tokens * config.vision_config.patch_size**2 * max(1, config.reduce_dim // 2) // 16
    return max(1, min(MOST_PROMPTS, free // 2 // (of_layer + of_head)))


def in_parts(run: Callable[[torch.Tensor], T], batch: torch.Tensor) -> Iterator[T]:
    """A batch (B, …) -> what `run` makes of it, in one part, or in halves of halves where the memory does not suffice.

    Raises torch.OutOfMemoryError where it does not suffice for one.
    """
    try:
        done = [run(batch)]
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        done = []
    if done:
        yield from done
        return
    if torch.cuda.is_available():  # out here, where the failed attempt holds nothing any more
        torch.cuda.empty_cache()
    for half in batch.tensor_split(2):
        yield from in_parts(run, half)
