r"""Text -> an expression over prompts.

    expression  = conjunction { OR conjunction }             also |
    conjunction = negation { AND negation }                  also &
    negation    = { NOT } atom                               also !
    atom        = ( phrase | "(" expression ")" ) { modifier }
    phrase      = words | "anything, taken as it is"
    modifier    = {*1.5}  the probability multiplied  |  {+25} grown  |  {-25} shrunk, in pixels of the picture

NOT holds more tightly than AND, and AND than OR: `a OR NOT b AND c` is `a OR ((NOT b) AND c)`. Modifiers hold most
tightly of all.

A text is an expression only if it has an operator, which is one of

- AND, OR, NOT in upper case with white space or a bracket around them: "salt and pepper" and "ANDROID" have none;
- `|` anywhere; `&` unless it stands between two letters or digits, as in "AT&T";
- `!` where a phrase could begin, so "a dog!" has none;
- a modifier, which begins with `{*`, `{+` or `{-`;

or if all of it is one quoted phrase. Every other text is a plain phrase to the last character, brackets, quotes and
outer white space included: "bus (vehicle)", "what's this?", 'a 24" screen'. Within an expression a phrase has no
brackets and no operators unless it stands in quotes, where `\"` is a quote and `\\` a backslash; a quote within a
word is a letter like others, and outer white space does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from clipseg.errors import PromptError
from clipseg.prompting.expressions import DEEPEST, And, Expression, Grow, Not, Or, Strength, Term
from clipseg.prompting.lexing import PHRASE, Token, is_expression, phrase_of, tokens

_SHOWN = 20  # letters of the text on either side of an error
_STRENGTH = re.compile(r"\{\s*\*\s*((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)\s*\}", re.ASCII | re.IGNORECASE)
_GROW = re.compile(r"\{\s*([+-])\s*(\d{1,9})\s*\}", re.ASCII)


def parsed(text: str, phrase: Callable[[str], Term]) -> Term:
    """A text, and what to make of a phrase -> a prompt or an expression, whose label is the text.

    Raises PromptError on one line, with the column (from 1) and the text around it, for what is no expression, and for
    more than DEEPEST brackets or operators within each other; and whatever `phrase` raises.
    """
    found = tokens(text)
    if not is_expression(found):
        return phrase(text)
    term = _Parser(text, found, phrase).whole()
    return replace(term, label=text) if isinstance(term, Expression) else term


class _Parser:
    """Recursive descent over the tokens of one text, one method for each rule of the grammar."""

    def __init__(self, text: str, found: Sequence[Token], phrase: Callable[[str], Term]) -> None:
        self.text = text
        self.tokens = found
        self.phrase = phrase
        self.place = 0
        self.opened: list[Token] = []  # brackets that are not closed yet

    def whole(self) -> Term:
        for token in self.tokens:
            if token.kind == "unclosed":
                raise self._error(
                    token, 'this quote is never closed; close it, or put the phrase in quotes and write \\"'
                )
        term = self._expression()
        self._expect("end")
        return term

    def _expression(self) -> Term:
        first = self._next
        parts = [self._conjunction()]
        while self._take("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else self._made(first, lambda: Or(tuple(parts)))

    def _conjunction(self) -> Term:
        first = self._next
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else self._made(first, lambda: And(tuple(parts)))

    def _negation(self) -> Term:
        first, count = self._next, 0
        while self._take("not"):
            count += 1
        term = self._atom()
        for _ in range(count):
            term = self._made(first, lambda inner=term: Not(inner))  # type: ignore[misc]  # mypy has no type for it
        return term

    def _atom(self) -> Term:
        if self._next.kind == "open":
            term = self._bracketed()
        elif self._next.kind in PHRASE:
            term = self._phrase()
        else:
            raise self._error(self._next, f"a phrase is missing here, before {self._named(self._next)}")
        while modifier := self._take("modifier"):
            term = self._modified(term, modifier)
        return term

    def _bracketed(self) -> Term:
        self.opened.append(self._next)
        if len(self.opened) > DEEPEST:
            raise self._error(self._next, f"more than {DEEPEST} brackets are within each other; write it flatter")
        self.place += 1
        term = self._expression()
        self._expect("close")
        self.opened.pop()
        return term

    def _phrase(self) -> Term:
        start = self.place
        while self._next.kind in PHRASE:
            self.place += 1
        found = self.tokens[start : self.place]
        return self._made(found[0], lambda: self.phrase(phrase_of(self.text, found)))

    def _modified(self, term: Term, modifier: Token) -> Term:
        if strength := _STRENGTH.fullmatch(modifier.text):
            return self._made(modifier, lambda: Strength(term, float(strength[1])))
        if grow := _GROW.fullmatch(modifier.text):
            return self._made(modifier, lambda: Grow(term, int(grow[1] + grow[2])))
        raise self._error(modifier, f"{modifier.text!r} is no modifier; write {{*1.5}}, {{+25}} or {{-25}}")

    # -- tokens --------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> Token:
        return self.tokens[self.place]

    def _take(self, kind: str) -> Token | None:
        if self._next.kind != kind:
            return None
        self.place += 1
        return self.tokens[self.place - 1]

    def _expect(self, kind: str) -> None:
        """Go past what ends an expression, or say why it cannot end here."""
        token = self._next
        if self._take(kind):
            return
        if token.kind == "end":
            raise self._error(self.opened[-1], "'(' is never closed; add a ')'")
        if token.kind == "close":
            raise self._error(token, "')' closes nothing; add a '(' before it, or leave it out")
        if token.kind == "not":
            raise self._error(
                token, f"{token.text} cannot follow a phrase; write AND NOT, or put the whole phrase in quotes"
            )
        raise self._error(
            token, f"AND or OR is missing before {self._named(token)}; a phrase with brackets in it stands in quotes"
        )

    def _made(self, token: Token, make: Callable[[], Term]) -> Term:
        """Make a term; what is wrong with it is told with its column."""
        try:
            return make()
        except PromptError as error:
            reason = str(error)
        raise self._error(token, reason)

    def _named(self, token: Token) -> str:
        return "the end" if token.kind == "end" else repr(token.text)

    def _error(self, token: Token, reason: str) -> PromptError:
        low, high = max(0, token.start - _SHOWN), token.start + _SHOWN
        around = (
            ("…" if low else "") + self.text[low : token.start] + "▶" + self.text[token.start : high]
            + ("…" if high < len(self.text) else "")
        )  # fmt: skip
        one_line = "".join(letter if letter.isprintable() else " " for letter in around)
        return PromptError(f"column {token.start + 1}: {reason}: {one_line}")
