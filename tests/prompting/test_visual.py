"""Against the paper's formulas written out in float64, one pixel at a time where that is clearest."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import PromptError
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.prompting.styles import STYLES, VisualStyle
from clipseg.prompting.visual import (
    engineer,
    engineered,
    gaussian_blur,
    mask_box,
    outline,
    padded_square,
    widened,
)

FINAL = STYLES["crop_blur_highlight"]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """The 15 x 15 kernel as one table, over pixels mirrored about the border's own pixel."""
    steps = np.arange(-7, 8)
    kernel = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(pixels, ((0, 0), (7, 7), (7, 7)), mode="reflect")
    out = np.zeros_like(pixels)
    for y in range(15):
        for x in range(15):
            out += kernel[y, x] * padded[:, y : y + pixels.shape[1], x : x + pixels.shape[2]]
    return out


def line_by_hand(mask: np.ndarray, thickness: float) -> np.ndarray:
    """What is near a border pixel; one is inside, and has a neighbour (or the picture's end) that is reached from
    outside without crossing the mask. The masks here have no holes, so every pixel outside is reached."""
    height, width = mask.shape
    around = np.pad(mask, 1)
    border = [
        (y, x)
        for y, x in zip(*np.nonzero(mask), strict=True)
        if not (around[y, x + 1] and around[y + 2, x + 1] and around[y + 1, x] and around[y + 1, x + 2])
    ]
    ys, xs = np.mgrid[:height, :width]
    line = np.zeros(mask.shape, bool)
    for y, x in border:
        line |= (ys - y) ** 2 + (xs - x) ** 2 <= ((thickness - 1) / 2) ** 2
    return line


def by_hand(pixels: np.ndarray, mask: np.ndarray, style: VisualStyle, size_hw: tuple[int, int]) -> np.ndarray:
    m = mask.astype(np.float64)
    background = blurred(pixels, style.blur) if style.blur else pixels
    out = pixels * m + background * (1 - m)
    mean, std = np.array(IMAGENET_MEAN)[:, None, None], np.array(IMAGENET_STD)[:, None, None]
    if style.tint:
        grey = np.clip(out * std + mean, 0, 1).sum(0) / 3
        coloured = np.stack([grey * factor for factor in style.tint])
        out = (coloured * m + grey * style.background * (1 - m) - mean) / std
    else:
        out = out * (m + style.background * (1 - m))
    out = out + style.offset
    if style.outline:
        line = line_by_hand(mask, style.outline)
        red = np.array([1.0, 0, 0])[:, None, None]
        out = np.where(line, (red - mean) / std, out)
    if style.context is not None:
        height, width = mask.shape
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        y0, y1 = (rows[0], rows[-1] + 1) if len(rows) else (0, height)
        x0, x1 = (columns[0], columns[-1] + 1) if len(columns) else (0, width)
        more_x, more_y = round((x1 - x0) * style.context), round((y1 - y0) * style.context)
        x0, x1 = max(0, x0 - more_x), min(width, x1 + more_x)
        y0, y1 = max(0, y0 - more_y), min(height, y1 + more_y)
        side = max(x1 - x0, y1 - y0)
        square = np.zeros((len(pixels), side, side))
        left, top = (side - (x1 - x0)) // 2, (side - (y1 - y0)) // 2
        square[:, top : top + y1 - y0, left : left + x1 - x0] = out[:, y0:y1, x0:x1]
        out = square
    rows = np.arange(size_hw[0]) * out.shape[1] // size_hw[0]
    columns = np.arange(size_hw[1]) * out.shape[2] // size_hw[1]
    return out[:, rows][:, :, columns]


@pytest.mark.parametrize("sigma", [1.0, 3.0])
@pytest.mark.parametrize("size_hw", [(20, 31), (8, 40), (64, 64)])
def test_blur(sigma, size_hw):
    pixels = noise(3, *size_hw)
    expected = blurred(pixels.double().numpy(), sigma)
    np.testing.assert_allclose(gaussian_blur(pixels, sigma).numpy(), expected, atol=1e-6)


def test_blur_of_a_point_is_the_kernel():
    point = torch.zeros(1, 31, 31)
    point[0, 15, 15] = 1
    spread = gaussian_blur(point, 3.0)[0]
    assert spread[:8].abs().max() == spread[:, 23:].abs().max() == 0, "15 pixels wide, whatever the sigma"
    assert spread[8, 15] > 0
    assert spread.sum().item() == pytest.approx(1, abs=1e-6)
    assert (spread[15, 15] / spread[15, 18]).item() == pytest.approx(np.exp(0.5), rel=1e-4)


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 7), (3, 50), (7, 8)])
def test_blur_of_little(size_hw):
    """Too small to be mirrored: the border's pixels are repeated, and a flat picture stays flat."""
    flat = torch.full((3, *size_hw), 0.7)
    torch.testing.assert_close(gaussian_blur(flat, 3.0), flat)


MASKS = {
    "inside": (slice(9, 21), slice(12, 26)),
    "top left": (slice(0, 6), slice(0, 5)),
    "bottom right": (slice(30, 36), slice(41, 44)),
    "wide": (slice(20, 22), slice(2, 42)),
    "one pixel": (slice(17, 18), slice(3, 4)),
    "corner pixel": (slice(35, 36), slice(43, 44)),
    "everything": (slice(None), slice(None)),
    "nothing": (slice(0, 0), slice(0, 0)),
}


MADE_UP = (
    VisualStyle(blur=2, context=0.5),
    VisualStyle(blur=1, background=0.3, tint=(0.2, 1.0, 2.0), offset=0.2),
    VisualStyle(outline=3, context=0.2, background=0.4, offset=0.1),
    VisualStyle(outline=1),
)


@pytest.mark.parametrize("style", [*STYLES.values(), *MADE_UP])
@pytest.mark.parametrize("place", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("size_hw", [(36, 44), (24, 24), (50, 70)])
def test_engineered_as_the_paper_says(style, place, size_hw):
    pixels, mask = noise(3, 36, 44), torch.zeros(36, 44, dtype=torch.bool)
    mask[place] = True
    before = pixels.clone(), mask.clone()
    out = engineer(pixels, mask, style, size_hw)
    expected = by_hand(pixels.double().numpy(), mask.numpy(), style, size_hw)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)
    assert torch.equal(pixels, before[0]), "the picture given is left as it is"
    assert torch.equal(mask, before[1])


def test_the_final_recipe_in_words():
    """A thing on white: it stays as it is, what is far from it fades to a tenth, and the padding is zero."""
    pixels, mask = torch.full((3, 40, 40), 2.0), torch.zeros(40, 40, dtype=torch.bool)
    mask[10:30, 18:22] = True  # 20 high, 4 wide; widened by 2 and by 0: 24 x 4
    out = engineer(pixels, mask, FINAL, (24, 24))
    assert out.shape == (3, 24, 24)
    assert torch.equal(out[:, 2:22, 10:14], torch.full((3, 20, 4), 2.0))
    torch.testing.assert_close(out[:, :2, 10:14], torch.full((3, 2, 4), 0.2))
    assert not out[:, :, :10].any()
    assert not out[:, :, 14:].any()


def test_an_empty_mask_is_all_background():
    pixels = noise(3, 20, 20)
    out = engineer(pixels, torch.zeros(20, 20), FINAL, (20, 20))
    torch.testing.assert_close(out, 0.1 * gaussian_blur(pixels, 3.0))


def test_masks_of_numbers_count_where_they_are_not_zero():
    pixels, mask = noise(3, 20, 20), torch.zeros(20, 20)
    mask[4:9, 5:8] = 255
    assert torch.equal(engineer(pixels, mask, FINAL, (20, 20)), engineer(pixels, mask > 0, FINAL, (20, 20)))


def test_a_mask_of_another_size():
    for shape in ((20, 21), (1, 20), (1, 20, 20)):
        with pytest.raises(PromptError, match="resize the mask"):
            engineer(noise(3, 20, 20), torch.ones(shape), FINAL, (20, 20))


@given(st.data())
@settings(deadline=None)
def test_mask_box(data):
    mask = torch.zeros(data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)), dtype=torch.bool)
    for _ in range(data.draw(st.integers(0, 4))):
        mask[data.draw(st.integers(0, len(mask) - 1)), data.draw(st.integers(0, mask.shape[1] - 1))] = True
    points = [(x, y) for y, row in enumerate(mask.tolist()) for x, inside in enumerate(row) if inside]
    xs, ys = zip(*points, strict=True) if points else (range(mask.shape[1]), range(len(mask)))
    assert mask_box(mask) == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def test_widened_stops_at_the_border():
    assert widened((10, 20, 30, 60), 0.1, (100, 100)) == (8, 16, 32, 64)
    assert widened((1, 2, 31, 62), 0.1, (64, 32)) == (0, 0, 32, 64)
    assert widened((3, 3, 4, 4), 0.1, (9, 9)) == (3, 3, 4, 4)


def test_padding_puts_the_smaller_half_first():
    wide = padded_square(torch.ones(1, 2, 5))[0]
    assert wide.sum(1).tolist() == [0, 5, 5, 0, 0]
    high = padded_square(torch.ones(1, 4, 1))[0]
    assert high.sum(0).tolist() == [0, 4, 0, 0]
    square = noise(3, 4, 4)
    assert torch.equal(padded_square(square), square)


def test_the_mask_goes_where_the_picture_goes():
    """Put through as a picture, a mask comes out as `engineered` says it."""
    mask = torch.zeros(36, 44, dtype=torch.bool)
    mask[9:21, 12:26] = True
    for style in (VisualStyle(), VisualStyle(context=0.1), VisualStyle(context=0.5)):
        pixels, seen = engineered(mask.float().expand(3, -1, -1), mask, style, (30, 20))
        assert torch.equal(seen, pixels[0] > 0)
        assert 0 < seen.sum() < seen.numel()


def test_an_outline_leaves_holes_alone():
    ring = torch.zeros(30, 30, dtype=torch.bool)
    ring[5:25, 5:25] = True
    full = ring.clone()
    ring[10:20, 10:20] = False
    assert torch.equal(outline(ring, 3), outline(full, 3))
    line = outline(ring, 3)
    assert line[4:7, 15].all(), "half of the line on either side"
    assert not line[7:23, 15].any()
    assert not line[3, 15]
    assert not outline(torch.zeros(4, 4, dtype=torch.bool), 5).any()


def test_other_statistics_for_colours():
    """Red is red, however pixels are normalised."""
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:15, 5:15] = True
    out = engineer(noise(3, 20, 20), mask, VisualStyle(outline=1), (20, 20), (0.5,) * 3, (0.25,) * 3)
    assert out[:, 5, 5].tolist() == [2, -2, -2]
