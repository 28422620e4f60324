"""Which pictures are meant: files, folders, globs, lists of files, and standard input."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipseg.cli.options import Adder, added, option
from clipseg.errors import PictureNotFoundError, UsageError
from clipseg.formats.table import FORMATS
from clipseg.processing.images import SUFFIXES

STANDARD = "-"
STANDARD_STEM = "stdin"

KINDS = ("mask", "preview", *(name for name, row in FORMATS.items() if name != "png" and row.scope != "data set"))
"""What the names of results end in, before the suffix and the number of a part."""

_RESULT = re.compile(rf"\.({'|'.join(KINDS)})(\.\d+)?\.png$")
_MAGIC = re.compile(r"[*?[]")

input_options: Adder = added(
    option("Pictures", "-r", "--recursive", is_flag=True, help="Go into the folders of a folder as well."),
    option(
        "Pictures",
        "--from-file",
        "listed",
        metavar="FILE|-",
        help="A file that lists pictures, one a line; - for standard input.",
    ),
)


@dataclass(frozen=True)
class Picture:
    """One picture to work on.

    Fields
        path   of its file; `-` for standard input
        below  where it lies below the folder that was named; its results lie there below theirs
    """

    path: str
    below: Path = Path()

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return STANDARD_STEM if self.path == STANDARD else Path(self.path).stem

    @property
    def name(self) -> str:
        """Its path below the folder that was named."""
        own = f"{STANDARD_STEM}.png" if self.path == STANDARD else Path(self.path).name
        return (self.below / own).as_posix()

    def source(self) -> str | bytes:
        """-> what `to_rgb` opens."""
        return sys.stdin.buffer.read() if self.path == STANDARD else self.path


def find_pictures(
    arguments: Sequence[str], *, recursive: bool, listed: str | None, prompted: bool = True
) -> list[Picture]:
    """Arguments and a list -> the pictures that are meant, each once, in order; those of a folder by their names.

    Raises UsageError where none are given, and PictureNotFoundError for a file that is not there and for a folder or
    pattern that has none. What a list names is found missing only when its turn comes, as a broken picture is.
    """
    if STANDARD in arguments and (listed == STANDARD or len(arguments) > 1 or listed):
        raise UsageError("the picture on standard input (-) is worked on alone; leave out the others")
    found = [picture for argument in arguments for picture in _meant(argument, recursive, prompted)]
    if listed is not None:
        found += [Picture(line) for line in _lines(listed)]
    if not found:
        raise UsageError("no picture given; name files, folders or patterns, - for standard input, or --from-file")
    first: dict[str, Picture] = {}
    for picture in found:
        first.setdefault(os.path.abspath(os.path.expanduser(picture.path)), picture)
    return list(first.values())


def is_file(path: str) -> bool:
    """Whether something is there that can be read: a file, or a pipe."""
    path = os.path.expanduser(path)
    return os.path.exists(path) and not os.path.isdir(path)


def _meant(argument: str, recursive: bool, prompted: bool) -> Iterator[Picture]:
    path = os.path.expanduser(argument)
    if argument == STANDARD or is_file(path):
        yield Picture(argument)
    elif os.path.isdir(path):
        yield from _folder(argument, path, recursive)
    elif _MAGIC.search(argument):
        matches = [match for match in sorted(glob.glob(path, recursive=True)) if os.path.isfile(match)]
        if not matches:
            raise PictureNotFoundError(f"no file matches {argument!r}")
        yield from map(Picture, matches)
    elif not prompted and not Path(argument).suffix:
        raise PictureNotFoundError(f"there is no picture file {argument!r}; did you mean -p {shlex.quote(argument)}?")
    elif "://" in argument:
        raise PictureNotFoundError(f"{argument} is an address, and nothing is fetched; download it first")
    else:
        raise PictureNotFoundError(f"there is no picture file {argument}")


def _folder(argument: str, folder: str, recursive: bool) -> Iterator[Picture]:
    found = False
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(files):
            is_picture = name.lower().endswith(SUFFIXES) and not name.startswith(".")
            if is_picture and not _RESULT.search(name):  # of an earlier run into the same folder
                found = True
                yield Picture(str(Path(place, name)), Path(os.path.relpath(place, folder)))
    if not found:
        hint = "" if recursive else "; with --recursive its folders are searched as well"
        raise PictureNotFoundError(f"{argument} is a folder with no pictures in it{hint}")


def _lines(listed: str) -> list[str]:
    """A file of paths -> the paths; a line each, or as `find -print0` has them."""
    try:
        data = sys.stdin.buffer.read() if listed == STANDARD else Path(listed).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"--from-file {listed} cannot be read ({error.strerror or error})") from error
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]
