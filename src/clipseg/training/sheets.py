"""What a model makes of pictures that it does not train on, as one picture: a row each of picture, truth and answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from PIL import Image, ImageDraw

from clipseg.masks.lettering import font, printable, shortened
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD

SHOWN = 8
CELL, GAP, LETTERS = 128, 4, 12  # pixels
TRUE_RGB, SHADE = (0.1, 0.75, 0.3), 0.65
HEADINGS = ("picture", "truth", "answer")


class Shown(NamedTuple):
    """One row: what was asked, pixels (3, S, S) normalised, the truth (S, S) bool, probabilities (S, S)."""

    title: str
    pixels: torch.Tensor
    truth: torch.Tensor
    answer: torch.Tensor


def sheet(rows: Sequence[Shown]) -> Image.Image:
    """Rows, at least one -> their picture: what was asked above each; truth and answer in green over the picture."""
    line = LETTERS + GAP
    step = line + CELL + GAP
    canvas = Image.new("RGB", (GAP + 3 * (CELL + GAP), line + GAP + step * len(rows)), "white")
    draw, letters = ImageDraw.Draw(canvas), font(LETTERS)
    for column, heading in enumerate(HEADINGS):
        draw.text((GAP + column * (CELL + GAP), GAP), heading, fill="grey", font=letters)
    for number, row in enumerate(rows):
        top = line + GAP + number * step
        draw.text((GAP, top), shortened(printable(row.title), 3 * CELL, LETTERS), fill="black", font=letters)
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        picture = (row.pixels * std + mean).clamp(0, 1)
        for column, mask in enumerate((torch.zeros_like(row.answer), row.truth.to(row.answer.dtype), row.answer)):
            canvas.paste(_coloured(picture, mask), (GAP + column * (CELL + GAP), top + line))
    return canvas


def _coloured(picture: torch.Tensor, mask: torch.Tensor) -> Image.Image:
    """Colours (3, S, S) from 0 to 1, a mask (S, S) from 0 to 1 -> the cell."""
    alpha = SHADE * mask.clamp(0, 1)
    mixed = (1 - alpha) * picture + alpha * torch.tensor(TRUE_RGB)[:, None, None]
    small = F.interpolate(mixed[None], (CELL, CELL), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return Image.fromarray((small * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
