"""docs/data.md: every example is written out as it stands there, opened, and prints what it promises."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipseg.cli.main import execute
from clipseg.data import table
from clipseg.data.own import open_data
from clipseg.formats.png import label_picture

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass
class Example:
    """Pictures by name, files with their text, and the code that opens them."""

    pictures: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    code: str = ""


def examples() -> Iterator[Example]:
    example = Example()
    for language, name, text in BLOCK.findall(PAGE.split("\n## YOLO\n")[1]):
        if language == "python":
            example.code = text
            yield example
            example = Example()
        elif name:
            example.files[name] = text
        else:
            example.pictures += [line.split()[0] for line in text.splitlines()]


EXAMPLES = list(examples())


def write(example: Example, root: Path) -> None:
    for name in example.pictures:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((30, 40), np.uint8)
        pixels[5:20, 10:30] = 1
        if "SegmentationClass" in name:
            pixels[20:, :10], pixels[:, -1] = 2, 255
            label_picture(pixels).save(path)
        else:
            Image.fromarray(pixels * 255).convert("RGB" if path.suffix == ".jpg" else "L").save(path)
    for name, text in example.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def run(code: str, **names: object) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "data.md", "exec"), {"open_data": open_data, **names})
    assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(example, tmp_path / "shelf")
    data = open_data("shelf", on_problem="raise")
    run(example.code, data=data)


def test_every_format_has_one() -> None:
    assert len(EXAMPLES) == 8
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


def test_the_first_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (csv,) = (example for example in EXAMPLES if "data.csv" in example.files)
    write(csv, tmp_path / "shelf")
    blocks = BLOCK.findall(PAGE)
    run(blocks[0][2])
    assert execute(shlex.split(blocks[1][2])[1:]) == 0
    assert Path("sheet.png").is_file()


def test_published_sets_are_named() -> None:
    for kind, row in table.DATASETS.items():
        if row.module.rpartition(".")[2] not in ("own", "scene_samples"):
            assert f"(`{kind}`): `{row.module}.{row.name}(root, split" in PAGE
