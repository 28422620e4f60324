"""What a stranger installs: the wheel, and what is in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import clipseg

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what packaging reads, so that nothing is left in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "src"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(source)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_wheel_is_small_typed_and_brings_the_model(wheel: Path) -> None:
    assert wheel.name == f"clipseg-{clipseg.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size <= 13e6
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"clipseg/py.typed", "clipseg/assets/nano/model.safetensors", "clipseg/assets/nano/vocabulary.json"} <= names
    assert "clipseg/server/static/index.html" in names
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]


def test_installed_elsewhere_it_works(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "import clipseg\n"
        "assert clipseg.__file__.startswith(sys.argv[1]), clipseg.__file__\n"
        "masks = clipseg.Segmenter.from_pretrained('nano').segment(sys.argv[2], ['cactus'])\n"
        "assert masks.binary().any()\n"
    )
    picture = ROOT / "examples" / "scenes" / "one.png"
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(picture)], cwd=tmp_path, check=True)
