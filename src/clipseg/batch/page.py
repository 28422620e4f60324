"""Pieces of a page to look at: one HTML file with everything in it, no script, light or dark as the reader's screen is.

Text becomes HTML in one place, `text`; whatever else is handed around is HTML already.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from clipseg.masks.draw import colour

QUALITY = 82  # of JPEG thumbnails

STYLE = Path(__file__).parents[1] / "assets" / "batch" / "report.css"


def text(value: object) -> str:
    """Anything -> HTML that shows it, whatever it holds."""
    return html.escape(" ".join(str(value).split()).encode("utf-8", "replace").decode())


def page(title: str, body: Iterable[str]) -> str:
    """A title and the pieces of a page -> the file."""
    # Nothing is loaded and nothing runs, whatever a file name or a label may hold.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def tiles(values: Sequence[tuple[str, str, bool]]) -> str:
    """Figures, what each is, and whether it is bad -> a row of them."""
    cells = (
        f'<div class="tile{" bad" if bad else ""}"><b>{text(value)}</b><span>{text(name)}</span></div>'
        for name, value, bad in values
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values -> a list of them."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in rows)}</dl>"


def table(headings: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Headings with the class of their column, and rows of HTML -> a table."""
    head = "".join(f'<th class="{kind}">{text(heading)}</th>' for heading, kind in headings)
    lines = (
        "".join(f'<td class="{kind}">{cell}</td>' for (_, kind), cell in zip(headings, row, strict=True))
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def chip(place: int) -> str:
    """The place of a label -> a square in its colour."""
    return f'<i class="chip" style="background:{hue(place)}"></i>'


def hue(place: int) -> str:
    """The place of a label -> its colour in CSS."""
    return "#{:02x}{:02x}{:02x}".format(*colour(place))


def share(part: float, place: int) -> str:
    """A part from 0 to 1 and the place of a label -> a bar of its colour."""
    return f'<span class="share"><i style="width:{100 * part:.1f}%;background:{hue(place)}"></i></span>'


def spark(counts: Sequence[int], fill: str) -> str:
    """Counts -> small bars over a line, for a cell."""
    return _bars(counts, [f"{count:,}" for count in counts], (128, 30), fill, "")


def bars(counts: Sequence[float], names: Sequence[str], low: str, high: str, fill: str = "var(--bar)") -> str:
    """Counts, and what each is of -> bars over an axis from `low` to `high`; each tells its name when pointed at."""
    width, height = 360, 130
    titles = [f"{name}: {count:,.4g}" for name, count in zip(names, counts, strict=True)]
    words = (
        f'<text x="0" y="{height + 16}">{text(low)}</text>'
        f'<text x="{width}" y="{height + 16}" text-anchor="end">{text(high)}</text>'
        f'<text x="0" y="-5">{max(counts, default=0):,.4g}</text>'
    )
    return _bars(counts, titles, (width, height), fill, words)


def _bars(counts: Sequence[float], titles: Sequence[str], size: tuple[int, int], fill: str, words: str) -> str:
    width, height = size
    most, step = max(counts, default=0) or 1, width / max(1, len(counts))
    drawn = [f'<line class="axis" x1="0" y1="{height}" x2="{width}" y2="{height}"/>', words]
    for place, (count, title) in enumerate(zip(counts, titles, strict=True)):
        tall = max(height * count / most, 1.0) if count else 0.0
        drawn.append(
            f'<rect x="{(place + 0.08) * step:.1f}" y="{height - tall:.1f}" width="{step * 0.84:.1f}" '
            f'height="{tall:.1f}" rx="1.5" fill="{fill}"><title>{text(title)}</title></rect>'
        )
    top, foot = (16, 22) if words else (1, 1)
    return f'<svg viewBox="0 {-top} {width} {height + top + foot}" role="img">{"".join(drawn)}</svg>'


def chart(title: str, note: str, drawing: str) -> str:
    """A drawing -> the same in a card with a title."""
    return f'<figure class="card"><figcaption>{text(title)}<small>{text(note)}</small></figcaption>{drawing}</figure>'


def sheet(pictures: Iterable[tuple[Image.Image, str, str]]) -> str:
    """Pictures, a figure and a name for each -> them beside one another."""
    cells = (
        f'<figure><img src="{_data(picture)}" alt="{text(name)}" loading="lazy">'
        f'<figcaption title="{text(name)}"><small>{text(figure)}</small>{text(name)}</figcaption></figure>'
        for picture, figure, name in pictures
    )
    return f'<div class="sheet">{"".join(cells)}</div>'


def _data(picture: Image.Image) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
