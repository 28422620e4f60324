"""For everybody: keys, focus, names, contrast, every width, little to load. Screenshots go where SCREENSHOTS says."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from acting import ask, open_picture
from fake_api import FakeApi
from PIL import Image
from playwright.sync_api import Page, expect

CONTRAST = """() => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const read = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => colour.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const below = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = read(getComputedStyle(at).backgroundColor);
      if (colour[3] > 200) return colour;
    }
    return [255, 255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll('body *')) {
    const said = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!said || element.closest(':disabled, .hidden, svg, .skip, .drop') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(read(style.color)), light(below(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const words = element.textContent.trim().slice(0, 30);
    const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < least) low.push(`${element.tagName} “${words}” ${ratio.toFixed(2)}`);
  }
  return low;
}"""
ACTING = {"button", "slider", "textbox", "checkbox", "radio", "combobox", "link", "spinbutton", "ColorWell"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(360, 740), (820, 1100), (1440, 900)])
def test_it_fits_and_is_readable(
    opened: Callable[..., Page], theme: str, width: int, height: int, tmp_path: Path
) -> None:
    page = opened(width=width, height=height, color_scheme=theme)
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(exist_ok=True)

    def look(name: str) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name}-{theme}-{width}.png")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []

    look("start")
    open_picture(page)
    ask(page, "two")
    ask(page, "(left")
    expect(page.locator(".pin")).to_have_count(2)
    look("found")
    for tab in ("adjust", "export"):
        if width < 500:
            page.click(f"#tabs [data-tab={tab}]")
        expect(page.locator(f"#{tab}")).to_be_visible()
        look(tab)
    for box in ("formats", "code"):
        page.locator(f"#{box}-box summary").click()
    look("export-open")
    page.locator("#example-open").evaluate("button => button.click()")
    page.click("#example-this")
    look("example")


def test_a_phone_has_a_sheet_and_parts_of_it(opened: Callable[..., Page]) -> None:
    page = opened(width=360, height=740, has_touch=True, is_mobile=True)
    expect(page.locator("#adjust")).to_be_hidden()
    open_picture(page)
    page.click("#tabs [data-tab=adjust]")
    expect(page.locator("#find")).to_be_hidden()
    expect(page.locator("#threshold")).to_be_visible()
    before = page.locator("#stage").bounding_box()
    page.click("#handle")
    expect(page.locator("#handle")).to_have_attribute("aria-expanded", "false")
    page.wait_for_timeout(400)
    after = page.locator("#stage").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > before["height"] + 100


def test_everything_that_acts_has_a_name(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.locator(".chip .more").click()
    looked.click("#expression-open")
    for box in ("formats", "code"):
        looked.locator(f"#{box}-box summary").click()
    tree = looked.context.new_cdp_session(looked).send("Accessibility.getFullAXTree")["nodes"]
    acting = [node for node in tree if not node["ignored"] and node["role"]["value"] in ACTING]
    assert len(acting) > 40
    assert [node["role"]["value"] for node in acting if not node.get("name", {}).get("value", "").strip()] == []


def test_focus_goes_through_the_page_in_its_order_and_is_seen(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.locator(".skip").focus()
    seen = []
    for step in range(26):
        if step:
            looked.keyboard.press("Tab")
        seen.append(
            looked.evaluate(
                """() => {
                  const one = document.activeElement;
                  const ring = getComputedStyle(one).outlineStyle !== 'none' || Boolean(one.closest('label, .swatch'));
                  return [one.id || one.className, ring];
                }"""
            )
        )
    names = [name for name, _ in seen]
    assert names[0] == "skip"
    wanted = ["open", "undo", "zoom-in", "theme", "view", "phrase", "example-open", "expression-open"]
    assert [name for name in names if name in wanted] == wanted
    assert [name for name, ring in seen if not ring] == []


def test_the_focus_goes_to_the_picture_that_was_opened(page: Page) -> None:
    page.locator("#examples button").first.press("Enter")
    expect(page.locator("#view")).to_be_focused()


def test_single_keys_do_what_they_say_and_can_be_turned_off(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.evaluate("document.activeElement.blur()")
    looked.keyboard.press("]")
    expect(looked.locator("#threshold")).to_have_value("0.42")
    looked.keyboard.press("2")
    expect(looked.locator("[name=show][value=heat]")).to_be_checked()
    looked.keyboard.press("1")
    looked.keyboard.press("n")
    expect(looked.locator(".pin")).to_have_count(0)
    looked.keyboard.press("Control+z")
    expect(looked.locator(".pin")).to_have_count(2)
    looked.keyboard.press("c")
    expect(looked.locator("#swipe")).to_be_visible()
    looked.keyboard.press("/")
    looked.keyboard.type("v2?")  # letters, in a field
    expect(looked.locator("#phrase")).to_have_value("v2?")
    looked.evaluate("document.activeElement.blur()")
    looked.keyboard.press("?")
    expect(looked.locator("#keys")).to_be_visible()
    looked.uncheck("#keys-on")
    looked.keyboard.press("Escape")
    looked.keyboard.press("]")
    expect(looked.locator("#threshold")).to_have_value("0.42")


def test_the_theme_is_switched_and_remembered(opened: Callable[..., Page]) -> None:
    page = opened(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    page.click("#theme")
    expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: dark")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark


def test_sliders_and_colours_are_seen_where_colours_are_forced(opened: Callable[..., Page]) -> None:
    page = opened(forced_colors="active")
    open_picture(page)
    ask(page, "two")
    expect(page.locator(".pin")).to_have_count(2)
    row = np.asarray(Image.open(io.BytesIO(page.locator("#threshold").screenshot())).convert("L")).astype(int)
    track = row[row.shape[0] // 2]
    assert np.ptp(track) > 128  # a thumb on its track
    assert np.ptp(row[:, row.shape[1] - 20]) > 128  # and the track itself
    colour = page.locator(".swatch").evaluate("swatch => getComputedStyle(swatch).backgroundColor")
    assert colour == "rgb(230, 159, 0)"


def test_words_from_right_to_left_do_not_stir_those_around_them(looked: Page) -> None:
    ask(looked, "חתול left")
    expect(looked.locator(".pin")).to_have_count(3)
    expect(looked.locator("#summary")).to_contain_text("\u2068חתול left\u2069: 9 % in 1 part")
    direction = "field => getComputedStyle(field).direction"
    looked.fill("#phrase", "חתול")
    assert looked.locator("#phrase").evaluate(direction) == "rtl"
    assert looked.locator(".chip .name").last.evaluate(direction) == "rtl"


def test_names_that_end_differently_look_different(looked: Page) -> None:
    ask(looked, "a small left one in a row of many")
    name = looked.locator(".chip .name").last
    expect(name).to_have_text("a small left one in a row of many")
    assert name.evaluate("name => [name, ...name.children].every((one) => one.scrollWidth <= one.clientWidth)")
    ask(looked, "very " * 70)
    box = looked.locator(".chip .name").last.bounding_box()
    assert box is not None
    assert box["height"] < 80


def test_another_tab_of_a_phone_begins_at_its_top(opened: Callable[..., Page]) -> None:
    page = opened(width=360, height=740, has_touch=True, is_mobile=True)
    open_picture(page)
    page.click("#tabs [data-tab=adjust]")
    page.locator("#fit").scroll_into_view_if_needed()
    page.click("#tabs [data-tab=export]")
    page.locator("#formats-box summary").click()
    page.locator("#download").scroll_into_view_if_needed()
    assert page.evaluate("document.getElementById('panel').scrollTop") > 0
    page.click("#tabs [data-tab=adjust]")
    assert page.evaluate("document.getElementById('panel').scrollTop") == 0


def test_the_first_load_is_small(page: Page, api: FakeApi) -> None:
    page.wait_for_load_state("networkidle")
    assert sum(api.bytes_sent.values()) < 200_000  # as it is on disk, before a server packs it
    assert "/static/canvas/shaders.js" in api.bytes_sent


def test_the_keys_are_those_of_the_manual(page: Page) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "web_app.md").read_text(encoding="utf-8").lower()
    rows = page.locator("#keys-rows tr").evaluate_all("rows => rows.map((row) => row.cells[1].textContent)")
    assert len(rows) == 15
    assert [row for row in rows if row.lower() not in manual] == []
