"""What files of results are called: a template, and names that never meet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path, PurePath
from string import Formatter

from clipseg.cli.values import near
from clipseg.errors import UsageError

STEM_BYTES = 150  # file systems allow 255 for a name; a slug takes up to 80, and numbers and suffixes need room
NAME_BYTES = 255

FIELDS: dict[str, str | int] = {
    "stem": "cat",
    "prompt": "a-cup",
    "kind": "mask",
    "index": 1,
    "instance": 1,
    "picture": 1,
    "folder": "photos",
}
"""What a template may speak of, each with an example of it."""

DEFAULT = "{stem}.{prompt}.{kind}"
DEFAULT_OF_INSTANCES = "{stem}.{prompt}.{instance}.{kind}"


class NameTemplate:
    """A template of names such as `{stem}.{prompt}.{kind}`, below the folder of results.

    Raises UsageError for fields that are not known, and for names that would lie elsewhere.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.fields = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise UsageError(f"--name {text!r} is no template ({error}); such as {DEFAULT}") from error
        for name in sorted(self.fields - set(FIELDS)):
            raise UsageError(f"--name has no field {{{name}}}; {near(name, tuple(FIELDS))}")
        try:
            example = PurePath(self.formatted(FIELDS, ""))
        except (ValueError, TypeError) as error:
            raise UsageError(f"--name {text!r} is no template ({error}); such as {DEFAULT}") from error
        if not example.name or text.endswith(("/", os.sep)) or example.is_absolute() or ".." in example.parts:
            raise UsageError(f"--name {text!r} must name a file below the folder of results; such as {DEFAULT}")

    def formatted(self, values: dict[str, str | int], suffix: str) -> str:
        """The fields' values -> a name, with its suffix unless it has that already."""
        name = self.text.format(**values)
        return name if suffix and name.lower().endswith(suffix) else name + suffix


def unique_stems(stems: Iterable[str]) -> list[str]:
    """Stems of files -> the same in order, shortened where they are long, and repeated ones numbered: "cat", "cat-2".

    They also differ on file systems that do not tell upper from lower case.
    """
    taken: set[str] = set()
    unique: list[str] = []
    for given in stems:
        stem = os.fsencode(given)[:STEM_BYTES].decode(errors="ignore") or "picture"
        names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        unique.append(next(name for name in names if name.casefold() not in taken))
        taken.add(unique[-1].casefold())
    return unique


def check_names(written: Iterable[Path], inputs: Sequence[str]) -> None:
    """Refuse files of one name, and files that are read: a mask of an earlier run may be among the pictures."""
    read = {os.path.realpath(os.path.expanduser(path)) for path in inputs}
    taken: set[str] = set()
    for path in written:
        if os.path.realpath(path) in read:
            raise UsageError(f"{path} is one of the inputs and would be overwritten; name another place with -o")
        folded = str(path).casefold()
        if folded in taken:
            raise UsageError(
                f"two results would be called {path}; add {{stem}}, {{prompt}}, {{index}} or {{kind}} to --name"
            )
        if len(os.fsencode(path.name)) > NAME_BYTES:
            raise UsageError(f"the name {path.name[:40]!r}… is longer than {NAME_BYTES} bytes; give a shorter --name")
        taken.add(folded)
