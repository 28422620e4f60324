"""Finding one mask among several by its label or its position."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from clipseg.errors import PromptError


class LabelError(PromptError, KeyError, IndexError):
    """A label or position that some masks do not have, or a label that several of them share."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


def position_of(key: str | int, labels: Sequence[str]) -> int:
    """A label, or a position that may count from the end -> the position from 0. Raises LabelError."""
    if not isinstance(key, str):
        position = index(key)
        if not -len(labels) <= position < len(labels):
            raise LabelError(f"there is no mask {position}: there are {len(labels)}, counted from 0")
        return position % len(labels)
    found = [n for n, label in enumerate(labels) if label == key]
    if not found:
        raise LabelError(f"there is no mask {key!r}; there are: {', '.join(map(repr, labels))}")
    if len(found) > 1:
        raise LabelError(f"{key!r} is the label of masks {', '.join(map(str, found))}; take one by its position")
    return found[0]
