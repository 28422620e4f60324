"""What has been added so far to a file that appears whole: it outlives a run that was ended, and the next one goes on.

Beside `set.json` it is `.set.json.partial.jsonl`: a JSON object a line. It is there while a file is being written, and
stays where that did not end well. One run writes a file at a time.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from clipseg.errors import DataError, UsageError
from clipseg.formats.files import WholeFile, json_text, named_errors

Row = dict[str, Any]


class Journal:
    """Rows beside a file, each handed to the system as it is added. Of rows with one key the last one counts.

    `key` gives a row's key, and raises KeyError, TypeError or AttributeError for what is no row. A last line without
    its end was being written when its run was ended, and is dropped.
    """

    def __init__(self, path: str | os.PathLike[str], key: Callable[[Row], Any]) -> None:
        self.goal = Path(path)
        self.path = self.goal.with_name(f".{self.goal.name}.partial.jsonl")
        self._key = key
        self._places: dict[Any, int] = {}
        self._added: set[Any] = set()
        self._file: BinaryIO | None = None
        self._is_open = False

    @property
    def keys(self) -> tuple[Any, ...]:
        """Keys in the order in which they came first."""
        return tuple(self._places)

    def open(self) -> None:
        """Read what an earlier run left. Raises DataError, which names the line."""
        self._places, self._added, end = {}, set(), 0
        if self.path.exists():
            try:
                with self.path.open("rb") as file:
                    for number, line in enumerate(file, 1):
                        if line.endswith(b"\n"):
                            self._places[self._read_key(line, number)] = end
                            end += len(line)
            except OSError as error:
                raise DataError(f"{self.path} cannot be read ({error.strerror or error})") from error
            with named_errors(self.path):
                os.truncate(self.path, end)
        self._is_open = True

    def add(self, row: Row) -> None:
        """Add a row. Raises OutputError, UsageError for a key of this very run and where nothing is open."""
        if not self._is_open:
            raise UsageError("nothing can be added outside the writer's block: with CocoWriter(path) as coco: ...")
        key = self._key(row)
        if key in self._added:
            raise UsageError(
                f"{key!r} was added before; each picture of a data set is added once, by a name of its own"
            )
        with named_errors(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab")
            place = self._file.tell()
            self._file.write(f"{json_text(row)}\n".encode())
            self._file.flush()
        self._places[key] = place
        self._added.add(key)

    def rows(self) -> Iterator[Row]:
        """-> the last row of each key, in the order of `keys`, read one by one."""
        if self._places:
            with self.path.open("rb") as file:
                for place in self._places.values():
                    file.seek(place)
                    row: Row = json.loads(file.readline())
                    yield row

    def close(self, whole: Iterator[str] | None) -> None:
        """Write the whole file, given piece by piece, and take the journal away; without it keep the journal."""
        self._is_open = False
        if self._file is not None:
            self._file.close()
            self._file = None
        if whole is not None:
            with WholeFile(self.goal) as file:
                for text in whole:
                    file.write(text.encode())
            with named_errors(self.path):
                self.path.unlink(missing_ok=True)

    def _read_key(self, line: bytes, number: int) -> Any:
        try:
            return self._key(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{self.path}, line {number}: expected a picture that an earlier run has added "
                f"({type(error).__name__}: {error}); mend or delete the file"
            ) from error
