"""What the page does when things go wrong: it says so, asks again where that helps, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from acting import ask, open_picture
from fake_api import FakeApi
from playwright.sync_api import Page, expect


@pytest.mark.parametrize(("status", "said"), [(429, "The server is busy"), (503, "The model is loading")])
def test_a_server_that_cannot_yet_is_asked_again(page: Page, api: FakeApi, status: int, said: str) -> None:
    api.trouble.append(status)
    open_picture(page)
    ask(page, "two")
    expect(page.locator("#summary")).to_contain_text(said)
    expect(page.locator(".pin")).to_have_count(2)
    expect(page.locator("#notice")).to_be_hidden()
    assert len(api.asked) == 2


def test_a_refusal_is_told_once_and_asked_again_when_somebody_says_so(page: Page, api: FakeApi) -> None:
    api.trouble.append(413)
    open_picture(page)
    ask(page, "two")
    expect(page.locator("#notice-text")).to_have_text("the picture has too many pixels")
    page.wait_for_timeout(500)
    assert len(api.asked) == 1
    page.click("#notice-again")
    expect(page.locator(".pin")).to_have_count(2)
    expect(page.locator("#notice")).to_be_hidden()


def test_a_picture_that_was_let_go_is_uploaded_again(looked: Page, api: FakeApi) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    api.forget()
    ask(looked, "left")
    expect(looked.locator(".pin")).to_have_count(3)
    expect(looked.locator("#notice")).to_be_hidden()
    assert api.uploads == 2


def test_what_is_no_picture_is_refused(page: Page, api: FakeApi) -> None:
    page.locator("#file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"milk, eggs"})
    expect(page.locator("#notice-text")).to_contain_text("cannot show text/plain")
    expect(page.locator("#start")).to_be_visible()
    assert api.uploads == 0
    page.get_by_label("Close this message").click()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_server_that_ended_is_told(looked: Page, api: FakeApi) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.route("**/v1/segment", lambda route: route.abort())
    ask(looked, "left")
    expect(looked.locator("#notice-text")).to_contain_text("does not answer")
    expect(looked.locator(".pin")).to_have_count(2)


def test_an_example_that_does_not_come_is_told(page: Page) -> None:
    page.route("**/static/examples/clover.jpg", lambda route: route.abort())
    page.locator("#examples button").nth(1).click()
    expect(page.locator("#notice-text")).to_contain_text("does not answer")
    page.unroute("**/static/examples/clover.jpg")
    page.click("#notice-again")
    expect(page.locator(".pin")).to_have_count(1)


def test_a_token_is_asked_for_and_taken_from_the_address(opened: Callable[..., Page], api: FakeApi) -> None:
    api.token = "secret"
    page = opened("/#token=secret")
    assert page.url == f"{api.address}/"
    open_picture(page)
    ask(page, "two")
    expect(page.locator(".pin")).to_have_count(2)
    page.reload()
    expect(page.locator("#model")).to_have_text("nano")
    api.token = "another"
    page.reload()
    expect(page.locator("#notice-text")).to_have_text(
        "This server asks for a token. Open the address that clipseg serve printed: the token is in it."
    )


def test_a_model_that_is_loading_shows_how_far_it_is(opened: Callable[..., Page], api: FakeApi) -> None:
    api.loading.extend([0.25] * 3 + [0.8] * 2)
    page = opened()
    expect(page.locator("#loading-text")).to_have_text("Downloading the model")
    expect(page.locator("#loading-share")).to_have_text("25 %")
    expect(page.locator("#loading-share")).to_have_text("80 %")
    expect(page.locator("#loading")).to_be_hidden()
    expect(page.locator("#notice")).to_be_hidden()


def test_what_was_told_goes_when_the_server_answers_again(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.route("**/v1/segment", lambda route: route.abort())
    ask(looked, "left")
    expect(looked.locator("#notice")).to_be_visible()
    looked.unroute("**/v1/segment")
    ask(looked, "right")
    expect(looked.locator(".pin")).to_have_count(4)
    expect(looked.locator("#notice")).to_be_hidden()


def test_an_address_with_another_token_is_taken_in_the_same_tab(opened: Callable[..., Page], api: FakeApi) -> None:
    api.token = "secret"
    page = opened("/#token=secret")
    api.token = "another"
    page.reload()
    expect(page.locator("#notice")).to_be_visible()
    page.goto(f"{api.address}/#token=another")  # which loads nothing: only what follows # is new
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#model")).to_have_text("nano")
    assert page.url == f"{api.address}/"


def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(page: Page) -> None:
    page.add_init_script(
        """for (const name of ['localStorage', 'sessionStorage']) {
          Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });
        }"""
    )
    page.reload()
    open_picture(page)
    ask(page, "two")
    expect(page.locator(".pin")).to_have_count(2)
    page.click("#theme")
    expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: light")
