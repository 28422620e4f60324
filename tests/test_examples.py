"""The demo, as `make demo` runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

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
