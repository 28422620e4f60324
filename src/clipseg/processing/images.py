"""The one door for pictures (`to_rgb`) and for the masks that belong to them (`to_mask`).

Legend: H, W height and width in pixels, C channels.
"""

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipseg.errors import PictureError, PictureNotFoundError, PromptError

if TYPE_CHECKING:
    import torch

DEFAULT_MAX_PIXELS = 200_000_000

PictureSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
)

# Formats of pixels and nothing else. Pillow knows more, among them EPS, which starts a Ghostscript process.
FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"),
    *("MPO", "ICO", "DIB", "PCX", "QOI", "SGI", "TGA"),
)
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2"),
    *(".ppm", ".pgm", ".pbm", ".qoi", ".tga", ".mpo"),
)
"""What makes a file of a folder a picture; one that is named is opened whatever it is called."""

# What a format's reader raises when the file is of another format, as in `Image.open`.
NOT_THIS_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)

ORIENTATION = 0x0112  # EXIF tag; its values, except 1 (upright), and the way back (EXIF 2.32, section 4.6.4)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {UPRIGHT[value] for value in (5, 6, 7, 8)}  # these swap height and width
_WARNING_FILTERS = threading.Lock()


def to_rgb(source: "PictureSource | FileContent", *, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Any picture -> an upright picture in mode RGB, 8 bits per channel.

    A path (`~` is expanded), the bytes of a file, an open binary file, a PIL image, a numpy array or a torch tensor.
    Files: EXIF orientation is applied, transparency laid on white, 16 bits scaled to 8, of an animation the first frame
    is taken. Arrays: (H, W), (H, W, C) or (C, H, W) with C = 1, 3 or 4, of bool, uint8, uint16 (0...65535), other
    integers (0...255) or floats (0...1); where both ends could be channels, an array has them last and a tensor first.
    A picture that is RGB and upright already comes back itself. `max_pixels` bounds H * W, and is checked before
    anything is decoded; None is no bound. Raises PictureNotFoundError for a missing file, and PictureError for
    whatever is no whole picture.
    """
    array = as_array(source)
    if array is None:
        return flatten(decoded(source, max_pixels=max_pixels), "white")
    return flatten(_picture_of(array, not isinstance(source, np.ndarray), max_pixels), "white")


def to_mask(
    source: PictureSource, size_hw: tuple[int, int], *, max_pixels: int | None = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.bool_]:
    """A mask of a picture of size (H, W) -> bool (H, W), True inside.

    Sources as in `to_rgb`; arrays are (H, W), or have one channel. Inside is what is above half of the range: white,
    255, 1.0 or True; with integers that go no further than 1, it is 1. Of colours the brightest channel counts, and
    what is transparent is outside. Raises PromptError for another size or for values out of range, and PictureError
    for a file that cannot be read.
    """
    array = as_array(source)
    if array is None:
        array = np.asarray(flatten(decoded(source, max_pixels=max_pixels), "black")).max(axis=2)  # (H, W)
    elif array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[:, :, 0]
    if array.shape != tuple(size_hw):
        raise PromptError(
            f"mask is {_by(array.shape)} but its picture is {_by(size_hw)}; "
            "an image prompt needs a mask of its picture's own size"
        )
    if array.dtype == bool:
        return array
    floats = np.issubdtype(array.dtype, np.floating)
    if not floats and not np.issubdtype(array.dtype, np.integer):
        raise PromptError(f"a mask holds bool, integers or floats, got {array.dtype}")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    top = 1 if floats or high <= 1 else 65535 if _is_16_bit(array) else 255
    if not (low >= 0 and high <= top):  # also true of NaN
        raise PromptError(f"a mask of {array.dtype} has values from 0 to {top}, got {low}...{high}")
    return np.asarray(array > top / 2)


def as_array(source: object) -> npt.NDArray[Any] | None:
    """A numpy array or a torch tensor, on any device -> a numpy array of the same shape; None for anything else."""
    if isinstance(source, np.ndarray):
        return source
    # By its module's name, so that pictures from files need no torch.
    if type(source).__module__.partition(".")[0] != "torch":
        return None
    import torch

    if not isinstance(source, torch.Tensor):
        return None
    tensor = source.detach().cpu()
    return np.asarray(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)  # numpy has no bfloat16


def flatten(picture: Image.Image, background: str) -> Image.Image:
    """A picture of any mode -> mode RGB, transparency laid on `background` ("white" or "black")."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    with _one_line(f"this picture of mode {picture.mode}"):
        picture = _eight_bits(picture)
        if picture.has_transparency_data:
            if picture.mode == "La":  # premultiplied grey, which Pillow takes to RGBA by way of LA only
                picture = picture.convert("LA")
            paper = Image.new("RGBA", picture.size, background)
            picture = Image.alpha_composite(paper, picture.convert("RGBA"))
        return picture.convert("RGB")


def upright_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """A picture's file -> its (H, W) once it is upright, from the header alone. Raises as `to_rgb`."""
    with identified(os.fspath(path)) as (picture, _):
        return _upright_size(picture)


def decoded(source: Any, *, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> Image.Image:
    """A path, bytes, an open file or a PIL image -> an upright picture in the mode it has. Raises as `to_rgb`."""
    with identified(source) as (picture, name):
        return _load(picture, name, max_pixels)


def reduced_rgb(
    source: "str | os.PathLike[str] | bytes | FileContent",
    least: int,
    *,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
) -> tuple[Image.Image, tuple[int, int]]:
    """A picture's file -> the picture, upright and RGB, perhaps smaller, and the (H, W) that it has in full.

    A JPEG comes back at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that leaves its shorter side `least` pixels
    long: they are decoded from the lowest frequencies alone, which is faster, and about what averaging the pixels
    gives. Every other file is decoded in full. Raises as `to_rgb`.
    """
    with identified(source) as (picture, name):
        _check_size(picture.size, max_pixels, name)
        size_hw = _upright_size(picture)
        picture.draft(None, (least, least))  # which only a JPEG heeds
        return flatten(_load(picture, name, None), "white"), size_hw


@dataclass(frozen=True)
class FileContent:
    """The bytes of a picture's file, and the name that errors give them: a file as it was when it was read."""

    content: bytes
    name: str


@contextmanager
def identified(source: Any) -> Iterator[tuple[Image.Image, str]]:
    """A path, bytes, an open file or a PIL image -> the picture with its header read, and what to call it.

    A path's file is open within the block. Raises as `to_rgb`.
    """
    if isinstance(source, Image.Image):
        yield source, "this picture"
    elif isinstance(source, FileContent):
        yield _identified(io.BytesIO(source.content), source.name), source.name
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name = f"a picture of {len(source)} bytes"
        yield _identified(io.BytesIO(source), name), name
    elif isinstance(source, (str, os.PathLike)):
        name = file_name(source)
        with open_file(name) as stream:
            whole = stream if stream.seekable() else io.BytesIO(stream.read())  # a pipe, such as <(…) of a shell
            yield _identified(whole, name), name
    elif hasattr(source, "read"):
        with _one_line("an open file"):
            if hasattr(source, "seekable") and source.seekable():
                source.seek(0)
            content = source.read()
        if not isinstance(content, bytes):
            raise PictureError(f"an open file gave {type(content).__name__}, not bytes; open it in binary mode")
        with identified(content) as found:
            yield found
    else:
        raise PictureError(
            f"{type(source).__name__} is no picture; "
            "give a path, bytes, an open file, a PIL image, an array or a tensor"
        )


def file_name(path: str | os.PathLike[str]) -> str:
    """A path -> the name of a file. Raises PictureError for an address."""
    name = os.fsdecode(os.fspath(path))
    if name.lower().startswith(("http://", "https://")):
        raise PictureError(f"{name} is a URL; download it first, then give the file or its bytes")
    return name


def open_file(name: str) -> IO[bytes]:
    """A name, `~` and all -> the file, open. Raises PictureNotFoundError, and PictureError."""
    if not name:  # which to Path is the folder that one is in
        raise PictureError("the name of a picture file is empty; give one, such as photo.jpg")
    try:
        return Path(name).expanduser().open("rb")
    except FileNotFoundError as error:
        raise PictureNotFoundError(f"there is no picture file {name}") from error
    except IsADirectoryError as error:
        raise PictureError(f"{name} is a folder, expected a picture file") from error
    except (OSError, ValueError, RuntimeError) as error:  # no permission; a NUL in the name; no home folder
        raise PictureError(f"cannot open {name!r}: {getattr(error, 'strerror', None) or error}") from error


def _identified(stream: IO[bytes], name: str) -> Image.Image:
    """An open file -> a picture of which the header is read.

    This is `Image.open` over FORMATS without its check for decompression bombs, which ends in a warning or in an error
    of Pillow's own. A warning can be silenced only for all threads at once (`warnings.catch_warnings` swaps a global),
    and the bound is a global too; here `max_pixels` bounds the size that the header states.
    """
    prefix = stream.read(16)
    if not prefix:
        raise PictureError(f"{name} is empty (0 bytes), expected a picture")
    tried: set[str] = set()
    for register_readers in (Image.preinit, Image.init):  # the common ones first, the others are slow to import
        register_readers()
        for kind in FORMATS:
            if kind in tried or kind not in Image.OPEN:
                continue
            tried.add(kind)
            reader, accepts = Image.OPEN[kind]
            with _one_line(name):
                try:
                    accepted = accepts is None or accepts(prefix)
                    if not accepted or isinstance(accepted, str):  # a string: why this Pillow cannot read the format
                        continue
                    stream.seek(0)
                    picture = reader(stream, "")  # given a name, Pillow maps some files: pixels that change with them
                except NOT_THIS_FORMAT:
                    continue
                return picture
    raise PictureError(f"{name} is no picture that can be read here; expected one of {', '.join(FORMATS)}")


def _load(picture: Image.Image, name: str, max_pixels: int | None) -> Image.Image:
    """A picture whose header is read -> decoded to its last pixel and upright."""
    _check_size(picture.size, max_pixels, name)
    huge = Image.MAX_IMAGE_PIXELS is not None and picture.width * picture.height > Image.MAX_IMAGE_PIXELS
    with _one_line(name), _without_bomb_warnings() if huge else nullcontext():
        picture.load()
        turn = UPRIGHT.get(_orientation(picture))
        if turn is not None:
            picture = picture.transpose(turn)
            picture.info.clear()  # a copy; it still says that the picture has to be turned
    return picture


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    turned = UPRIGHT.get(_orientation(picture)) in SIDEWAYS
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # as for any reader; and pixels are pixels, whatever is wrong with the note beside them
        return 1


def _picture_of(array: npt.NDArray[Any], channels_first: bool, max_pixels: int | None) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) -> a picture of mode L, RGB or RGBA; `channels_first` decides where both fit."""
    if array.ndim == 3:
        first, last = array.shape[0] in (1, 3, 4), array.shape[2] in (1, 3, 4)
        if not (first or last):
            raise PictureError(f"an array of shape {array.shape} has no axis of 1, 3 or 4 channels, first or last")
        if first and (channels_first or not last):
            array = np.moveaxis(array, 0, 2)  # (H, W, C)
        if array.shape[2] == 1:
            array = array[:, :, 0]
    elif array.ndim != 2:
        raise PictureError(f"a picture is (H, W), (H, W, C) or (C, H, W), got shape {array.shape}; give one at a time")
    _check_size((array.shape[1], array.shape[0]), max_pixels, "this array")
    return Image.fromarray(np.ascontiguousarray(_bytes_of(array)))


def _bytes_of(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pixels of any dtype, none empty -> the same on the scale of uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    floats = np.issubdtype(array.dtype, np.floating)
    if not floats and not np.issubdtype(array.dtype, np.integer):
        raise PictureError(f"pixels are bool, integers or floats, got {array.dtype}")
    top = 1 if floats else 65535 if _is_16_bit(array) else 255
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= top):  # also true of NaN
        raise PictureError(f"pixels of {array.dtype} are from 0 to {top}, got {low}...{high}; scale them first")
    return np.rint(array.astype(np.float64) * (255 / top)).astype(np.uint8)


def _is_16_bit(array: npt.NDArray[Any]) -> bool:
    """Whether numbers are uint16, in either byte order, of which `==` knows only the machine's own."""
    return array.dtype.kind == "u" and array.dtype.itemsize == 2


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits (mode I;16 in its byte orders, or I) or of floats in 0...1 (F) -> mode L; others as they are."""
    if picture.mode == "F":
        return Image.fromarray(_bytes_of(np.asarray(picture)))
    if not picture.mode.startswith("I"):
        return picture
    pixels = np.asarray(picture)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise PictureError(f"grey of mode {picture.mode} is from 0 to 65535, got {pixels.min()}...{pixels.max()}")
    return Image.fromarray(_bytes_of(pixels.astype(np.uint16)))


def _check_size(size: tuple[int, int], max_pixels: int | None, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"{name} is {height}x{width}, expected at least 1x1")
    if max_pixels is not None and width * height > max_pixels:
        raise PictureError(
            f"{name} is {height}x{width} = {width * height:,} pixels, allowed are {max_pixels:,}; "
            "scale it down, or raise max_pixels"
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Whatever a reader or converter raises on broken data (there is no list of it) -> a PictureError."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(
            f"{name} cannot be read whole: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


@contextmanager
def _without_bomb_warnings() -> Iterator[None]:
    """Pillow's warning about a size `max_pixels` has just allowed, silenced.

    Only some TIFFs and GIFs above Pillow's own bound still meet its check while they are decoded, so the global that
    `catch_warnings` swaps is touched for those alone, by one of our threads at a time.
    """
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
