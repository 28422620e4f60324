"""Sentences that phrases are put into, as named sets: the ones CLIPSeg was trained and scored with.

The embeddings of a phrase in all templates of a set are averaged, not normalised first. In training one of a set is
drawn instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from clipseg.errors import PromptError

Templates: TypeAlias = str | tuple[str, ...]
"""A name of TEMPLATES, or one template or several of one's own, each with one `{}`."""

_PHOTO = ("a photo of a {}.",)
_SHUFFLE = ("a photo of a {}.", "a photograph of a {}.", "an image of a {}.", "{}.")

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "photo": _PHOTO,
    "fixed": _PHOTO,  # what the original configurations call it
    "shuffle": _SHUFFLE,
    "shuffle+": (
        *_SHUFFLE,
        "a cropped photo of a {}.",
        "a good photo of a {}.",
        "a photo of one {}.",
        "a bad photo of a {}.",
        "a photo of the {}.",
    ),
}
"""Name -> the templates of the set. The model reads a phrase best in the form it was trained with, which is plain."""


TEMPLATE_NAMES = tuple(TEMPLATES)


def templates_named(given: str | Sequence[str]) -> tuple[str, ...]:
    """A name of TEMPLATES, or one template or several with one `{}` each -> the templates, at least one.

    Raises PromptError for anything else.
    """
    if isinstance(given, str):
        if given in TEMPLATES:
            return TEMPLATES[given]
        if "{" not in given:
            raise PromptError(
                f"unknown templates {given!r}; known are {', '.join(TEMPLATES)}, and one's own have a {{}}"
            )
        given = (given,)
    own = tuple(given) if isinstance(given, Sequence) else ()
    for template in own:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise PromptError(f"a template has one place for the phrase, as in 'a photo of a {{}}', got {template!r}")
    if not own:
        raise PromptError(f"templates are a name ({', '.join(TEMPLATES)}) or a list of sentences, got {given!r}")
    return own


def filled(templates: str | Sequence[str], phrase: str) -> tuple[str, ...]:
    """Templates and a phrase -> the phrase in each of them."""
    return tuple(template.replace("{}", phrase) for template in templates_named(templates))
