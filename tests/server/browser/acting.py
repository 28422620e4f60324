"""What a person does to the page, and what comes of it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from playwright.sync_api import Page

SIZE = (400, 300)  # of the picture that most journeys open, width and height


def picture_bytes(size: tuple[int, int] = SIZE, seed: int = 0) -> bytes:
    """A picture of soft colours, as a PNG."""
    small = np.random.default_rng(seed).integers(60, 200, (6, 8, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(content, "PNG")
    return content.getvalue()


def open_picture(page: Page, name: str = "kitchen.png", content: bytes | None = None) -> None:
    page.locator("#file").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": picture_bytes() if content is None else content}
    )
    page.locator("#view").wait_for(state="visible")


def ask(page: Page, text: str) -> None:
    page.fill("#phrase", text)
    page.press("#phrase", "Enter")


def slide(page: Page, name: str, value: float) -> None:
    page.locator(f"#{name}").fill(str(value))


def pixels(page: Page) -> np.ndarray:
    """What the stage looks like, (H, W, 3)."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(400)
    return np.asarray(Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")).astype(int)


def saved(page: Page) -> Image.Image:
    """What "Save what is on screen" gives."""
    with page.expect_download() as download:
        page.click("#save")
    return Image.open(download.value.path())
