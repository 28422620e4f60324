"""Where figures go in the pages of docs/: between two marks, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path


def write_between_marks(path: Path, text: str, topic: str = "figures") -> None:
    """A page -> the same with the text between the marks of a topic; a new page is nothing else."""
    begin, end = f"<!-- {topic}: begin -->", f"<!-- {topic}: end -->"
    page = path.read_text(encoding="utf-8") if path.exists() else f"{begin}\n{end}\n"
    if begin not in page or end not in page:
        sys.exit(f"{path} has no place for the {topic}; put the lines {begin} and {end} where they belong")
    before, after = page.split(begin)[0], page.split(end)[1]
    path.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
