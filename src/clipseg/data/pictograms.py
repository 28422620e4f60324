"""Which pictograms synthetic scenes are made of, what they are called and what they look like.

The pictures come from Debian's `fonts-noto-color-emoji` (Noto Color Emoji, SIL OFL 1.1) and the names from Debian's
`unicode-cldr-core` (the annotations of the Unicode CLDR, Unicode licence). Neither is shipped here. The variables
`CLIPSEG_EMOJI_FONT` (a font file) and `CLIPSEG_CLDR` (the folder `common` of CLDR) say where else to look; they are
read when a function is called.

Letters: K kinds, S side of a square picture in pixels.
"""

import json
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clipseg.data.kinds import HELD_OUT, NOT_NAMES, SEEN
from clipseg.errors import DataError, MissingPackageError, OutputError

_FONT = ("CLIPSEG_EMOJI_FONT", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", "fonts-noto-color-emoji")
_CLDR = ("CLIPSEG_CLDR", "/usr/share/unicode/cldr/common", "unicode-cldr-core")
_GLYPH_SIZE = 109  # the one size of the font's embedded bitmaps, which are 136 x 128 pixels
_PRESENTATION = "\ufe0f"  # "draw me in colour": CLDR and the font key their rows without it
_MARGIN = 1  # clear pixels around a sprite, so that turning it leaves no hard edge where it touched its box


@dataclass(frozen=True)
class Pictogram:
    """One kind: its character, its short name and other names that mean no other kind; all names are lower case."""

    character: str
    name: str
    synonyms: tuple[str, ...]


def pictograms(
    characters: Iterable[str] = SEEN + HELD_OUT, *, font: str | Path | None = None, cldr: str | Path | None = None
) -> list[Pictogram]:
    """Characters -> what CLDR calls them in English, in the same order.

    Synonyms are CLDR's keywords less the ones that name another kind too (of `characters`, `SEEN` or `HELD_OUT`, so a
    kind is called the same in every selection) and less those that are no name of the thing ("pet", "wise"). A kind
    called "cat face" is also a "cat". Raises MissingPackageError without the font or CLDR, DataError for a character
    either does not know and for one given twice.
    """
    characters = _distinct(characters)
    _located(font, _FONT)
    tables = [
        _annotations(_located(cldr, _CLDR) / folder / "en.xml") for folder in ("annotations", "annotationsDerived")
    ]
    names = tables[1][0] | tables[0][0]
    keywords = tables[1][1] | tables[0][1]
    everyone = dict.fromkeys((*characters, *SEEN, *HELD_OUT))
    if unknown := [character for character in characters if character not in names]:
        raise DataError(f"no English name for {', '.join(unknown)} in CLDR; expected single emoji characters")
    known = [character for character in everyone if character in names]
    heads = {character: names[character].removesuffix(" face") for character in known}
    claims = {character: {heads[character], *keywords.get(character, ())} for character in known}
    claimed = Counter(word for words in claims.values() for word in words)
    taken = Counter(word for character in known for word in {names[character], heads[character]})
    chosen = []
    for character in characters:
        name, head = names[character], heads[character]
        own = {word for word in claims[character] if claimed[word] == 1 and not taken[word] and word not in NOT_NAMES}
        if taken[head] == 1 and head not in NOT_NAMES:
            own.add(head)
        chosen.append(Pictogram(character, name, tuple(sorted(own - {name}))))
    return chosen


def sprites(characters: Iterable[str], size: int = 128, font: str | Path | None = None) -> NDArray[np.uint8]:
    """K characters -> (K, S, S, 4) RGBA with straight alpha: each trimmed to what it draws and centred.

    The longer side of a drawing spans the square less one clear pixel at either end. Raises MissingPackageError without
    the font, DataError for a character it draws nothing (or nothing coloured) for.
    """
    if size < 8:
        raise DataError(f"sprite size is {size}; expected at least 8 pixels")
    path = _located(font, _FONT)
    try:
        face = ImageFont.truetype(path, _GLYPH_SIZE)
    except OSError as error:
        raise DataError(
            f"{path} is no font with {_GLYPH_SIZE}-pixel colour bitmaps ({error}); expected Noto Color Emoji, "
            f"see {_FONT[0]}"
        ) from error
    return np.stack([_sprite(character, face, size) for character in _distinct(characters)])


def write_vocabulary(path: str | Path, kinds: Sequence[Pictogram]) -> None:
    """Kinds -> a JSON list of {"name", "synonyms", "character"}. Raises OutputError if it cannot be written."""
    try:
        Path(path).write_text(
            json.dumps([asdict(kind) for kind in kinds], ensure_ascii=False, indent=1) + "\n", "utf-8"
        )
    except OSError as error:
        raise OutputError(f"cannot write the vocabulary to {path}: {error.strerror}") from error


def _sprite(character: str, face: ImageFont.FreeTypeFont, size: int) -> NDArray[np.uint8]:
    canvas = Image.new("RGBA", (2 * _GLYPH_SIZE, 2 * _GLYPH_SIZE))
    ImageDraw.Draw(canvas).text((_GLYPH_SIZE // 4, _GLYPH_SIZE // 4), character, font=face, embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    if box is None or not np.asarray(canvas.crop(box))[..., :3].any():
        raise DataError(f"the font draws nothing coloured for {character!r}; expected an emoji that it has")
    drawing = canvas.crop(box)
    scale = (size - 2 * _MARGIN) / max(drawing.size)
    width, height = (max(1, round(side * scale)) for side in drawing.size)
    square = Image.new("RGBA", (size, size))
    resized = drawing.resize((width, height), Image.Resampling.BICUBIC)  # Pillow weighs colours by alpha here
    square.paste(resized, ((size - width) // 2, (size - height) // 2))
    return np.asarray(square)


def _distinct(characters: Iterable[str]) -> list[str]:
    plain = [character.replace(_PRESENTATION, "") for character in characters]
    if not plain:
        raise DataError("no pictograms chosen; expected at least one character")
    if twice := [character for character, count in Counter(plain).items() if count > 1]:
        raise DataError(f"pictograms given more than once: {', '.join(twice)}; each kind is listed once")
    return plain


def _located(given: str | Path | None, where: tuple[str, str, str]) -> Path:
    """What the caller gave, else the environment's, else Debian's path."""
    variable, default, package = where
    path = Path(given or os.environ.get(variable) or default)
    if not path.exists():
        raise MissingPackageError(
            f"{path} is not there; synthetic scenes need Debian's {package} (apt install {package}), "
            f"or {variable} set to where it is"
        )
    return path


def _annotations(path: Path) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """A file of CLDR annotations -> short names and keywords by character, all in lower case."""
    if not path.is_file():
        raise MissingPackageError(
            f"{path} is not there; names of pictograms need Debian's {_CLDR[2]} (apt install {_CLDR[2]}), "
            f"or {_CLDR[0]} set to CLDR's folder `common`"
        )
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 (a system package's own file, not a user's)
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not readable as XML ({error}); expected CLDR annotations") from error
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for row in root.iter("annotation"):
        character, text = row.get("cp", ""), (row.text or "").lower()
        if row.get("type") == "tts":
            names[character] = text.strip()
        else:
            keywords[character] = tuple(word.strip() for word in text.split("|"))
    return names, keywords
