"""The page on the server itself, with the bundled model: what is downloaded is what the library makes."""

from __future__ import annotations

import io
import json
import re
import shlex
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from acting import ask, saved, slide
from PIL import Image
from playwright.sync_api import Page, expect

import clipseg
from clipseg import ImagePrompt, Segmenter

FARM = Path(clipseg.__file__).parent / "server" / "static" / "examples" / "farm.jpg"  # as the page opens it
Serving = Callable[..., AbstractContextManager[Any]]


def test_a_whole_session(opened: Callable[..., Page], serving: Serving) -> None:
    segmenter = Segmenter.from_pretrained("nano")
    with serving(load=lambda: segmenter) as (_, client):
        page = opened(origin=client.url)
        page.locator("#examples button").first.click()
        expect(page.locator(".chip .name")).to_have_text("cactus")
        ask(page, "cow face AND NOT cat face")
        page.click("#example-open")
        page.click("#example-this")
        for name, value in {"x0": 0, "y0": 170, "x1": 150, "y1": 352}.items():
            page.fill(f"#box-{name}", str(value))
            page.press(f"#box-{name}", "Tab")
        page.fill("#example-label", "a face")
        page.click("#example-add")
        expect(page.locator(".chip .said")).to_have_text([re.compile(r"\d %")] * 3)
        slide(page, "threshold", 0.5)
        slide(page, "opacity", 0.6)

        example = ImagePrompt(FARM, box=(0, 170, 150, 352), label="a face")
        masks = segmenter.segment(FARM, ["cactus", "cow face AND NOT cat face", example], threshold=0.5)
        expected = np.asarray(masks.overlay(alpha=0.6, legend=False)).astype(int)
        on_screen = np.asarray(saved(page).convert("RGB")).astype(int)
        assert (np.abs(on_screen - expected).max(2) > 16).mean() < 0.02  # levels of 8 bits move an edge by a pixel

        page.locator("#code-box summary").click()
        page.check("[name=language][value=curl]")
        expect(page.locator("#code")).to_contain_text("/v1/segment")
        copied = page.locator("#code").inner_text().replace("\\\n", "").strip().split("\n")
        assert copied[0].startswith("curl --data-binary @farm.jpg")
        body = shlex.split(copied[-1])[-1]
        assert json.loads(body)["options"] == {"threshold": 0.5}
        request = urllib.request.Request(
            f"{client.url}/v1/segment", body.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            archive = zipfile.ZipFile(io.BytesIO(answer.read()))
        drawn = np.asarray(Image.open(io.BytesIO(archive.read("farm.overlay.png"))).convert("RGB"))
        assert np.array_equal(drawn, expected)
