"""The demo, as `make demo` runs it, and a stage for the pipelines of others."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from clipseg.segmenter import Segmenter

ROOT = Path(__file__).parents[1]


def test_demo_finds_what_it_asks_for(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "examples/demo.py", "--out", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = re.search(r"mean IoU (\S+) over (\d+) masks", result.stdout)
    assert found is not None
    assert float(found[1]) >= 0.6
    assert int(found[2]) >= 10
    pictures = sorted(path.name for path in tmp_path.iterdir())
    assert len(pictures) == 7
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width > 600
    assert str(tmp_path / "contact_sheet.png") in result.stdout


def test_a_stage_of_a_ray_pipeline() -> None:
    """Its class needs no Ray: what it gives is what the segmenter gives, and an error is a value."""
    space = runpy.run_path(str(ROOT / "examples" / "ray_pipeline.py"))
    stage = space["Segment"]("nano", ["a cactus", "an onion"], threshold=0.5)
    picture = (ROOT / "examples" / "scenes" / "one.png").read_bytes()
    content = {"one.png": picture, "broken.png": b"no picture", "again.png": picture}
    columns = stage({"path": np.array(list(content)), "bytes": np.array(list(content.values()), object)})
    assert {len(values) for values in columns.values()} == {3}
    masks = Segmenter.from_pretrained("nano").segment(picture, ["a cactus", "an onion"], threshold=0.5)
    assert columns["rle_counts"][0] == columns["rle_counts"][2] == [rle["counts"] for rle in masks.rle()]
    assert (columns["height"][0], columns["width"][0]) == masks.size_hw
    assert columns["rle_counts"][1] == []
    assert [bool(error) for error in columns["error"]] == [False, True, False]
    whole = stage({"path": np.array(["one.png"] * 2), "bytes": np.array([picture] * 2, object)})
    assert [len(counts) for counts in whole["rle_counts"]] == [2, 2]


@pytest.mark.slow
def test_a_ray_pipeline(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("one.png", "two.png", "three.png"):
        shutil.copy(ROOT / "examples" / "scenes" / name, pictures)
    (pictures / "broken.png").write_bytes(b"no picture")
    command = [sys.executable, "examples/ray_pipeline.py", str(pictures), str(tmp_path / "out")]
    arguments = ["-p", "a cactus", "-p", "a bus", "--model", "nano"]
    result = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = parquet.read_table(tmp_path / "out").to_pylist()
    assert sorted(Path(row["path"]).name for row in rows) == ["broken.png", "one.png", "three.png", "two.png"]
    assert {Path(row["path"]).name: len(row["rle_counts"]) for row in rows if not row["error"]} == {
        "one.png": 2, "two.png": 2, "three.png": 2,
    }  # fmt: skip
