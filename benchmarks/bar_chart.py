"""Horizontal bars of ratios on a logarithmic axis, drawn with Pillow: how many times as fast, case by case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from clipseg.masks.lettering import font

# Okabe and Ito's colours, which stay apart for every kind of colour vision (jfly.uni-koeln.de/color, 2008), dark enough
# to stand on white.
INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 900, 290, 80, 84, 44  # pixels
BAR, GAP = 17, 13  # height of a bar, and between groups
LETTERS, TITLE = 13, 17
INK, GREY, FAINT, PAPER = "#1a1a1a", "#666666", "#e2e2e2", "#ffffff"
STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Group:
    """A case: its label, a ratio for each series, and the ratios that are aimed at, drawn as ticks."""

    label: str
    ratios: Mapping[str, float]
    goals: Mapping[str, float] = field(default_factory=dict)


def draw_bars(title: str, note: str, groups: Sequence[Group]) -> Image.Image:
    """Groups -> the picture. Series keep their colour and order; every bar is labelled with its ratio."""
    series = list(dict.fromkeys(name for group in groups for name in group.ratios))
    inks = {name: INKS[number % len(INKS)] for number, name in enumerate(series)}
    height = TOP + sum(BAR * len(group.ratios) + GAP for group in groups) + BOTTOM
    canvas = Image.new("RGB", (WIDTH, height), PAPER)
    draw, letters = ImageDraw.Draw(canvas), font(LETTERS)
    draw.text((16, 10), title, fill=INK, font=font(TITLE))
    draw.text((16, 34), note, fill=GREY, font=letters)
    _legend(draw, inks, any(group.goals for group in groups))
    shown = [ratio for group in groups for ratio in (*group.ratios.values(), *group.goals.values())]
    low, high = min(1.0, *shown) if shown else 1.0, max([2.0, *shown])
    low = low if low == 1 else low / 1.2
    floor = height - BOTTOM

    def place(ratio: float) -> float:
        share = math.log(max(ratio, low) / low) / math.log(high / low)
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    for tick in ticks(low, high):
        x = place(tick)
        draw.line((x, TOP - 6, x, floor), fill=GREY if tick == 1 else FAINT)
        draw.text((x, floor + 6), f"{tick:g}x", fill=GREY, font=letters, anchor="mt")
    y = float(TOP)
    for group in groups:
        middle = y + BAR * len(group.ratios) / 2
        draw.text((LEFT - 10, middle), group.label, fill=INK, font=letters, anchor="rm")
        for name, ratio in group.ratios.items():
            start, end = sorted((place(1), place(ratio)))
            draw.rectangle((start, y + 1, max(end, start + 1), y + BAR - 2), fill=inks[name])
            label, left = f"{ratio:.3g}x", max(end, start + 1) + 6
            if name in group.goals:
                goal = place(group.goals[name])
                draw.line((goal, y - 1, goal, y + BAR), fill=INK, width=2)
                if left - 6 < goal < left + letters.getlength(label) + 6:
                    left = goal + 6
            draw.text(
                (left, y + BAR / 2), label, fill=INK, font=letters, anchor="lm", stroke_width=2, stroke_fill=PAPER
            )
            y += BAR
        y += GAP
    return canvas


def ticks(low: float, high: float) -> list[float]:
    """The ends of a logarithmic axis -> the numbers 1, 2, 5, 10, 20, … between them, and those below 1."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [step * 10.0**power for power in decades for step in STEPS if low <= step * 10.0**power <= high]


def _legend(draw: ImageDraw.ImageDraw, inks: Mapping[str, str], with_goals: bool) -> None:
    letters, x = font(LETTERS), 16.0
    for name, ink in inks.items():
        draw.rectangle((x, 59, x + 11, 70), fill=ink)
        draw.text((x + 17, 65), name, fill=INK, font=letters, anchor="lm")
        x += 17 + letters.getlength(name) + 22
    if with_goals:
        draw.line((x + 5, 57, x + 5, 72), fill=INK, width=2)
        draw.text((x + 13, 65), "goal", fill=INK, font=letters, anchor="lm")
