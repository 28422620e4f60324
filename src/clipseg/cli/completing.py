"""What a shell is told may come next: words for the values of options, or that files and folders may.

Options are known by their parameters' names, so that one that several commands share is completed in all of them.
Nothing is loaded but what the words are taken from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from clipseg.masks.options import OPTIONS
from clipseg.masks.rules import SORT_KEYS

Items = list[CompletionItem[str]]

FILES = ("examples", "files", "listed", "existing", "target")
FOLDERS = ("out", "frames_dir", "root")
LISTS = ("formats", "styles")
"""Options whose value is several words, with commas between."""


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """-> that any file may come."""
    return [CompletionItem(incomplete, type="file")]


def folders(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """-> that a folder may come."""
    return [CompletionItem(incomplete, type="dir")]


def models(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """-> the models that are known or here, and that a folder may come."""
    return suggestions("model", incomplete)


def suggestions(name: str, incomplete: str) -> Items:
    """A parameter's name, and what is there of its value -> what may follow; nothing if only the user can know."""
    if name in FILES:
        return [CompletionItem(incomplete, type="file")]
    if name in FOLDERS:
        return [CompletionItem(incomplete, type="dir")]
    known = _WORDS.get(name)
    words = known() if known else OPTIONS[name].choices if name in OPTIONS else ()
    if name == "model":  # the folder comes first: shells forget what they were told before it
        return [CompletionItem(incomplete, type="dir"), *_beginning(incomplete, words)]
    before, comma, _ = incomplete.rpartition(",") if name in LISTS else ("", "", "")
    return _beginning(incomplete, [f"{before}{comma}{word}" for word in words])


def _beginning(incomplete: str, words: Iterable[str]) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _models() -> tuple[str, ...]:
    from clipseg.checkpoints.hub_cache import cached_names
    from clipseg.cli.models import KNOWN

    return tuple(dict.fromkeys((*KNOWN, *cached_names())))


def _styles() -> tuple[str, ...]:
    from clipseg.prompting.styles import STYLES

    return tuple(STYLES)


def _templates() -> tuple[str, ...]:
    from clipseg.prompting.templates import TEMPLATES

    return tuple(TEMPLATES)


def _formats() -> tuple[str, ...]:
    from clipseg.formats.table import FORMATS

    return tuple(FORMATS)


def _fits() -> tuple[str, ...]:
    from clipseg.cli.mask_options import FITS

    return FITS


def _colormaps() -> tuple[str, ...]:
    from clipseg.formats.colormaps import ANCHORS

    return tuple(ANCHORS)


_WORDS: dict[str, Callable[[], tuple[str, ...]]] = {
    "model": _models,
    "device": lambda: ("auto", "cpu", "cuda", "mps"),
    "style": _styles,
    "styles": _styles,
    "templates": _templates,
    "formats": _formats,
    "fit": _fits,
    "colormap": _colormaps,
    "refine": lambda: ("none", "guided"),
    "threshold": lambda: ("none", "otsu", "area:", "hysteresis:"),
    "keep": lambda: ("all", "largest", *SORT_KEYS),
}
