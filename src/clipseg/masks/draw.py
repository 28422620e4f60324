"""Masks made visible: colours, overlays, contours, a legend and a sheet of pictures.

H W a picture's size. Everything here works on ready-made maps; nothing decides what belongs to a mask.
"""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from clipseg.errors import UsageError
from clipseg.masks.lettering import font, printable, shortened

Colour = tuple[int, int, int]

# The first seven are the colours of Okabe and Ito (Color Universal Design, 2008), which people with any kind of colour
# vision tell apart; the rest were chosen to keep their distance from those and from each other.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (118, 42, 131),
    (127, 201, 64),
    (255, 64, 96),
    (64, 224, 208),
    (140, 81, 10),
    (255, 170, 150),
    (70, 70, 220),
    (190, 160, 255),
    (110, 110, 20),
    (255, 60, 210),
    (0, 90, 60),
    (150, 20, 50),
    (190, 190, 190),
    (20, 40, 110),
    (0, 255, 100),
    (120, 130, 150),
    (215, 200, 150),
)

_PAPER: Colour = (250, 250, 248)
_INK: Colour = (28, 30, 34)
_FAINT: Colour = (112, 116, 124)


class LegendEntry(NamedTuple):
    """One line of a legend: the n-th entry stands for the n-th colour."""

    label: str
    score: float


def colour(number: int, colours: Sequence[Colour] = PALETTE) -> Colour:
    """The colour of the label at a position counted from 0; after the last colour the first comes again."""
    return colours[number % len(colours)]


def colour_named(name: str) -> Colour:
    """A colour as Pillow names them, "white" or "#1e90ff" -> red, green and blue. Raises UsageError for another."""
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except (ValueError, AttributeError, TypeError) as error:  # TypeError: a number is no text
        raise UsageError(f'{name!r} is no colour; expected one such as "white" or "#1e90ff"') from error
    return red, green, blue


def read_colours(colours: str | Sequence[str | Colour] | None) -> tuple[Colour, ...]:
    """Names, or red, green and blue from 0 to 255 -> colours; of one text, joined by "/"; None: the palette.

    Raises UsageError for what is no colour, and for none at all.
    """
    if colours is None:
        return PALETTE
    given = colours.split("/") if isinstance(colours, str) else colours
    if not isinstance(given, Sequence) or not given:
        raise UsageError(f"colours are a list of one or more; got {colours!r}")
    return tuple(colour_named(one) if isinstance(one, str) else _checked(one) for one in given)


def _checked(channels: Colour) -> Colour:
    known = isinstance(channels, Sequence) and len(channels) == 3
    if not known or not all(isinstance(one, int) and 0 <= one <= 255 for one in channels):
        raise UsageError(f"a colour is red, green and blue, whole numbers from 0 to 255; got {channels!r}")
    return channels


def paint_heat(
    picture: Image.Image, maps: Iterable[NDArray[np.float32]], alpha: float, colours: Sequence[Colour] = PALETTE
) -> Image.Image:
    """Probabilities (H, W), one map per label -> the picture with each colour as strong as `alpha` times its map."""
    pixels = _pixels(picture, alpha)
    for number, weights in enumerate(maps):
        _blend(pixels, weights * np.float32(alpha), colour(number, colours))
    return Image.fromarray(pixels)


def paint_masks(
    picture: Image.Image, masks: Iterable[NDArray[np.bool_]], alpha: float, colours: Sequence[Colour] = PALETTE
) -> Image.Image:
    """Masks (H, W) bool, one per label -> the picture with each filled at strength `alpha`, and outlined.

    Outlines lie inside their masks and above every filling; of two on one pixel the later label's is seen.
    """
    pixels = _pixels(picture, alpha)
    outlines = np.zeros(pixels.shape[:2], np.min_scalar_type(len(colours)))  # (H, W): 0 none, else 1 + a colour's
    thickness = max(1, round(min(picture.size) / 300))
    for number, mask in enumerate(masks):
        if mask.any():
            _blend(pixels, mask * np.float32(alpha), colour(number, colours))
            outlines[mask & ~_shrunk(mask, thickness)] = 1 + number % len(colours)
    drawn = outlines > 0
    pixels[drawn] = np.array(colours, np.uint8)[outlines[drawn] - 1]
    return Image.fromarray(pixels)


def with_legend(
    picture: Image.Image, entries: Sequence[LegendEntry], colours: Sequence[Colour] = PALETTE
) -> Image.Image:
    """A picture -> the same picture, untouched, above a strip of colour chips with label and score.

    The strip has the picture's width and a text size to match, in columns where they fit, labels shortened where they
    must be, scores left out of a picture too narrow for them. It never gets taller than the picture or three lines,
    whichever is more; the last line then counts what is left out.
    """
    text = _text_height(picture.size)
    line, gap, margin = round(text * 1.6), round(text * 0.45), round(text * 0.8)
    width = picture.width - 2 * margin
    with_scores = width >= 10 * text
    scores = [f"{entry.score:.2f}" if with_scores else "" for entry in entries]
    room = [width - text - 2 * gap - font(text).getlength(score) for score in scores]
    names = [shortened(_name(entry.label, n), room[n], text) for n, entry in enumerate(entries)]

    lengths = [font(text).getlength(name) for name in names]
    ends = [length + gap + font(text).getlength(score) for length, score in zip(lengths, scores, strict=True)]
    column = text + gap + max(ends) + 2 * margin  # chip, gap, label, gap, score, and space to the next column
    columns = max(1, int((width + 2 * margin) // column))
    most_lines = max(3, (picture.height - 2 * margin) // line)
    shown = len(entries) if ceil(len(entries) / columns) <= most_lines else (most_lines - 1) * columns
    lines = ceil(len(entries) / columns) if shown == len(entries) else most_lines

    sheet = Image.new("RGB", (picture.width, picture.height + lines * line + 2 * margin), _PAPER)
    sheet.paste(picture)
    pen = ImageDraw.Draw(sheet)
    for n in range(shown):
        x, middle = margin + n % columns * column, picture.height + margin + (n // columns + 0.5) * line
        chip = (x, middle - text / 2, x + text, middle + text / 2)
        pen.rounded_rectangle(chip, radius=text / 5, fill=colour(n, colours))
        pen.text((x + text + gap, middle), names[n], fill=_INK, font=font(text), anchor="lm")
        end = x + text + gap + lengths[n] + gap
        pen.text((end, middle), scores[n], fill=_FAINT, font=font(text), anchor="lm")
    if shown < len(entries):
        rest = shortened(f"and {len(entries) - shown} more", width, text)
        middle = picture.height + margin + (lines - 0.5) * line
        pen.text((margin, middle), rest, fill=_FAINT, font=font(text), anchor="lm")
    return sheet


def contact_sheet(
    images: Sequence[Image.Image],
    columns: int,
    titles: Sequence[str] | None = None,
    cell_hw: tuple[int, int] | None = None,
    text_height: int | None = None,
) -> Image.Image:
    """Pictures -> one picture of them all, row by row in equal cells, each with its title above.

    A cell is `cell_hw`, or as large as the largest picture; a picture of another size is scaled to fit its cell and
    centred, its shape kept. Titles are `text_height` pixels high, or as suits a cell. Raises UsageError without
    pictures, for fewer than one column or pixel, and where titles and pictures differ in number.
    """
    if not images or columns < 1 or (cell_hw is not None and min(cell_hw) < 1):
        raise UsageError(f"a sheet needs pictures, columns and cells; got {len(images)}, {columns} and {cell_hw}")
    if titles is not None and len(titles) != len(images):
        raise UsageError(f"a sheet needs a title for each of its {len(images)} pictures; got {len(titles)}")
    height, width = cell_hw or (max(image.height for image in images), max(image.width for image in images))
    text = text_height or _text_height((width, height))
    gap, heading = max(4, text // 2), 0 if titles is None else round(text * 1.8)
    columns, rows = min(columns, len(images)), ceil(len(images) / columns)

    size = (columns * (width + gap) + gap, rows * (heading + height + gap) + gap)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for n, image in enumerate(images):
        x, y = gap + n % columns * (width + gap), gap + n // columns * (heading + height + gap)
        if titles is not None:
            title = shortened(printable(titles[n]), width, text)
            pen.text((x, y + heading / 2), title, fill=_INK, font=font(text), anchor="lm")
        scale = min(width / image.width, height / image.height)
        fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        scaled = image.convert("RGB").resize(fitted, Image.Resampling.LANCZOS)
        sheet.paste(scaled, (x + (width - fitted[0]) // 2, y + heading + (height - fitted[1]) // 2))
    return sheet


def _pixels(picture: Image.Image, alpha: float) -> NDArray[np.uint8]:
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is how strong the colours are, from 0 to 1; got {alpha}")
    return np.array(picture.convert("RGB"))  # (H, W, 3), a copy


def _blend(pixels: NDArray[np.uint8], weights: NDArray[np.float32], towards: Colour) -> None:
    """Move pixels (H, W, 3) in place towards a colour by weights (H, W) in 0 to 1; by channels, to save memory."""
    for channel, target in enumerate(towards):
        values = pixels[..., channel]
        pixels[..., channel] = np.rint(values + weights * (np.float32(target) - values))


def _shrunk(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """(H, W) -> the same without its outermost `steps` pixels; outside the picture counts as inside the mask.

    A cross and a square by turns make an octagon, close enough to a disk for an outline and far cheaper than one.
    """
    for step in range(steps):
        before, mask = mask, mask.copy()
        mask[1:] &= before[:-1]
        mask[:-1] &= before[1:]
        across = mask.copy() if step % 2 else before
        mask[:, 1:] &= across[:, :-1]
        mask[:, :-1] &= across[:, 1:]
    return mask


def _text_height(size_wh: tuple[int, int]) -> int:
    """Text that is as readable beside a huge picture seen whole as beside a small one; 10 pixels is the least."""
    return max(10, round(min(size_wh[0], 2 * size_wh[1]) / 45))


def _name(label: str, number: int) -> str:
    """A label as the font can draw it, or its position from 1 where nothing of it can be drawn."""
    name = printable(label)
    return name if set(name) - {"?", " "} else f"#{number + 1}"
