"""Where figures go in the pages of docs/: between two marks, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def write_between_marks(path: Path, text: str) -> None:
    """A page -> the same with the text between its marks; a new page is nothing else."""
    page = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    if BEGIN not in page or END not in page:
        sys.exit(f"{path} has no place for the figures; put the lines {BEGIN} and {END} where they belong")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", encoding="utf-8")
