from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipseg.errors import UsageError
from clipseg.masks.draw import (
    PALETTE,
    LegendEntry,
    colour,
    contact_sheet,
    paint_heat,
    paint_masks,
    with_legend,
)

GREY = (100, 100, 100)


def grey(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def test_the_palette_has_twenty_colours_or_more_and_keeps_them_apart() -> None:
    assert len(PALETTE) >= 20
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in combinations(PALETTE, 2)) > 40
    assert colour(len(PALETTE) + 2) == PALETTE[2]


def test_a_mask_is_filled_outlined_and_everything_else_left_alone() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    pixels = np.array(paint_masks(grey(60, 40), [mask], alpha=0.5))
    assert (pixels[~mask] == GREY).all()
    inner = np.zeros_like(mask)
    inner[11:29, 21:49] = True
    assert (pixels[mask & ~inner] == PALETTE[0]).all()
    assert (pixels[inner] == np.rint(0.5 * np.add(GREY, PALETTE[0]))).all()


def test_no_outline_where_the_mask_runs_out_of_the_picture() -> None:
    pixels = np.array(paint_masks(grey(20, 20), [np.ones((20, 20), bool)], alpha=0.5))
    assert (pixels == np.rint(0.5 * np.add(GREY, PALETTE[0]))).all()


def test_a_later_filling_does_not_cover_an_earlier_outline() -> None:
    small = np.zeros((30, 30), bool)
    small[10:20, 10:20] = True
    pixels = np.array(paint_masks(grey(30, 30), [small, np.ones((30, 30), bool)], alpha=1.0))
    assert (pixels[10, 10:20] == PALETTE[0]).all()
    assert (pixels[15, 15] == PALETTE[1]).all()


@pytest.mark.parametrize(("side", "thickness"), [(64, 1), (600, 2), (1500, 5)])
def test_outlines_grow_with_the_picture(side: int, thickness: int) -> None:
    mask = np.zeros((side, side), bool)
    mask[:, side // 2 :] = True
    row = np.array(paint_masks(grey(side, side), [mask], alpha=0.0))[side // 2]
    assert int((row == PALETTE[0]).all(1).sum()) == thickness


def test_heat_moves_the_picture_towards_the_colour_by_its_probability() -> None:
    heat = np.linspace(0, 1, 5, dtype=np.float32)[None]
    pixels = np.array(paint_heat(grey(5, 1), [heat], alpha=0.8)).astype(float)
    expected = np.array(GREY) + 0.8 * heat[0][:, None] * np.subtract(PALETTE[0], GREY)
    assert np.abs(pixels[0] - expected).max() <= 0.5


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_is_a_fraction(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha"):
        paint_masks(grey(4, 4), [], alpha)
    with pytest.raises(UsageError, match="alpha"):
        paint_heat(grey(4, 4), [], alpha)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 300),
    st.lists(st.builds(LegendEntry, st.text(max_size=40), st.floats(0, 1)), min_size=1, max_size=50),
)
def test_the_legend_is_a_strip_below_an_untouched_picture(width: int, height: int, entries: list[LegendEntry]) -> None:
    picture = grey(width, height)
    sheet = with_legend(picture, entries)
    assert sheet.width == width
    assert sheet.crop((0, 0, width, height)).tobytes() == picture.tobytes()
    assert height < sheet.height <= height + max(height, 90)


def test_the_legend_shows_a_chip_of_each_colour_in_columns() -> None:
    sheet = np.array(with_legend(grey(640, 480), [LegendEntry(f"label {n}", 0.5) for n in range(8)]))
    strip = sheet[480:]
    for n in range(8):
        assert (strip == PALETTE[n]).all(2).any(), n
    assert len(strip) < 3 * 640 / 45 * 1.6 + 40  # two or three lines, not eight


def test_what_does_not_fit_into_the_legend_is_counted() -> None:
    entries = [LegendEntry(f"label {n}", 0.5) for n in range(200)]
    sheet = np.array(with_legend(grey(100, 100), entries))
    assert len(sheet) <= 200
    assert not (sheet[100:] == PALETTE[20]).all(2).any()


def test_a_label_no_glyph_exists_for_is_called_by_its_number() -> None:
    unreadable = with_legend(grey(300, 300), [LegendEntry("カップ", 0.5)])
    numbered = with_legend(grey(300, 300), [LegendEntry("#1", 0.5)])
    assert unreadable.tobytes() == numbered.tobytes()


def test_a_contact_sheet_places_pictures_in_rows_and_keeps_their_shape() -> None:
    images = [Image.new("RGB", (40, 20), PALETTE[n]) for n in range(3)] + [Image.new("RGB", (20, 20), PALETTE[3])]
    sheet = np.array(contact_sheet(images, columns=2))
    gap = (sheet.shape[1] - 2 * 40) // 3
    assert sheet.shape == (2 * 20 + 3 * gap, 2 * 40 + 3 * gap, 3)
    for n, width in enumerate([40, 40, 40, 20]):
        ys, xs = np.nonzero((sheet == PALETTE[n]).all(2))
        assert (ys.max() - ys.min() + 1, xs.max() - xs.min() + 1) == (20, width)
        assert ys.min() == gap + n // 2 * (20 + gap)
        assert xs.min() == gap + n % 2 * (40 + gap) + (40 - width) // 2


def test_a_contact_sheet_scales_to_its_cells_and_writes_titles() -> None:
    images = [grey(400, 300), grey(30, 60)]
    bare = contact_sheet(images, columns=5, cell_hw=(90, 120))
    titled = contact_sheet(images, columns=5, titles=["one", "two"], cell_hw=(90, 120))
    assert bare.width == titled.width < 3 * 120
    assert titled.height > bare.height > 90
    heading = np.array(titled)[: titled.height - bare.height]
    assert heading.min() < 60
    larger = contact_sheet(images, columns=5, titles=["one", "two"], cell_hw=(90, 120), text_height=20)
    assert larger.height > titled.height


@pytest.mark.parametrize(
    "wrong",
    [{"images": []}, {"columns": 0}, {"titles": ["one", "two"]}, {"cell_hw": (0, 5)}],
)
def test_a_contact_sheet_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="sheet"):
        contact_sheet(**{"images": [grey(4, 4)], "columns": 1, **wrong})  # type: ignore[arg-type]
