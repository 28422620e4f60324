"""A headless Chromium that looks at the page, which a stand-in for the API serves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_api import FakeApi

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


PATIENCE = 30_000  # milliseconds: machines are shared


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or the one that CHROMIUM names, drawing in software."""
    from playwright.sync_api import expect, sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "there is no chromium; apt-get install chromium, or name one in CHROMIUM"
    expect.set_options(timeout=PATIENCE)
    arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    api = FakeApi()
    yield api
    api.close()


@pytest.fixture
def opened(browser: Browser, api: FakeApi) -> Iterator[Callable[..., Page]]:
    """Opens the page, in a window of its own; at the end nothing may have gone wrong in it."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(where: str = "/", width: int = 1280, height: int = 860, origin: str = "", **options: Any) -> Page:
        origin = origin or api.address
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        page.on("request", lambda request: None if is_of(origin, request.url) else wrong.append(f"asked {request.url}"))
        page.goto(origin + where)
        page.locator("#formats input").first.wait_for(state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    return opened()


def is_of(origin: str, url: str) -> bool:
    """Whether an address is of the server that the page came from, or of the page itself."""
    return url.startswith((origin, "blob:", "data:"))


@pytest.fixture
def looked(page: Page) -> Page:
    """The page with a picture, in which something was looked for: a blob to the left and one to the right."""
    from acting import ask, open_picture

    open_picture(page)
    ask(page, "two")
    return page
