"""Text on pictures with the one font that is everywhere: the one inside Pillow."""

import unicodedata
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

_MISSING = "\U0010fffd"  # a private code point: no font of ours has it
_SPELLED = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "ı": "i"}
    | {"–": "-", "—": "-", "×": "x", "•": "·"}
)
"""Spelled with what the font has; letters with accents lose them by Unicode decomposition instead."""


@lru_cache(maxsize=16)
def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a height in pixels."""
    return ImageFont.load_default(size=pixels)


@lru_cache(maxsize=4096)
def _drawn(character: str) -> bytes:
    canvas = Image.new("L", (32, 32))
    ImageDraw.Draw(canvas).text((4, 4), character, fill=255, font=font(16))
    return canvas.tobytes()


def printable(text: str) -> str:
    """Any text -> one line the font can draw: accents dropped, "?" for a character that has no likeness in it."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()).translate(_SPELLED))
    visible = (character for character in decomposed if unicodedata.category(character)[0] not in "MC")
    return "".join(character if _drawn(character) != _drawn(_MISSING) else "?" for character in visible)


def shortened(text: str, width: float, pixels: int) -> str:
    """The text, or as much of its beginning as fits into `width` pixels together with an ellipsis."""
    if font(pixels).getlength(text) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font(pixels).getlength(f"{text[:middle].rstrip()}…") <= width:
            fits = middle
        else:
            too_long = middle
    return f"{text[:fits].rstrip()}…"
