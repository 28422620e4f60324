"""Write into docs/options.md what the library itself says of each option: its step, values and default.

    python examples/make_option_facts.py

That is the first line below an option's heading; all else on the page is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from clipseg.fits import DEFAULT_FIT, FITS
from clipseg.formats.colormaps import ANCHORS, DEFAULT_COLORMAP
from clipseg.formats.table import FORMATS
from clipseg.masks.options import OPTIONS
from clipseg.masks.rules import DEFAULT_ORDER, SORT_KEYS
from clipseg.prompting.styles import DEFAULT_STYLE, STYLES
from clipseg.prompting.templates import TEMPLATES
from clipseg.tiling import OVERLAP, TILE

PAGE = Path(__file__).parents[1] / "docs" / "options.md"


def facts() -> dict[str, str]:
    """-> for every section of the page the line that says where an option belongs, what it may be, and its default."""
    lengths = 'pixels, or "N%" of'
    rows: dict[str, tuple[str, list[str], object]] = {
        "templates": ("prompts", [*TEMPLATES, "or sentences of one's own"], "plain"),
        "style": ("prompts", [*STYLES, "or a VisualStyle"], DEFAULT_STYLE),
        "expressions": ("prompts", ["OR", "AND", "NOT", "( )", "modifiers"], "none"),
        "modifiers": ("prompts", ["`{*N}`", "`{+N}`", "`{-N}`"], "none"),
        "negative": ("combine", ["any prompts"], "none"),
        "fit": ("logits", list(FITS), DEFAULT_FIT),
        "tile": ("logits", [f"{lengths} the picture's shorter side"], TILE),
        "overlap": ("logits", [f"{lengths} a tile"], OVERLAP),
        "order": ("instances", list(SORT_KEYS), DEFAULT_ORDER),
        "formats": ("drawing", list(FORMATS), "png"),
        "colormap": ("drawing", list(ANCHORS), DEFAULT_COLORMAP),
    }
    rows |= {name: (row.step, [row.values], said(row.default)) for name, row in OPTIONS.items()}
    return {
        name: f"*Step* {step} · *values* {', '.join(values)} · *default* `{default}`"
        for name, (step, values, default) in rows.items()
    }


def with_facts(page: str) -> str:
    """The page -> the same with the line of each section, the first below its heading, as the library has it."""
    for name, line in facts().items():
        page = re.sub(rf"(?<=^### `{name}`\n\n)\*Step\* .*$", line.replace("\\", r"\\"), page, flags=re.MULTILINE)
    return page


def said(value: object) -> object:
    """A default -> as it is typed."""
    return ("no", "yes")[value] if isinstance(value, bool) else value


def main() -> None:
    """Bring the page up to date."""
    PAGE.write_text(with_facts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
