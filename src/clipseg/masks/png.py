"""Masks and pictures into files, whole or not at all. H W a picture's size."""

import os
import struct
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import OutputError, UsageError


def save_binary(path: str | os.PathLike[str], mask: torch.Tensor | NDArray[np.bool_]) -> None:
    """(H, W) bool -> a PNG of mode L, 0 and 255, written as `save_picture` does, whatever its suffix.

    Raises UsageError for another shape or dtype, and OutputError where the file cannot be written.
    """
    pixels = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if pixels.dtype != np.bool_ or pixels.ndim != 2:
        raise UsageError(
            f"a binary mask is (H, W) bool; got {pixels.shape} {pixels.dtype}; take one of `masks.binary()`"
        )
    _write(Path(path), lambda file: file.write(binary_png(pixels)))


def binary_png(mask: NDArray[np.bool_]) -> bytes:
    """(H, W) bool -> a PNG of mode L, 0 and 255, as bytes.

    Masks are long runs. Told so, zlib is three times as fast as where every filter is tried on every row, and its files
    are no larger: each row is stored as its difference from the one above (filter 2), and only runs are looked for.
    """
    levels = mask.view(np.uint8) * np.uint8(255)
    rows = np.empty((levels.shape[0], levels.shape[1] + 1), np.uint8)  # each led by the number of its filter
    rows[:, 0] = 2
    rows[0, 1:] = levels[0]
    np.subtract(levels[1:], levels[:-1], out=rows[1:, 1:])
    run_lengths = zlib.compressobj(level=6, strategy=zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 8, 0, 0, 0, 0)  # 8 bits of grey, not interlaced
    pixels = run_lengths.compress(rows.data) + run_lengths.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def save_picture(path: str | os.PathLike[str], image: Image.Image) -> None:
    """A picture -> a file in the format of its suffix, such as .png, .jpg or .webp.

    The folder is made if it is not there. The file appears complete or not at all, and replaces an older one. Raises
    OutputError for a suffix nothing is written as, and where the file cannot be written.
    """
    path = Path(path)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        raise OutputError(f"{path} cannot be written: no picture format ends in {path.suffix!r}; try .png")
    _write(path, lambda file: image.save(file, file_format))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _write(path: Path, save: Callable[[BinaryIO], object]) -> None:
    try:
        # Beside the goal, so that os.replace stays on one disk; not by tempfile, whose files only their owner may read.
        unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                save(file)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}; choose a place and a format that can hold it") from error
