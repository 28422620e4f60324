"""What is wrong with a data set, entry by entry: where it stands, and whether it is passed over or ends everything."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from clipseg.errors import DataError, UsageError

OnProblem: TypeAlias = Literal["skip", "raise"]
"""What becomes of an entry that cannot be used: it is passed over and noted, or it is a DataError."""

LOGGED = 20
"""So many problems are told as warnings; the rest only with `-v`. All of them are in the list."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """One entry that cannot be used; `line` counts from 1, and is None where a file has no lines."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.path}" if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.message}"


class Problems(list[Problem]):
    """Problems in the order in which they were met. Raises UsageError for an `on_problem` that is not known."""

    def __init__(self, on_problem: OnProblem = "skip") -> None:
        super().__init__()
        if on_problem not in get_args(OnProblem):
            raise UsageError(f"on_problem is {on_problem!r}; known are {', '.join(get_args(OnProblem))}")
        self.on_problem = on_problem
        self._known: set[Problem] = set()

    def report(self, path: Path, line: int | None, message: str) -> None:
        """Note a problem, if it is a new one, and log it.

        Raises DataError, which says "path:line: message", under "raise".
        """
        problem = Problem(path, line, message)
        if self.on_problem == "raise":
            raise DataError(str(problem))
        if problem in self._known:  # an entry that is drawn again
            return
        self._known.add(problem)
        self.append(problem)
        _log.log(logging.WARNING if len(self) <= LOGGED else logging.INFO, "%s; passed over", problem)
        if len(self) == LOGGED:
            _log.warning("%s: further problems are not told one by one; `clipseg data check` counts them", path)
