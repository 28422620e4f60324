"""The miniature of the paper's tables: what it writes, and that it runs."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproduction.md"


@pytest.fixture(scope="module")
def script() -> Iterator[dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")  # as where a script is run
        yield runpy.run_path(str(ROOT / "benchmarks" / "reproduction.py"), run_name="reproduction")


def test_a_row_for_each_of_the_papers_ablations_and_its_baseline(script) -> None:
    assert [row.recipe for row in script["ROWS"]] == [
        "rd64", "ablation-no-visual", "rd16", "ablation-layer3", "ablation-highlight", "ablation-no-pretraining",
        "clip-deconv",
    ]  # fmt: skip


def test_the_table(script) -> None:
    tasks = script["TASKS"]
    figures = {f"{task}_iou_per_sample_mean": 10.0 + place for place, task in enumerate(tasks)}
    figures |= {f"{task}_average_precision": 20.0 + place for place, task in enumerate(tasks)}
    text = script["table"]([(script["ROWS"][0], figures)], 5, 6)
    assert "5 steps of 32 samples each; 6 samples a task" in text
    assert (
        "| CLIPSeg (PC+) | `rd64` | 10.0 · 20.0 | 11.0 · 21.0 | 12.0 · 22.0 | 13.0 · 23.0 | 43.6 · 76.7 | 25.4 · 55.6 |"
        in text
    )


def test_only_what_is_between_the_marks_changes(script, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    script["write_between_marks"](page, "| new |\n")
    written, before = page.read_text("utf-8"), PAGE.read_text("utf-8")
    assert "<!-- figures: begin -->\n| new |\n<!-- figures: end -->" in written
    assert written.partition("<!-- figures")[0] == before.partition("<!-- figures")[0]
    assert written.rpartition("end -->")[2] == before.rpartition("end -->")[2]


@pytest.mark.slow
def test_it_runs(installed_pictograms, tmp_path: Path) -> None:
    def run(*only: str) -> str:
        # In a process of its own: it starts workers, whose end is a signal, and the engines that other tests load leave
        # too small a stack for handling one.
        command = [sys.executable, ROOT / "benchmarks" / "reproduction.py", "--out", tmp_path, "--steps", "2"]
        done = subprocess.run([*command, "--samples", "2", "--only", *only], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = run("rd64", "clip-deconv")
    assert "| CLIP-Deconv | `clip-deconv` |" in told
    assert "| `crop_blur_highlight` |" in told
    written = (tmp_path / "rd64" / "model" / "model.safetensors").stat().st_mtime_ns
    run("rd64")
    assert (tmp_path / "rd64" / "model" / "model.safetensors").stat().st_mtime_ns == written, "trained once"
