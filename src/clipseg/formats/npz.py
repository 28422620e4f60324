"""NumPy's archives: masks, labels and size in one file, with no pickle in it.

    kind     what the maps are: "binary", "soft" or "logits"
    maps     (P, H, W) bool, (P, H, W) float32 from 0 to 1, or (P, h, w) float32 at the model's resolution
    labels   (P,) text
    scores   (P,) float32, as `Masks.scores`
    size_hw  (2,) int64, the original size

P labels, h w the resolution of the logits, H W the original size. Logits are the smallest by far and hold everything:
`NpzMasks.masks` makes the same `Masks` of them.
"""

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.errors import DataError, UsageError
from clipseg.formats.files import WholeFile
from clipseg.masks.masks import Masks
from clipseg.masks.thresholds import Threshold

KINDS = {"binary": np.dtype(np.bool_), "soft": np.dtype(np.float32), "logits": np.dtype(np.float32)}
"""Kind of maps -> their type of number."""


@dataclass(frozen=True, eq=False)
class NpzMasks:
    """What an archive holds, as the head of this file says."""

    kind: str
    maps: NDArray[Any]
    labels: tuple[str, ...]
    size_hw: tuple[int, int]
    scores: NDArray[np.float32]

    def masks(self) -> Masks:
        """-> the masks that logits were written of, with the usual options. Raises UsageError for another kind."""
        if self.kind != "logits":
            raise UsageError(
                f'only logits become Masks again; these maps are {self.kind}; write them with kind="logits"'
            )
        return Masks(torch.from_numpy(self.maps), self.labels, self.size_hw)


def write_npz(
    path: str | os.PathLike[str], masks: Masks, threshold: Threshold | None = None, *, kind: str = "binary"
) -> list[Path]:
    """Masks -> an archive, and its path; the threshold is that of binary maps.

    One map at a time is held. Raises UsageError for a kind that is not known, as `Masks.binary`, and OutputError.
    """
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; known are {', '.join(KINDS)}")
    maps: Iterable[torch.Tensor] = masks.logits
    shape = tuple(masks.logits.shape)
    if kind != "logits":
        maps = masks.each_soft() if kind == "soft" else masks.each_binary(threshold)
        shape = (len(masks), *masks.size_hw)
    with WholeFile(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        _write(archive, "kind", np.array(kind))
        _write(archive, "labels", np.array(masks.labels))
        _write(archive, "scores", masks.scores().numpy())
        _write(archive, "size_hw", np.array(masks.size_hw, np.int64))
        _write_parts(archive, "maps", shape, KINDS[kind], (one.numpy() for one in maps))
    return [Path(path)]


def read_npz(path: str | os.PathLike[str]) -> NpzMasks:
    """An archive -> what it holds. Nothing in it is run. Raises DataError for anything malformed."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in ("kind", "maps", "labels", "scores", "size_hw")}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no archive of masks ({error})") from error
    kind, maps, labels = str(found["kind"]), found["maps"], found["labels"]
    if kind not in KINDS or maps.ndim != 3 or maps.dtype != KINDS[kind] or labels.shape != maps.shape[:1]:
        raise DataError(
            f"{path} is no archive of masks: {maps.shape} {maps.dtype} of kind {kind!r}, {labels.size} labels"
        )
    if found["size_hw"].shape != (2,) or (kind != "logits" and maps.shape[1:] != tuple(found["size_hw"])):
        raise DataError(f"{path}: maps are {maps.shape} but the size is {found['size_hw'].tolist()}")
    height, width = found["size_hw"].tolist()
    return NpzMasks(kind, maps, tuple(map(str, labels)), (height, width), found["scores"])


def _write(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    _write_parts(archive, name, array.shape, array.dtype, [array])


def _write_parts(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]
) -> None:
    """An array, handed over in parts along its first axis -> an entry of the archive."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, header)
        for part in parts:
            entry.write(np.ascontiguousarray(part, dtype).tobytes())
