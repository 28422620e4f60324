"""Pictures from wherever documented scripts have them: the web, a file, base64 text, memory. One door, `load_image`.

The only place besides `checkpoints/hub.py` that uses the network, and only when it is given a URL.
"""

import base64
import binascii
import http.client
import os
import re
import string
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from PIL import Image

from clipseg.errors import PictureError, PictureNotFoundError
from clipseg.processing.choices import ChannelDimension as ChannelDimension
from clipseg.processing.images import PictureSource, to_rgb
from clipseg.version import __version__

PILImageResampling = Image.Resampling
"""The documented name of PIL's filters."""

MAX_BYTES = 256 * 2**20
"""The largest content fetched from a URL."""
SILENCE = 60.0
"""Seconds a server may keep silent, where the call does not say."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters at least: `C://` is a drive
_GONE = (404, 410)
_SHOWN = 80  # characters of a source that a message repeats


def load_image(image: PictureSource, timeout: float | None = None, *, max_bytes: int | None = MAX_BYTES) -> Image.Image:
    """A URL, a path, base64 text, a `data:` URI or anything `to_rgb` takes -> an upright picture in mode RGB.

    A text is a URL if it starts with http:// or https://, otherwise the path of a file if there is one, otherwise
    base64. Redirects are followed, to those two schemes only. `timeout` bounds the seconds for which a server says
    nothing, `max_bytes` what it may send (None is no bound). Raises PictureNotFoundError for what is not there, and
    PictureError for what cannot be fetched or is no picture.
    """
    if not isinstance(image, str):
        return to_rgb(image)
    scheme = _SCHEME.match(image)
    if scheme is None:
        return to_rgb(image) if os.path.isfile(os.path.expanduser(image)) else _unpacked(image)
    if scheme[1].lower() not in ("http", "https"):
        raise PictureError(f"{_shown(image)} is not fetched; expected http:// or https://, or the path of a file")
    content = _fetched(image, SILENCE if timeout is None else timeout, max_bytes)
    try:
        return to_rgb(content)
    except PictureError as error:
        raise PictureError(f"{_shown(image)} is no picture: {error}") from error


def load_images(images: Any, timeout: float | None = None, *, max_bytes: int | None = MAX_BYTES) -> Any:
    """A picture, or lists of pictures however nested -> the same of `load_image`."""
    if isinstance(images, (list, tuple)):
        return [load_images(image, timeout, max_bytes=max_bytes) for image in images]
    return load_image(images, timeout, max_bytes=max_bytes)


def _unpacked(text: str) -> Image.Image:
    """Base64, plain or in a `data:` URI, line breaks and missing padding allowed -> its picture."""
    header, comma, body = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
    if header and not (comma and header.lower().endswith(";base64")):
        raise PictureError(f"{_shown(text)} is not in base64; expected data:image/...;base64,...")
    packed = "".join(body.split())
    try:
        return to_rgb(base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True))
    except (binascii.Error, ValueError) as error:  # ValueError: no ASCII, or a PictureError
        if header:
            raise PictureError(f"{_shown(text)} holds no picture: {error}") from None
        raise PictureNotFoundError(
            f"there is no picture file {_shown(text)}, and it is neither a URL (http:// or https://) "
            "nor a picture in base64"
        ) from None


def _fetched(url: str, timeout: float, max_bytes: int | None) -> bytes:
    """A URL of http or https -> its content."""
    name = _shown(url)
    try:
        # What a URL may not hold, such as spaces and umlauts, is encoded; what is encoded stays.
        request = urllib.request.Request(  # noqa: S310 - the opener knows two schemes
            urllib.parse.quote(url, safe=string.punctuation), headers={"User-Agent": f"clipseg/{__version__}"}
        )
        with _opener().open(request, timeout=timeout) as response:
            announced = response.headers.get("Content-Length", "")
            _check_bytes(int(announced) if announced.isdigit() else 0, max_bytes, name)
            content: bytes = response.read(None if max_bytes is None else max_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()
        kind = PictureNotFoundError if error.code in _GONE else PictureError
        raise kind(f"{name} answered with HTTP {error.code} ({_told(error.reason)}); expected a picture") from None
    except PictureError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise PictureError(f"{name} was silent for {timeout:g} s; try again, or allow more by timeout") from error
        raise PictureError(f"{name} cannot be fetched ({_told(reason)}); check it, or give a file") from error
    _check_bytes(len(content), max_bytes, name)
    return content


def _opener() -> urllib.request.OpenerDirector:
    """HTTP, its redirects and proxies, and nothing else: a redirect to file: or ftp: finds no handler."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _check_bytes(count: int, most: int | None, name: str) -> None:
    if most is not None and count > most:
        raise PictureError(f"{name} sends more than {most:,} bytes; download it yourself, or raise max_bytes")


def _told(reason: object) -> str:
    return _shown(" ".join(str(reason).split())) or type(reason).__name__


def _shown(source: str) -> str:
    return source if len(source) <= _SHOWN else f"{source[:_SHOWN]}..."
