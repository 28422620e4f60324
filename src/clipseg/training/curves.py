"""The curves of a run as one picture: losses, and below them validation scores, over the steps of all stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from PIL import Image, ImageDraw

from clipseg.masks.lettering import font

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 260, 60, 28, 16, 28  # pixels, of one panel and its margins
LETTERS, TICKS = 12, 5
INKS = ("#1f6fb4", "#d8622a", "#3a9a4b", "#8a5bb0", "#8c6d31", "#c14f8a")

Points: TypeAlias = list[tuple[float, float]]


def draw_curves(entries: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> Image.Image:
    """Entries of the log, and the steps of each stage -> the picture. Smoothed lines are drawn over faint ones."""
    begins = [sum(lengths[:stage]) for stage in range(len(lengths))]
    losses: dict[str, Points] = {}
    scores: dict[str, Points] = {}
    for entry in entries:
        step = begins[entry["stage"]] + entry["step"]
        for name, value in entry.get("validation", {}).items():
            scores.setdefault(name, []).append((step, value))
        if "loss" in entry:
            losses.setdefault("loss", []).append((step, entry["loss"]))
    panels = [("training loss", losses), ("validation", scores)]
    canvas = Image.new("RGB", (WIDTH, HEIGHT * len(panels)), "white")
    for number, (title, curves) in enumerate(panels):
        _panel(canvas, number * HEIGHT, title, curves, max(1, sum(lengths)))
    return canvas


def _panel(canvas: Image.Image, top: int, title: str, curves: Mapping[str, Points], steps: int) -> None:
    draw, letters = ImageDraw.Draw(canvas), font(LETTERS)
    draw.text((LEFT, top + 6), title, fill="black", font=letters)
    values = [value for points in curves.values() for _, value in points if math.isfinite(value)]
    low, high = (min(0.0, *values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + 1.0
    x0, y0, x1, y1 = LEFT, top + TOP, WIDTH - RIGHT, top + HEIGHT - BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        return x0 + (x1 - x0) * step / steps, y1 - (y1 - y0) * (value - low) / (high - low)

    for tick in range(TICKS):
        value, step = low + (high - low) * tick / (TICKS - 1), steps * tick / (TICKS - 1)
        _, y = place(0, value)
        draw.line((x0, y, x1, y), fill="#e4e4e4")
        draw.text((x0 - 6, y), f"{value:.3g}", fill="grey", font=letters, anchor="rm")
        draw.text((place(step, low)[0], y1 + 6), f"{step:.0f}", fill="grey", font=letters, anchor="mt")
    legend = WIDTH - RIGHT
    for number, (name, points) in enumerate(curves.items()):
        ink = INKS[number % len(INKS)]
        finite = [(step, value) for step, value in points if math.isfinite(value)]
        line = [place(*point) for point in finite]
        if len(line) > 1:
            draw.line(line, fill=_faint(ink) if title == "training loss" else ink, width=2)
        for x, y in line if len(line) <= 40 else ():
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=ink)
        if title == "training loss" and len(finite) > 1:
            draw.line([place(*point) for point in _smoothed(finite)], fill=ink, width=2)
        draw.text((legend, top + 6), name, fill=ink, font=letters, anchor="ra")
        legend -= round(letters.getlength(name)) + 14


def _smoothed(points: Points) -> Points:
    """Points -> the running mean over a twentieth of them."""
    window = max(1, len(points) // 20)
    out = []
    for last, (step, _) in enumerate(points):
        near = [value for _, value in points[max(0, last + 1 - window) : last + 1]]
        out.append((step, sum(near) / len(near)))
    return out


def _faint(ink: str) -> str:
    return "#" + "".join(f"{(int(ink[i : i + 2], 16) + 2 * 255) // 3:02x}" for i in (1, 3, 5))
