"""Labels as the numbered classes of a data set."""

import os
import unicodedata
from collections.abc import Sequence

from clipseg.errors import DataError, UsageError


class Classes:
    """Names of classes, numbered from 0 in the order in which they came: those given first, then each new label.

    Names are as `one_line` makes them. Raises UsageError for names that are no strings, are empty or come twice.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"classes are a sequence of names; got {names!r}")
        self._numbers = {one_line(name): number for number, name in enumerate(names)}
        if len(self._numbers) != len(names) or "" in self._numbers:
            raise UsageError(f"names of classes must not be empty or come twice; got {list(names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All names so far, in order."""
        return tuple(self._numbers)

    def number(self, label: str) -> int:
        """A label -> its number, the next free one where it is new. Raises UsageError for an empty label."""
        name = one_line(label)
        if not name:
            raise UsageError("a label without letters cannot name a class; give the prompt a label")
        return self._numbers.setdefault(name, len(self._numbers))

    def after(self, listed: Sequence[str], path: str | os.PathLike[str]) -> "Classes":
        """The names that a file lists already -> classes in which these come first. Raises DataError for the file."""
        try:
            first = Classes(listed).names
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error
        return Classes([*first, *(name for name in self.names if name not in first)])


def one_line(label: str) -> str:
    """A label -> the same on one line, with single spaces.

    Files that name classes have a line for each, and neither XML nor YAML can hold every character: what is no text
    (controls, halves of surrogate pairs, U+FFFE and U+FFFF) counts as white space.
    """
    return " ".join("".join(letter if is_text(letter) else " " for letter in label).split())


def is_text(letter: str) -> bool:
    """Whether every kind of file can hold a character."""
    return unicodedata.category(letter) not in ("Cc", "Cs") and ord(letter) & 0xFFFE != 0xFFFE
