"""Values with parameters, as one word: `overlay:alpha=0.5,legend=no`. Command line and server read them alike."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from clipseg.errors import UsageError

Parameters = dict[str, Any]

_WORDS = {"yes": True, "true": True, "no": False, "false": False, "none": None}


def near(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """A word that is not known and those that are -> "did you mean …?", or the list of them."""
    close = get_close_matches(word, tuple(known), 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def named_values(option: str, text: str) -> list[tuple[str, Parameters]]:
    """`a:x=1,y=2,b` -> [("a", {"x": 1.0, "y": 2.0}), ("b", {})]: names, separated by commas, and their parameters.

    Numbers, yes, no and none are read, several numbers are joined by `/`, and the rest stays text. Raises UsageError
    for a parameter without a name before it.
    """
    found: list[tuple[str, Parameters]] = []
    for part in text.split(","):
        head, equals, value = part.partition("=")
        name, colon, key = head.partition(":")
        if colon or not equals:
            found.append((name.strip(), {}))
        key = key if colon else head
        if equals and found and key.strip():
            found[-1][1][key.strip()] = _value(value.strip())
        elif equals or colon:
            raise UsageError(f"{option} {text!r} is not to be read at {part!r}; expected NAME or NAME:KEY=VALUE,…")
    return found


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        numbers = tuple(float(part) for part in text.split("/"))
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers
