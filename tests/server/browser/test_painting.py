"""What the page paints, beside what the library makes of the same soft map."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from acting import ask, open_picture, picture_bytes, saved, slide
from fake_api import SIDE, FakeApi, soft_map
from PIL import Image
from playwright.sync_api import Page, expect
from scipy import ndimage

from clipseg.formats.colormaps import ANCHORS, colormap
from clipseg.formats.drawings import heat_map
from clipseg.masks.masks import Masks

PICTURE = Image.open(io.BytesIO(picture_bytes())).convert("RGB")


def levels(text: str) -> np.ndarray:
    return np.rint(255 * soft_map(text)).astype(np.uint8)


def masks_of(*texts: str) -> Masks:
    """What the library has where its logits are those of the 8-bit maps."""
    probabilities = np.clip(np.stack([levels(text) for text in texts]) / 255, 0.5 / 255, 1 - 0.5 / 255)
    logits = torch.from_numpy(np.log(probabilities / (1 - probabilities))).float()
    return Masks(logits, texts, (PICTURE.height, PICTURE.width), PICTURE)


def far(one: Image.Image, other: Image.Image) -> float:
    """The share of pixels that are plainly another colour; outlines on screen are smooth, those of the library not."""
    pair = [np.asarray(picture.convert("RGB")).astype(int) for picture in (one, other)]
    return float((np.abs(pair[0] - pair[1]).max(2) > 12).mean())


@pytest.fixture(params=["webgl", "flat"])
def painted(request: pytest.FixtureRequest, opened: Callable[..., Page]) -> Page:
    """The page with two prompts answered, by the graphics card and without."""
    page = opened("/" if request.param == "webgl" else "/?flat")
    assert page.evaluate("!document.createElement('canvas').getContext('webgl2')") is False
    open_picture(page)
    ask(page, "two")
    ask(page, "slope")
    expect(page.locator(".pin")).to_have_count(3)
    return page


def test_masks_are_those_of_the_library(painted: Page) -> None:
    masks = masks_of("two", "slope")
    assert far(saved(painted), masks.overlay(alpha=0.5, legend=False)) < 0.02
    slide(painted, "threshold", 0.8)
    slide(painted, "opacity", 0.25)
    assert far(saved(painted), masks.overlay(alpha=0.25, threshold=0.8, legend=False)) < 0.02
    slide(painted, "smooth", 3)
    smooth = masks.with_options(smooth="3%", threshold=0.8)
    assert far(saved(painted), smooth.overlay(alpha=0.25, legend=False)) < 0.03


@pytest.mark.parametrize("percent", [3, -2])
def test_masks_that_grow_and_shrink_are_those_of_the_library(painted: Page, percent: int) -> None:
    slide(painted, "grow", percent)
    option = {"grow" if percent > 0 else "shrink": f"{abs(percent)}%"}
    masks = masks_of("two", "slope").with_options(**option)
    assert far(saved(painted), masks.overlay(alpha=0.5, legend=False)) < 0.02


def test_heat_is_that_of_the_library(painted: Page) -> None:
    painted.check("[name=show][value=heat]")
    painted.check("[name=colormap][value=orchid]")
    slide(painted, "opacity", 0.75)
    expected = heat_map(masks_of("slope").soft()[0].numpy(), "orchid", PICTURE, 0.75)
    assert far(saved(painted), expected) < 0.01


def test_a_feathered_cut_out_is_that_of_the_library(painted: Page) -> None:
    painted.check("[name=show][value=cutout]")
    slide(painted, "feather", 3)
    alpha = np.asarray(saved(painted))[..., 3] / 255
    expected = masks_of("slope").with_options(feather="3%").matte()[0].numpy()
    inner = slice(20, -20)  # beyond the border the page has the map go on, the library its mirror
    assert np.abs(alpha - expected)[inner, inner].mean() < 0.01
    assert np.abs(alpha - expected)[inner, inner].max() < 0.12


@pytest.mark.parametrize("show", ["fill", "cutout"])
def test_what_is_transparent_in_a_picture_is_white_as_in_the_library(page: Page, show: str) -> None:
    clear = PICTURE.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1))))
    content = io.BytesIO()
    clear.save(content, "PNG")
    open_picture(page, "clear.png", content.getvalue())
    ask(page, "two")
    expect(page.locator(".pin")).to_have_count(2)
    page.check(f"[name=show][value={show}]")
    made = np.asarray(saved(page).convert("RGBA")).astype(int)
    paper = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    masks = Masks(masks_of("two").logits, ("two",), (300, 400), paper)
    if show == "fill":
        assert far(Image.fromarray(made.astype(np.uint8)), masks.overlay(alpha=0.5, legend=False)) < 0.02
        assert (made[..., 3] == 255).all()
    else:
        inside = masks.binary()[0].numpy()
        assert (np.abs(made[..., 3] - 255 * inside) > 12).mean() < 0.01
        assert (np.abs(made[..., :3] - np.asarray(paper)).max(2)[inside] > 12).mean() < 0.02


def test_colour_maps_are_those_of_the_library(page: Page) -> None:
    made = page.evaluate(
        """async () => {
          const { ANCHORS, colormap } = await import('/static/canvas/colormaps.js');
          return Object.fromEntries(Object.keys(ANCHORS).map((name) => [name, [...colormap(name)]]));
        }"""
    )
    assert list(made) == list(ANCHORS)
    for name, colours in made.items():
        assert np.abs(np.reshape(colours, (256, 4))[:, :3] - colormap(name).astype(int)).max() <= 1, name


@pytest.mark.parametrize("sigma", [0.6, 1.5, 2.5, 4, 9.3])
def test_a_gaussian_is_one(page: Page, sigma: float) -> None:
    values = levels("two")
    blurred = page.evaluate(
        """async ([levels, side, sigma]) => {
          const { logitsOf } = await import('/static/canvas/maps.js');
          const logits = logitsOf({ width: side, height: side, levels: Uint8Array.from(levels) }, [sigma, sigma / 2]);
          return Array.from(logits, (value) => 1 / (1 + Math.exp(-value)));
        }""",
        [values.ravel().tolist(), SIDE, sigma],
    )
    expected = ndimage.gaussian_filter(values / 255, (sigma / 2, sigma), truncate=6)
    assert np.abs(np.reshape(blurred, values.shape) - expected).max() < 0.02


def test_parts_are_those_of_the_library(page: Page) -> None:
    logits = np.random.default_rng(3).normal(size=(40, 52)).astype(np.float32)
    logits = ndimage.gaussian_filter(logits, 1.2) * 8
    parts = page.evaluate(
        """async ([values, width, height]) => {
          const { components, measured } = await import('/static/canvas/components.js');
          const logits = Float32Array.from(values);
          return measured(components(logits, width, height, 0), logits, width, height, { width, height }).parts;
        }""",
        [logits.ravel().tolist(), 52, 40],
    )
    expected = Masks(torch.from_numpy(logits)[None], ("x",), (40, 52)).instances(0.5)
    assert [(part["number"], part["box"], part["area"]) for part in parts] == [
        (one.number, list(one.box_xyxy), one.area) for one in expected
    ]
    assert np.allclose([part["score"] for part in parts], [one.score for one in expected], atol=1e-4)


def test_a_point_stays_where_it_is_while_one_zooms(page: Page) -> None:
    before, after, least = page.evaluate(
        """async () => {
          const { pictured, WHOLE, zoomedAt } = await import('/static/canvas/view.js');
          const [picture, pane, point] = [{ width: 4000, height: 3000 }, { width: 800, height: 700 }, [500, 300]];
          const closer = zoomedAt(WHOLE, 3, point, picture, pane);
          const at = (view) => pictured(point, view, picture, pane);
          return [at(WHOLE), at(closer), zoomedAt(closer, 0.001, point, picture, pane)];
        }"""
    )
    assert np.allclose(before, after)
    assert least == {"zoom": 1, "x": 0.5, "y": 0.5}


DRAG = """async () => {
  const slider = document.getElementById('threshold');
  const painted = () => Number(document.getElementById('overlay').dataset.painted);
  const first = painted();
  for (let step = 0; step < 120; step += 1) {
    slider.value = String(0.2 + 0.6 * Math.abs(Math.sin(step / 20)));
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise(requestAnimationFrame);
  }
  return painted() - first;
}"""


def test_moves_of_a_slider_are_painted_one_by_one(page: Page, api: FakeApi) -> None:
    """On twelve megapixels. How many frames a second that makes is for benchmarks/web_app.py to say."""
    open_picture(page, "large.png", picture_bytes((4000, 3000)))
    ask(page, "two")
    ask(page, "slope")
    expect(page.locator(".pin")).to_have_count(3)
    asked = len(api.asked)
    assert page.evaluate(DRAG) > 60
    assert len(api.asked) == asked
