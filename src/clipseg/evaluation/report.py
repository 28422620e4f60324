"""What came out of an evaluation: figures, tables and pictures, for a person and for a program.

report.json   all of it but the samples      report.md     the same to read, with the pictures
samples.csv   a line a sample                labels.csv, sizes.csv, curves.csv    the tables
curves.png    metrics over thresholds        worst.png     the worst answers, to look at
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from clipseg.checkpoints.files import replacing, write_json
from clipseg.evaluation.charts import line_chart
from clipseg.evaluation.tallies import Case, Row
from clipseg.masks.draw import contact_sheet
from clipseg.masks.png import save_picture

DIGITS = 6  # of figures in files
SHOWN_PROBLEMS = 20  # of a data set, in the page; all are counted
CELL_HW = (160, 200)  # pixels, of a picture on the sheet


@dataclass(frozen=True)
class Table:
    """Headings and rows of plain values."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_dicts(self) -> list[dict[str, Any]]:
        """-> rows by heading, rounded; what is not a number is None."""
        return [dict(zip(self.headings, map(_plain, row), strict=True)) for row in self.rows]

    def to_csv(self) -> str:
        """-> a line of headings and one a row; what is not known is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.headings)
        writer.writerows([_plain(value) for value in row] for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """-> the table in Markdown."""
        lines = [self.headings, ("---",) * len(self.headings), *self.rows]
        return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


@dataclass(frozen=True)
class EvaluationReport:
    """What came out, and how it was made.

    Fields
        task      a name of `options.TASKS`
        model     what was judged
        samples   how many
        metrics   figure by name; the name states its averaging. NaN where there is nothing to tell
        notes     what to know beside the figures
        labels    a row for each class; none where samples have no classes
        sizes     a row for each bin of how much of a picture is meant
        curves    a row for each threshold
        rows      the samples, in the order of the data set
        worst     the worst answers, the worst first
        settings  everything that decided it
        versions  of what computed it
        problems  entries of the data set that were passed over, each with its file
    """

    task: str
    model: str
    samples: int
    metrics: Mapping[str, float]
    notes: tuple[str, ...]
    labels: Table
    sizes: Table
    curves: Table
    rows: tuple[Row, ...]
    worst: tuple[Case, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """-> plain values, fit for JSON: figures rounded to six digits, None where there is nothing to tell."""
        return {
            **self.summary(),
            "labels": self.labels.to_dicts(),
            "sizes": self.sizes.to_dicts(),
            "curves": self.curves.to_dicts(),
            "worst": [case.row._asdict() | {"score": _plain(case.row.score)} for case in self.worst],
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "problems": list(self.problems[:SHOWN_PROBLEMS]),
        }

    def summary(self) -> dict[str, Any]:
        """-> what fits on a line: the task, the model, how many, and the metrics."""
        about = {"task": self.task, "model": self.model, "samples": self.samples, "skipped": len(self.problems)}
        chosen = {name: self.settings[name] for name in ("threshold", "paper")}
        return about | chosen | {name: _plain(value) for name, value in self.metrics.items()}

    def table(self) -> list[tuple[str, str]]:
        """-> rows of a figure's name and its value as text."""
        return [(name.replace("_", " "), _text(value)) for name, value in self.summary().items()]

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the files named above, each whole or not at all -> their paths. Raises OutputError."""
        place = Path(folder)
        pictures: dict[str, Image.Image] = {}
        if self.curves.rows:
            pictures["curves.png"] = self.curves_picture()
        if self.worst:
            pictures["worst.png"] = self.worst_sheet()
        texts = {
            "report.md": self.to_markdown(tuple(pictures)),
            "samples.csv": Table(Row._fields, self.rows).to_csv(),
            **{f"{name}.csv": table.to_csv() for name, table in self._tables().items()},
        }
        for name, image in pictures.items():
            save_picture(place / name, image)
        for name, text in texts.items():
            with replacing(place / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        write_json(place / "report.json", self.to_dict())  # last: where it is, all is
        return [place / name for name in ("report.json", *texts, *pictures)]

    def to_markdown(self, pictures: Sequence[str] = ()) -> str:
        """-> a page with everything; `pictures` are files beside it to show."""
        sections = [f"# {self.task}: {self.model}\n", *(f"{note}\n" for note in self.notes)]
        sections.append(Table(("figure", "value"), tuple(self.table())).to_markdown())
        titles = {"labels": "Classes", "sizes": "Sizes of what is meant"}
        sections += [
            f"## {titles[name]}\n\n{table.to_markdown()}" for name, table in self._tables().items() if name in titles
        ]
        sections += [f"![{Path(name).stem}]({name})\n" for name in pictures]
        for title, values in (("Settings", self.settings), ("Versions", self.versions)):
            sections.append(f"## {title}\n\n{Table(('name', 'value'), tuple(values.items())).to_markdown()}")
        if self.problems:
            listed = "".join(f"- {problem}\n" for problem in self.problems[:SHOWN_PROBLEMS])
            sections.append(f"## Passed over: {len(self.problems)}\n\n{listed}")
        return "\n".join(sections)

    def curves_picture(self) -> Image.Image:
        """-> the metrics over thresholds. Raises UsageError where there are none."""
        names = self.curves.headings[1:]
        lines = {name: [(row[0], row[1 + n]) for row in self.curves.rows] for n, name in enumerate(names)}
        return line_chart(lines, title=f"{self.task}: {self.model}", across="threshold")

    def worst_sheet(self) -> Image.Image:
        """-> the worst answers: a row each of the picture, what is true and what was found. Raises UsageError."""
        columns = max(len(case.pictures) for case in self.worst)
        images, titles = [], []
        for case in self.worst:
            heads = [f"{case.row.score:.3f} {case.row.prompt}", *list(case.pictures)[1:]]
            blank = [Image.new("RGB", (1, 1), "white")] * (columns - len(case.pictures))
            images += [Image.fromarray(pixels) for pixels in case.pictures.values()] + blank
            titles += heads + [""] * len(blank)
        return contact_sheet(images, columns, titles, CELL_HW, text_height=12)

    def _tables(self) -> dict[str, Table]:
        tables = {"labels": self.labels, "sizes": self.sizes, "curves": self.curves}
        return {name: table for name, table in tables.items() if table.rows}


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, DIGITS) if math.isfinite(value) else None


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "–"
    return "–" if value is None else " ".join(str(value).split())


def _cell(value: Any) -> str:
    return _text(value).replace("|", "\\|")  # what would end a cell of a table
