"""Labels as parts of file names."""

import re
import unicodedata
from collections.abc import Iterable

MAX_BYTES = 80
"""Longest slug in UTF-8 bytes: file systems allow 255 for a name, and stem, number and suffix need room too."""

_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


def slug(label: str) -> str:
    """A label -> a file name part of letters, digits and single dashes: "a red cup" -> "a-red-cup".

    Lower case, letters of every script kept, at most `MAX_BYTES` bytes, never empty ("prompt" then), never a path
    separator, a dot or a name that Windows keeps for a device. A slug is its own slug.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).lower())
    kept = "".join(letter if letter.isalnum() or unicodedata.category(letter)[0] == "M" else "-" for letter in text)
    dashed = re.sub("-+", "-", kept).strip("-")
    short = dashed.encode()[:MAX_BYTES].decode(errors="ignore").rstrip("-")
    if short in _DEVICES:
        return f"{short}-prompt"
    return short or "prompt"


def unique_slugs(labels: Iterable[str]) -> list[str]:
    """Labels -> their slugs in order, a repeated one numbered: "cup", "cup-2", "cup-3".

    They also differ on file systems that do not tell upper from lower case.
    """
    taken: set[str] = set()
    slugs: list[str] = []
    for label in labels:
        base = name = slug(label)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        slugs.append(name)
    return slugs
