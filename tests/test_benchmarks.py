"""The benchmark scripts run, on the smallest sizes; what they measure is no test's business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


SCRIPT = ROOT / "benchmarks" / "against_reference.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True)


def test_against_the_reference(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    names = ["from_pretrained_clipseg", "documented_example"]
    chosen = [option for name in names for option in ("--only", name)]
    result = run("--tiny", "--repeats", "2", "--threads", "1", *chosen, "--json", str(report), "--markdown")
    assert result.returncode == 0, result.stderr
    cases = json.loads(report.read_text())["cases"]
    assert list(cases) == names
    for case in cases.values():
        assert case["difference"] <= 1e-5
        assert case["ratio"] > 0
        assert all(len(seconds) == 2 for seconds in case["seconds"].values())
        if sys.platform == "linux":
            assert all(megabytes > 0 for megabytes in case["peak_megabytes"].values())
    assert result.stdout.count("\n| `") == len(names)


def test_an_unknown_case_is_named_with_those_there_are_and_the_page_has_them_all() -> None:
    result = run("--only", "nonsense")
    assert result.returncode == 2
    assert "no case is called nonsense; there are " in result.stderr
    names = result.stderr.rpartition("there are ")[2].strip().split(", ")
    assert "clip_forward" in names
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["speed", "memory", "resume"])
def test_batches(what: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "batch.py"), what, "--tiny", "--folder", str(tmp_path)]
    result = subprocess.run([*command, "--rounds", "1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["benchmark"] == what
    figure = {"speed": "share", "memory": "per_second", "resume": "seconds_to_first_picture"}[what]
    assert measured[figure] > 0
    assert list(tmp_path.iterdir()) == []
