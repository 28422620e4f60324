"""docs/http.md: its examples run, in three languages, and it names every route, option, error and output."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from clipseg.cli.serve import serve
from clipseg.client import Client
from clipseg.segmenter import Segmenter
from clipseg.server import refusals, v2
from clipseg.server.app import application
from clipseg.server.requests import Prompt, SegmentRequest
from clipseg.server.service import Service
from clipseg.server.serving import running
from clipseg.server.settings import Access, Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> str:
    """-> all examples in a language, one after the other."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    service = Service(lambda: Segmenter.from_pretrained("nano"), "nano", Limits())
    with running(application(service, Access()), Limits()) as url, Client(url) as client:
        client.wait()
        yield url


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(address: str, here: Path) -> None:
    script = "set -euo pipefail\n" + blocks("sh").replace(ADDRESS, address)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for part in ('"width":384', '"label":"cactus AND NOT pot"', '"rle"', '"model_name": "nano"'):
        assert part in done.stdout
    with Image.open("cactus.png") as mask, zipfile.ZipFile("cactus.zip") as archive:
        assert mask.size == (384, 384)
        names = archive.namelist()
    assert names == ["picture.cactus.cutout.png", "picture.overlay.png", "coco.json", "masks.json"]


def test_python(address: str, here: Path) -> None:
    code, printed = blocks("python"), io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code.replace(ADDRESS, address), "http.md", "exec"), {})
    assert printed.getvalue().splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node, which runs JavaScript without a browser")
def test_javascript(address: str, here: Path) -> None:
    before = 'import { readFile } from "node:fs/promises";\nconst file = (path) => readFile(path);\n'
    (here / "example.mjs").write_text(before + blocks("js").replace(ADDRESS, address))
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(["node", "example.mjs"], capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout) == (0, "cactus 4 true\n"), done.stderr


def test_everything_is_named(address: str) -> None:
    with Client(address) as client:
        description = client.ask("/openapi.json")
    for path, methods in description["paths"].items():
        if path.startswith("/v2"):
            continue
        for method in methods:
            assert f"`{method.upper()} {path}`" in PAGE or f"`{path}`" in PAGE, path
    for name in (*SegmentRequest.model_fields, *Prompt.model_fields, *v2.OUTPUTS):
        assert f"`{name}`" in PAGE or f'"{name}"' in PAGE, name
    kinds = [
        kind for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, refusals.RefusedError)
    ]
    for kind in kinds:
        if kind not in (refusals.RefusedError, refusals.GoneError):
            assert f"`{kind.__name__}`" in PAGE
            assert str(kind.status) in PAGE
    for option in serve.params:
        if getattr(option, "group", "") in ("Limits", "Server"):
            flags = (*option.opts, *option.secondary_opts)
            assert any(f"`{flag}" in PAGE or f" {flag}" in PAGE for flag in flags), flags
    for option in serve.params:
        if getattr(option, "group", "") == "Limits":
            assert f"| `{option.opts[0]}` | {option.default} |" in PAGE
