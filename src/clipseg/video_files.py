"""Video files in and out, with PyAV (extra `video`).

Nothing here knows a mask: frames come out of a file upright and with their times, and go into another.
"""

from __future__ import annotations

import importlib
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from clipseg.errors import ClipsegError, MissingPackageError, OutputError, PictureError, PictureNotFoundError

_TICK = Fraction(1, 60_000)
"""Seconds. The frames of every common rate begin within 10 µs of one; MPEG-4 allows no more than 65,535 to a second."""

_MISSING = 0.1
"""Part of a video's length that may have no pictures before it is called broken off; a second may in any."""

_UPRIGHT = {
    90: Image.Transpose.ROTATE_90,  # all counter-clockwise, as FFmpeg's display matrix and Pillow both count
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video: its number from 0, its time in seconds and its picture, upright."""

    number: int
    time: Fraction
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Clip:
    """An open video: its mean rate per second, how many frames it says it has, and those frames, once."""

    rate: Fraction
    count: int | None
    frames: Iterator[Frame]


def pyav() -> Any:
    """-> the package. Raises MissingPackageError where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError:
        raise MissingPackageError(
            "video files need PyAV, which is not installed; install it with: pip install 'clipseg[video]'"
        ) from None


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Clip]:
    """A video file -> its first stream of pictures. Opened here, so that PyAV takes no name for an address."""
    av = pyav()
    try:
        file = Path(path).expanduser().open("rb")
    except FileNotFoundError:
        raise PictureNotFoundError(f"there is no video file {path}") from None
    except OSError as error:
        raise PictureError(f"cannot open {path}: {error.strerror or error}") from error
    with file:
        try:
            container = av.open(file)
        except (av.FFmpegError, OSError) as error:  # an empty file fails in Python's own seek
            raise PictureError(f"{path} cannot be read as a video: {error.strerror or error}") from error
        with container:
            if not container.streams.video:
                raise PictureError(f"{path} has no pictures in it; expected a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = _fraction(stream.average_rate) or Fraction(25)
            yield Clip(rate, stream.frames or None, _decoded(av, container, stream, rate, str(path)))


def _decoded(av: Any, container: Any, stream: Any, rate: Fraction, name: str) -> Iterator[Frame]:
    number, time, size = 0, Fraction(0), None
    try:
        for number, frame in enumerate(container.decode(stream)):
            time = frame.pts * _fraction(frame.time_base) if frame.pts is not None else time + 1 / rate
            picture = frame.to_image()
            turn = _UPRIGHT.get(round(frame.rotation / 90) * 90 % 360)
            picture = picture if turn is None else picture.transpose(turn)
            size = size or picture.size
            yield Frame(number, time, picture if picture.size == size else picture.resize(size))
        _check_length(time + 1 / rate, stream, container, name)
    except (av.FFmpegError, OSError) as error:
        raise PictureError(f"{name} breaks off after frame {number}: {error.strerror or error}") from error


def _check_length(end: Fraction, stream: Any, container: Any, name: str) -> None:
    """Warn where the last picture ends long before the video says that it does.

    FFmpeg takes half a Matroska file for a short one. No error: the sound may simply be longer than the pictures.
    """
    length = Fraction(container.duration or 0, 1_000_000)  # of the longest stream; PyAV's time_base is microseconds
    if stream.duration:
        length = stream.duration * _fraction(stream.time_base)
    if length - end + Fraction(container.start_time or 0, 1_000_000) > max(1, _MISSING * length):
        warnings.warn(
            f"{name} says that it is {float(length):.1f} s long, and its pictures end at {float(end):.1f} s; if the "
            "file is not whole, neither are the results",
            stacklevel=2,
        )


def _fraction(number: Any) -> Fraction:
    """A rational of PyAV, which may be missing -> the same, or 0."""
    return Fraction(number.numerator, number.denominator) if number else Fraction(0)


@contextmanager
def written(path: Path, rate: Fraction) -> Iterator[Callable[[Image.Image, Fraction], None]]:
    """A video file to be, of the format of its suffix -> what adds a picture at its time to it."""
    av = pyav()
    with whole_file(path) as unfinished:
        with writing(path, av.FFmpegError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(unfinished.absolute()), "w")
        with closing(container):
            stream, begin, last = None, Fraction(0), -1

            def add(picture: Image.Image, time: Fraction) -> None:
                nonlocal stream, begin, last
                with writing(path, av.FFmpegError, ValueError):
                    if stream is None:
                        stream, begin = _stream(container, rate, picture.size), time
                    even = picture.convert("RGB").crop((0, 0, stream.width, stream.height))
                    frame = av.VideoFrame.from_image(even)
                    last = frame.pts = max(last + 1, round((time - begin) / _TICK))
                    frame.time_base = _TICK
                    container.mux(stream.encode(frame))

            yield add
            with writing(path, av.FFmpegError, ValueError):
                if stream is not None:
                    container.mux(stream.encode())
                container.close()


def _stream(container: Any, rate: Fraction, size_wh: tuple[int, int]) -> Any:
    stream = container.add_stream(
        container.default_video_codec, rate=rate.limit_denominator(1001), options={"crf": "20"}
    )
    stream.width, stream.height = (max(2, side // 2 * 2) for side in size_wh)
    formats = [known.name for known in stream.codec_context.codec.video_formats or ()]
    stream.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
    stream.codec_context.time_base = _TICK
    return stream


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to be -> a name beside it to write under: it appears complete, or, if anything is raised, not at all."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        yield unfinished
        with writing(path):
            os.replace(unfinished, path)
    finally:
        with suppress(OSError):  # what went wrong before it is what matters
            unfinished.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, *more: type[Exception]) -> Iterator[None]:
    """What goes wrong in the block, as OSError or one of `more`, is raised as an OutputError about this path."""
    try:
        yield
    except ClipsegError:
        raise
    except (OSError, *more) as error:  # type: ignore[misc]  # mypy does not follow the star
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{path} cannot be written: {reason}; choose a place and a format that can hold it"
        ) from error
