"""Masks and pictures into files, whole or not at all."""

import os
import uuid
from pathlib import Path

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
    _write(Path(path), Image.fromarray(pixels.astype(np.uint8) * 255), "PNG")


def save_picture(path: str | os.PathLike[str], image: Image.Image) -> None:
    """A picture -> a file in the format of its suffix, such as .png, .jpg or .webp.

    The folder is made if it is not there. The file appears complete or not at all, and replaces an older one. Raises
    OutputError for a suffix nothing is written as, and where the file cannot be written.
    """
    path = Path(path)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        raise OutputError(f"{path} cannot be written: no picture format ends in {path.suffix!r}; try .png")
    _write(path, image, file_format)


def _write(path: Path, image: Image.Image, file_format: str) -> None:
    try:
        # Beside the goal, so that os.replace stays on one disk; not by tempfile, whose files only their owner may read.
        unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                image.save(file, file_format)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}; choose a place and a format that can hold it") from error
