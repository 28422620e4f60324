"""Curves drawn with Pillow: lines over a grid, each named in a legend below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from clipseg.errors import UsageError
from clipseg.masks.draw import colour
from clipseg.masks.lettering import font, printable

SCALE = 2  # drawn so many times as large, and shrunk for smooth lines
LETTERS = 13  # pixels high
LEFT, TOP, RIGHT, LINE = 56, 34, 20, 22  # pixels: margins, and the height of a line of the legend
INK, FAINT, PAPER = (28, 30, 34), (224, 226, 230), (255, 255, 255)
TICKS = 5


def line_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    across: str,
    x: tuple[float, float] = (0.0, 1.0),
    y: tuple[float, float] = (0.0, 1.0),
    size_wh: tuple[int, int] = (640, 420),
) -> Image.Image:
    """Names and points (x, y) of lines -> a chart of them over the ranges `x` and `y`, `across` naming what x is.

    Points outside the ranges are drawn on the border. Raises UsageError for no curve or a range without width.
    """
    if not curves or not (x[0] < x[1] and y[0] < y[1]):
        raise UsageError(f"a chart needs a curve and ranges with a width; got {len(curves)}, {x} and {y}")
    width, height = size_wh
    bottom = height - 2 * LINE
    columns = max(1, (width - LEFT) // 280)
    legend = -(-len(curves) // columns) * LINE
    canvas = Image.new("RGB", (SCALE * width, SCALE * (height + legend)), PAPER)
    pen = ImageDraw.Draw(canvas)
    letters = font(SCALE * LETTERS)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        share = [min(1.0, max(0.0, (v - low) / (high - low))) for v, (low, high) in zip(point, (x, y), strict=True)]
        return SCALE * (LEFT + share[0] * (width - LEFT - RIGHT)), SCALE * (bottom - share[1] * (bottom - TOP))

    def write(at: tuple[float, float], text: str, anchor: str) -> None:
        pen.text(at, printable(text), fill=INK, font=letters, anchor=anchor)

    write((SCALE * LEFT, SCALE * TOP / 2), title, "lm")
    for step in range(TICKS + 1):
        value_x, value_y = (low + (high - low) * step / TICKS for low, high in (x, y))
        pen.line([place((value_x, y[0])), place((value_x, y[1]))], fill=FAINT, width=SCALE)
        pen.line([place((x[0], value_y)), place((x[1], value_y))], fill=FAINT, width=SCALE)
        write((place((value_x, y[0]))[0], SCALE * (bottom + 6)), f"{value_x:g}", "mt")
        write((SCALE * (LEFT - 8), place((x[0], value_y))[1]), f"{value_y:g}", "rm")
    write((SCALE * (LEFT + width - RIGHT) / 2, SCALE * (bottom + LINE)), across, "mt")
    for number, (name, points) in enumerate(curves.items()):
        placed = [place(point) for point in points]
        if len(placed) > 1:
            pen.line(placed, fill=colour(number), width=2 * SCALE, joint="curve")
        for left, middle in placed if len(placed) == 1 else ():
            pen.ellipse((left - 4, middle - 4, left + 4, middle + 4), fill=colour(number))
        left = SCALE * (LEFT + number % columns * 280)
        middle = SCALE * (height + number // columns * LINE + LINE / 2)
        pen.line([(left, middle), (left + SCALE * 20, middle)], fill=colour(number), width=3 * SCALE)
        write((left + SCALE * 28, middle), name, "lm")
    return canvas.reduce(SCALE)
