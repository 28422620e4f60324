"""Text -> the tokens of an expression, and a phrase -> text that is read as that phrase. `parsing` has the grammar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<modifier>\{\s*[*+-][^{}]*\}?)
  | (?P<quoted>"(?:[^"\\]|\\.)*")
  | (?P<unclosed>")
  | (?P<bang>!)
  | (?P<word>(?:(?!\{\s*[*+-])[^\s()|&]|(?<=\w)&(?=\w))+)  # AT&T is a word
  | (?P<and>&)
  | (?P<or>\|)
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"AND": "and", "OR": "or", "NOT": "not"}

OPERATORS = frozenset({"and", "or", "not", "modifier"})
"""Kinds of tokens that make a text an expression."""

PHRASE = frozenset({"word", "quoted"})
"""Kinds of tokens that phrases are made of."""


class Token(NamedTuple):
    """A piece of text and where it is: and, or, not, open, close, modifier, word, quoted, unclosed (a quote), end."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Any text -> its tokens, white space left out; the last one is of the kind end. Nothing is an error here."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "bang":  # an operator only where a phrase could begin, so "a dog !" is a phrase
            kind = "not" if not found or found[-1].kind in ("and", "or", "not", "open") else "word"
        if kind == "word":
            kind = _WORDS.get(match[0], kind)
        if kind != "space":
            found.append(Token(kind, match[0], match.start(), match.end()))
    return [*found, Token("end", "", len(text), len(text))]


def is_expression(found: Sequence[Token]) -> bool:
    """Tokens -> whether they are more than a plain phrase: there is an operator, or all of it is quoted."""
    return any(token.kind in OPERATORS for token in found) or [token.kind for token in found] == ["quoted", "end"]


def phrase_of(text: str, found: Sequence[Token]) -> str:
    """The tokens of one phrase in a text -> the phrase: what the quotes hold if it is all quoted, else as it stands."""
    if len(found) == 1 and found[0].kind == "quoted":
        return re.sub(r"\\(.)", r"\1", found[0].text[1:-1], flags=re.DOTALL)
    return text[found[0].start : found[-1].end]


def quoted(phrase: str) -> str:
    """A phrase -> text that is read as just that phrase within an expression; in quotes only where they are needed."""
    *found, _ = tokens(phrase)
    plain = (
        found and all(token.kind in PHRASE for token in found) and (found[0].start, found[-1].end) == (0, len(phrase))
    )
    if plain and phrase_of(phrase, found) == phrase:
        return phrase
    return '"' + phrase.replace("\\", "\\\\").replace('"', '\\"') + '"'
