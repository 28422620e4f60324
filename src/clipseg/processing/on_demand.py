"""A picture that is decoded when its pixels are first asked for, as those of `Image.open` are; only by another way."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import PictureError
from clipseg.processing.images import FileContent, PictureSource, decoded, flatten, reduced_rgb, to_rgb


@dataclass(frozen=True, eq=False)
class ShownPicture:
    """A picture that was decoded elsewhere, and brought to the model's size there: its pixels stay behind.

    Fields
        pixels   uint8 (h, w, 3), what the model is shown
        size_hw  of the picture itself
        name     what errors call it
    """

    pixels: NDArray[np.uint8]
    size_hw: tuple[int, int]
    name: str


SettledPicture: TypeAlias = FileContent | ShownPicture
"""What was read elsewhere, and nobody changes any more."""


def shown_and_whole(source: PictureSource | SettledPicture, least: int | None) -> tuple[Image.Image, Image.Image]:
    """A picture -> what the model is to be shown of it, upright and RGB, and the picture itself.

    They are one, unless `least` is given and the picture is a JPEG file, or the bytes of one, whose shorter side is
    twice that or more: the first is then decoded at a reduced scale, as `images.reduced_rgb` says, and the second not
    before its pixels are used; those of a `ShownPicture` never can be. Raises as `to_rgb`.
    """
    if isinstance(source, ShownPicture):
        nowhere = FileContent(b"", f"{source.name}, of which only what the model is shown is here,")
        return Image.fromarray(source.pixels), PictureOnDemand(nowhere, source.size_hw)
    if least is None or not isinstance(source, (str, os.PathLike, bytes, FileContent)) or _is_pipe(source):
        picture = to_rgb(source)
        return picture, picture
    small, size_hw = reduced_rgb(source, least)
    return small, small if size_hw == (small.height, small.width) else PictureOnDemand(source, size_hw)


def _is_pipe(source: str | os.PathLike[str] | bytes | FileContent) -> bool:
    """Whether a picture is read from what can be read only once."""
    return isinstance(source, (str, os.PathLike)) and Path(os.path.expanduser(source)).is_fifo()


class PictureOnDemand(Image.Image):
    """A picture's file and its upright size in pixels -> the picture in RGB, of which nothing is decoded yet.

    Size and mode are known; whatever needs pixels decodes the whole file, once. That raises PictureError where the file
    is gone by then, cannot be read or holds a picture of another size.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | FileContent, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self._source = source
        self._mode = "RGB"
        self._size = (size_hw[1], size_hw[0])
        self._decoding = threading.Lock()

    def load(self) -> Any:
        """Decode the file, if that was not done yet. Every method of a picture that needs pixels begins so."""
        with self._decoding:
            if self._im is None:
                self._im = self._whole().im
        return super().load()

    def _whole(self) -> Image.Image:
        try:
            picture = flatten(decoded(self._source), "white")
        except PictureError as error:
            raise PictureError(
                f"{error}; it was decoded at a reduced scale, and is needed in full only now: "
                "keep the file until then, or leave out reduced_decoding"
            ) from error
        if picture.size != self._size:
            raise PictureError(
                f"the picture was {self.height}x{self.width} and now is {picture.height}x{picture.width}; "
                "keep its file as it is, or leave out reduced_decoding"
            )
        return picture

    def __reduce__(self) -> tuple[Any, ...]:  # pickled and copied with its pixels: the file may not be there
        return Image.frombytes, (self.mode, self.size, self.tobytes())
