"""What can be asked for, told to programs: mask options, formats, styles and limits, from the library's own tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from clipseg.formats.table import FORMATS
from clipseg.masks.options import OPTIONS, Option
from clipseg.prompting.styles import DEFAULT_STYLE, STYLES
from clipseg.prompting.templates import TEMPLATES
from clipseg.server.settings import Limits


def options() -> dict[str, Any]:
    """-> every mask option, in the order in which they apply."""
    return {"options": [_option(row) for row in OPTIONS.values()]}


def formats() -> dict[str, Any]:
    """-> every format that a zip may hold, with the parameters it understands."""
    return {
        "formats": [
            {
                "name": row.name,
                "suffix": row.suffix,
                "scope": row.scope,
                "summary": row.summary,
                "options": [name for name in row.options if name != "threshold"],
            }
            for row in FORMATS.values()
        ]
    }


def styles() -> dict[str, Any]:
    """-> every style of example pictures and every set of templates."""
    return {
        "default": DEFAULT_STYLE,
        "styles": [{"name": name, **asdict(style)} for name, style in STYLES.items()],
        "templates": {name: list(sentences) for name, sentences in TEMPLATES.items()},
    }


def limits(allowed: Limits) -> dict[str, Any]:
    """-> what a client has to know of them."""
    told = ("bytes", "pixels", "prompts", "tiled_prompts", "letters", "tiles", "seconds")
    return {name: getattr(allowed, name) for name in told}


def _option(row: Option) -> dict[str, Any]:
    kind, choices = _kind(row)
    return {
        "name": row.name,
        "step": row.step,
        "kind": kind,
        "default": row.default,
        "choices": choices,
        "range": [0, 1] if kind == "number" else None,
        "values": row.values,
        "help": row.help,
    }


def _kind(row: Option) -> tuple[str, list[str]]:
    """-> what kind of value an option has, and all of them where they are words."""
    if row.choices:
        return "choice", list(row.choices)
    if isinstance(row.default, bool):
        return "boolean", []
    if row.name in ("threshold", "keep"):  # small languages of their own
        return row.name, []
    if "picture" in row.values:
        return "area", []
    if '"N%"' in row.values:
        return "length", []
    if isinstance(row.default, float):
        return "number", []
    words = row.values.partition(",")[0].split(" | ")  # "none | guided, or a Refiner", which only Python has
    return "choice", words
