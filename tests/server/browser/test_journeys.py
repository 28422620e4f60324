"""What a person does on the page: find by text, example and expression, adjust, pick, compare, take away."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from acting import ask, open_picture, picture_bytes, pixels, saved, slide
from fake_api import FakeApi
from PIL import Image
from playwright.sync_api import Page, Route, expect


def test_a_phrase_becomes_a_chip_a_mask_and_numbered_parts(page: Page, api: FakeApi) -> None:
    open_picture(page)
    before = pixels(page)
    ask(page, "two")
    expect(page.locator(".pin")).to_have_count(2)
    expect(page.locator(".chip .name")).to_have_text("two")
    expect(page.locator(".chip .said")).to_have_text("87 %")
    expect(page.locator("#summary")).to_contain_text("in 2 parts")
    assert (np.abs(pixels(page) - before).sum(2) > 30).mean() > 0.02
    assert api.asked[0]["prompts"] == [{"text": "two"}]
    ask(page, "left")  # only what is not known yet is asked
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator(".pin")).to_have_count(3)
    assert api.asked[1]["prompts"] == [{"text": "left"}]


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(page: Page, way: str) -> None:
    content = base64.b64encode(picture_bytes()).decode()
    page.evaluate(
        """([content, way]) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], 'shelf.png', { type: 'image/png' }));
          const event = way === 'drop' ? new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        [content, way],
    )
    expect(page.locator("#caption")).to_have_text("shelf.png")


def test_text_that_is_pasted_into_a_field_is_text_even_with_a_picture_of_it(page: Page) -> None:
    """As spreadsheets and slides copy: the words, and a picture of them."""
    taken = page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData('text/plain', 'a red cup');
          data.items.add(new File(['no matter'], 'image.png', { type: 'image/png' }));
          const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
          return !document.getElementById('phrase').dispatchEvent(event);
        }"""
    )
    assert not taken
    expect(page.locator("#notice")).to_be_hidden()


def test_the_picture_that_was_opened_last_stays(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/pictures", lambda route: route.continue_() if held else held.append(route))
    page.locator("#file").set_input_files(
        {"name": "slow.png", "mimeType": "image/png", "buffer": picture_bytes(seed=1)}
    )
    expect(page.locator("#summary")).to_contain_text("Opening")
    open_picture(page)
    expect(page.locator("#caption")).to_have_text("kitchen.png")
    with page.expect_response("**/v1/pictures"):
        held[0].continue_()
    ask(page, "two")
    expect(page.locator(".pin")).to_have_count(2)
    expect(page.locator("#caption")).to_have_text("kitchen.png")


def test_the_same_picture_by_another_name_is_called_by_it(page: Page) -> None:
    open_picture(page)
    open_picture(page, "shelf.png")
    expect(page.locator("#caption")).to_have_text("shelf.png")


def test_a_picture_dropped_on_the_dialog_leaves_nothing_behind(looked: Page) -> None:
    looked.click("#example-open")
    moves = """([name, at]) => {
      const data = new DataTransfer();
      data.items.add(new File(['no matter'], 'a.png', { type: 'image/png' }));
      const event = new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true });
      document.getElementById(at).dispatchEvent(event);
    }"""
    looked.evaluate(moves, ["dragenter", "example"])
    looked.evaluate(moves, ["drop", "example"])
    looked.keyboard.press("Escape")
    looked.evaluate(moves, ["dragenter", "main"])
    expect(looked.locator("#drop")).to_be_visible()
    looked.evaluate(moves, ["dragleave", "main"])
    expect(looked.locator("#drop")).to_be_hidden()


def test_a_phrase_that_is_hidden_or_not_wanted_is_shown_when_it_is_asked_for_again(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.get_by_label("Hide two").click()
    expect(looked.locator(".pin")).to_have_count(0)
    ask(looked, "two")
    expect(looked.locator(".pin")).to_have_count(2)
    looked.get_by_label("More about two").click()
    looked.get_by_text("Not this").click()
    expect(looked.locator(".pin")).to_have_count(0)
    ask(looked, "two")
    expect(looked.locator(".pin")).to_have_count(2)
    expect(looked.locator(".chip")).to_have_count(1)


def test_one_of_the_examples_is_opened_and_asked_about(page: Page, api: FakeApi) -> None:
    page.locator("#examples button").nth(1).click()
    expect(page.locator(".pin")).to_have_count(1)
    assert api.asked[0]["prompts"] == [{"text": "four leaf clover"}]


@pytest.mark.parametrize("tool", ["brush", "box", "lasso"])
def test_an_example_is_marked(looked: Page, api: FakeApi, tool: str) -> None:
    looked.click("#example-open")
    looked.click("#example-this")
    looked.check(f"[name=tool][value={tool}]")
    canvas = looked.locator("#easel-canvas").bounding_box()
    assert canvas is not None
    ways = {"lasso": [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]}.get(tool, [(0.25, 0.25), (0.75, 0.75)])
    points = [(canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"]) for x, y in ways]
    looked.mouse.move(*points[0])
    looked.mouse.down()
    for point in points[1:]:
        looked.mouse.move(*point, steps=6)
    looked.mouse.up()
    looked.select_option("#style", "cut_out")
    looked.fill("#example-label", "a left jar")
    looked.click("#example-add")
    expect(looked.locator(".chip .name").last).to_have_text("a left jar")
    expect(looked.locator(".pin")).to_have_count(3)
    prompt = api.asked[-1]["prompts"][0]
    assert (prompt["style"], prompt["label"], prompt["picture"]) == ("cut_out", "a left jar", api.asked[-1]["picture"])
    if tool == "box":
        assert np.allclose(prompt["box"], [100, 75, 300, 225], atol=2)
    else:
        assert api.pictures[prompt["mask"]] == (400, 300)  # of the picture's own size


def test_a_box_is_typed_without_a_pointer(looked: Page, api: FakeApi) -> None:
    looked.click("#example-open")
    looked.click("#example-this")
    for name, value in {"x0": 10, "y0": 20, "x1": 110, "y1": 9999}.items():
        looked.fill(f"#box-{name}", str(value))
        looked.press(f"#box-{name}", "Tab")
    looked.press("#example-label", "Enter")
    expect(looked.locator(".chip")).to_have_count(2)
    expect(looked.locator(".pin")).to_have_count(3)
    assert api.asked[-1]["prompts"][0]["box"] == [10, 20, 110, 300]


def test_an_expression_is_written(looked: Page, api: FakeApi) -> None:
    looked.click("#expression-open")
    looked.fill("#expression", "a cup")
    looked.press("#expression", "Enter")
    expect(looked.locator("#expression-error")).to_contain_text("no AND, OR or NOT")
    looked.fill("#expression", "two")
    looked.click("[data-insert=' AND NOT ']")
    looked.keyboard.type("left")
    looked.press("#expression", "Enter")
    expect(looked.locator(".chip .name").last).to_have_text("two AND NOT left")
    expect(looked.locator(".pin")).to_have_count(3)
    assert api.asked[-1]["prompts"] == [{"text": "two AND NOT left"}]


def test_what_is_written_goes_into_brackets_that_were_inserted(looked: Page) -> None:
    looked.click("#expression-open")
    looked.fill("#expression", "face AND NOT ")
    looked.click("[data-insert='( )']")
    looked.keyboard.type("hat OR hair")
    expect(looked.locator("#expression")).to_have_value("face AND NOT (hat OR hair)")


def test_an_expression_that_cannot_be_read_is_told_at_its_chip_and_others_are_found(page: Page, api: FakeApi) -> None:
    ask(page, "two")
    ask(page, "(two OR left")
    open_picture(page)
    expect(page.locator(".chip .error").nth(1)).to_contain_text("never closed")
    expect(page.locator(".pin")).to_have_count(2)
    assert [len(question["prompts"]) for question in api.asked] == [2, 1, 1]


def test_sliders_ask_nothing(looked: Page, api: FakeApi) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    asked, seen = len(api.asked), [pixels(looked)]
    for name, value in {"threshold": 0.9, "opacity": 0.95, "smooth": 3, "grow": 3, "feather": 3}.items():
        slide(looked, name, value)
        seen.append(pixels(looked))
        assert (np.abs(seen[-1] - seen[-2]).sum(2) > 20).mean() > 0.001, name
    looked.check("[name=show][value=heat]")
    seen.append(pixels(looked))
    looked.check("[name=colormap][value=lagoon]")
    seen.append(pixels(looked))
    assert (np.abs(seen[-1] - seen[-2]).sum(2) > 20).mean() > 0.1
    assert len(api.asked) == asked


def test_a_part_is_kept_by_its_number_and_let_go(looked: Page) -> None:
    first, second = looked.locator(".pin").nth(0), looked.locator(".pin").nth(1)
    expect(second).to_be_visible()
    whole = saved(looked)
    first.click()
    expect(first).to_have_attribute("aria-pressed", "true")
    kept = saved(looked)
    changed = np.abs(np.asarray(whole).astype(int) - np.asarray(kept)).sum(2) > 30
    assert not changed[:, :190].any()
    assert changed[:, 210:].any()
    expect(looked.locator("#summary")).to_contain_text("in 1 part")
    first.click()
    expect(first).to_have_attribute("aria-pressed", "false")
    assert np.array_equal(np.asarray(saved(looked)), np.asarray(whole))


def test_another_text_has_parts_of_its_own(looked: Page) -> None:
    looked.locator(".pin").nth(0).click()
    expect(looked.locator("#kept-all")).to_be_visible()
    looked.get_by_label("More about two").click()
    looked.get_by_label("Text").fill("right")
    looked.keyboard.press("Enter")
    expect(looked.locator("#summary")).to_contain_text("9 % in 1 part")
    expect(looked.locator("#kept-all")).to_be_hidden()


def test_a_part_is_lit_and_kept_where_it_is_pointed_at(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    box = looked.locator(".pin").nth(1).bounding_box()
    assert box is not None
    looked.mouse.move(box["x"] + 50, box["y"] + 30)
    expect(looked.locator(".pin").nth(1)).to_have_class("pin lit")
    looked.mouse.click(box["x"] + 50, box["y"] + 30)
    expect(looked.locator(".pin").nth(1)).to_have_attribute("aria-pressed", "true")


def test_a_chip_is_changed(looked: Page, api: FakeApi) -> None:
    ask(looked, "right")
    expect(looked.locator(".pin")).to_have_count(3)
    right = looked.locator(".chip").nth(1)
    right.get_by_label("Hide right").click()
    expect(looked.locator(".pin")).to_have_count(2)
    right.get_by_label("Show right").click()
    right.get_by_label("More about right").click()
    right.get_by_label("Weight").fill("1.5")
    expect(right.locator(".said")).to_have_text("87 %")
    assert api.asked[-1]["prompts"] == [{"text": "right", "weight": 1.5}]
    right.get_by_text("Not this").click()
    expect(looked.locator(".pin")).to_have_count(2)
    looked.wait_for_timeout(400)
    assert api.asked[-1]["negative"] == [{"text": "right", "weight": 1.5}]
    before = pixels(looked)
    looked.get_by_label("Colour of two").fill("#0000ff")
    assert (np.abs(pixels(looked) - before).sum(2) > 20).mean() > 0.01
    right.get_by_label("Remove").click()
    expect(looked.locator(".chip")).to_have_count(1)


def test_steps_are_undone_done_again_and_chosen_from_the_history(looked: Page, api: FakeApi) -> None:
    slide(looked, "threshold", 0.7)
    looked.click("#undo")
    expect(looked.locator("#threshold")).to_have_value("0.4")
    looked.click("#redo")
    expect(looked.locator("#threshold")).to_have_value("0.7")
    looked.click("#steps")
    expect(looked.locator("#history-list li")).to_have_count(4)  # nothing, the picture, a phrase, a threshold
    looked.locator("#history-list button", has_text="Open kitchen.png").click()
    expect(looked.locator(".chip")).to_have_count(0)
    asked = len(api.asked)
    looked.locator("#history-list button", has_text="Threshold").click()
    expect(looked.locator(".pin")).to_have_count(2)
    assert len(api.asked) == asked  # it was known


def test_the_picture_is_compared(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    looked.uncheck("#parts")
    masks = pixels(looked)
    looked.check("[name=compare][value=swipe]")
    looked.locator("#swipe").fill("1")
    plain = pixels(looked)
    assert (np.abs(plain - masks).sum(2) > 30).mean() > 0.01
    looked.locator("#swipe").fill("0")
    assert (np.abs(pixels(looked) - masks).sum(2) > 30).mean() < 0.01
    looked.check("[name=compare][value=side]")
    beside = pixels(looked)
    half = beside.shape[1] // 2
    difference = np.abs(beside[:, :half] - beside[:, half : 2 * half]).sum(2) > 30
    assert 0.01 < difference.mean() < 0.4


def test_the_picture_is_zoomed_and_moved(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    before = looked.locator("#zoom").inner_text()
    looked.locator("#view").focus()
    for key in ("+", "+", "ArrowLeft", "ArrowDown"):
        looked.keyboard.press(key)
    assert looked.locator("#zoom").inner_text() != before
    looked.mouse.move(300, 300)
    looked.mouse.wheel(0, -300)
    looked.click("#zoom-fit")
    expect(looked.locator("#zoom")).to_have_text(before)


def test_formats_are_downloaded(looked: Page, api: FakeApi) -> None:
    looked.locator("#formats-box summary").click()
    expect(looked.locator("#download")).to_be_disabled()
    for name in ("png", "overlay"):
        looked.check(f"[name=format][value={name}]")
    looked.check("#each-part")
    slide(looked, "opacity", 0.8)
    with looked.expect_download() as download:
        looked.click("#download")
    assert download.value.suggested_filename == "kitchen.zip"
    assert zipfile.ZipFile(download.value.path()).namelist() == ["kitchen.png.txt", "kitchen.overlay.txt"]
    question = api.asked[-1]
    assert question["formats"] == ["png", "overlay:alpha=0.8"]
    assert (question["instances"], question["options"], question["name"]) == (True, {"threshold": 0.4}, "kitchen")


def test_formats_that_parts_have_not_cannot_be_chosen_for_them(looked: Page, api: FakeApi) -> None:
    looked.locator("#formats-box summary").click()
    for name in ("heatmap", "png"):
        looked.check(f"[name=format][value={name}]")
    looked.check("#each-part")
    expect(looked.locator("[name=format][value=heatmap]")).to_be_disabled()
    expect(looked.locator("[name=format][value=overlay]")).to_be_enabled()
    expect(looked.locator("#download")).to_have_text("Download png")
    with looked.expect_download():
        looked.click("#download")
    assert api.asked[-1]["formats"] == ["png"]
    looked.uncheck("#each-part")
    expect(looked.locator("#download")).to_have_text("Download 2 formats")


def test_a_cut_out_is_saved_with_nothing_around_it(looked: Page) -> None:
    looked.check("[name=show][value=cutout]")
    expect(looked.locator(".pin")).to_have_count(2)
    cut = np.asarray(saved(looked))
    assert cut.shape == (300, 400, 4)
    assert (cut[5, 5, 3], cut[105, 100, 3]) == (0, 255)
    picture = np.asarray(Image.open(io.BytesIO(picture_bytes())))
    assert np.abs(cut[105, 100, :3].astype(int) - picture[105, 100]).max() <= 2


def test_code_that_cannot_be_made_is_not_copied(opened: Callable[..., Page]) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    open_picture(page)
    ask(page, "two")
    page.locator("#code-box summary").click()
    expect(page.locator("#code")).to_contain_text("two")
    page.evaluate("navigator.clipboard.writeText('as before')")
    page.route("**/v1/segment", lambda route: route.abort())
    page.locator(".pin").nth(1).click()  # whose number is the server's to say
    page.click("#notice-close")
    page.click("#copy")
    expect(page.locator("#notice")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "as before"
    expect(page.locator("#copied")).to_have_text("")


def test_a_slider_does_not_end_what_is_said_of_a_picture_that_opens(looked: Page) -> None:
    expect(looked.locator(".pin")).to_have_count(2)
    held: list[Route] = []
    looked.route("**/v1/pictures", lambda route: held.append(route))
    looked.locator("#file").set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": picture_bytes(seed=2)})
    expect(looked.locator("#summary")).to_contain_text("Opening")
    slide(looked, "opacity", 0.7)
    expect(looked.locator("#stage")).to_have_class("stage busy")
    held[0].continue_()
    expect(looked.locator("#caption")).to_have_text("b.png")


def test_code_is_copied_and_says_what_was_picked(opened: Callable[..., Page], api: FakeApi) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    open_picture(page)
    ask(page, "two")
    page.locator(".pin").nth(1).click()
    slide(page, "threshold", 0.55)
    page.locator("#code-box summary").click()
    page.check("[name=language][value=command]")
    page.click("#copy")
    expect(page.locator("#copied")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.split(" \\\n  ") == [
        "clipseg segment kitchen.png", "--model nano", "-p two", "--threshold 0.55", "--keep 2",
        "--format overlay:alpha=0.5,legend=no\n",
    ]  # fmt: skip
    assert any(question["results"] == ["instances"] for question in api.asked if "results" in question)
