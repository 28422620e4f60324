"""Boolean expressions over prompts, and what they mean on maps of logits.

    TextPrompt("face") & ~(TextPrompt("bandana") | TextPrompt("hair"))

On probabilities AND is the minimum, OR the maximum and NOT the complement. The sigmoid is monotone and
sigmoid(-x) = 1 - sigmoid(x), so on logits they are minimum, maximum and the negative, exactly.

Shapes: h, w low-resolution logits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from clipseg.errors import PromptError
from clipseg.prompting.lexing import quoted

DEEPEST = 100
"""Expressions within expressions; more is no picture anybody has in mind, and would exhaust Python's stack."""

FARTHEST = 999_999_999
"""Pixels; what a modifier can say in nine digits."""

Leaf: TypeAlias = "Callable[[Term], torch.Tensor]"
"""A prompt -> its map (h, w) of logits."""

CellHW: TypeAlias = tuple[float, float]
"""How high and wide one cell of a map is, in pixels of the picture."""

Check: TypeAlias = "Callable[[], None]"
"""Called between steps of what may take long; it raises where nobody waits for the map any more."""


def unhurried() -> None:
    """Let it take as long as it takes."""


_HIGHEST = math.log1p(-(2.0**-24))
"""Log of the nearest that float32 comes to 1 from below; a probability that is made larger stops here."""


class Term:
    """What takes part in expressions: `a & b`, `a | b`, `~a`. A prompt is a term; so is every expression."""

    label: str
    depth: int = 0
    """How many expressions are within each other here."""
    binding: ClassVar[int] = 4
    """How tightly its parts are held together when it is written down; a prompt, most tightly."""

    def __and__(self, other: object) -> And:
        return And((*_flat(And, self), *_flat(And, other))) if isinstance(other, Term) else NotImplemented

    def __or__(self, other: object) -> Or:
        return Or((*_flat(Or, self), *_flat(Or, other))) if isinstance(other, Term) else NotImplemented

    def __invert__(self) -> Not:
        return Not(self)

    def terms(self) -> tuple[Term, ...]:
        """-> the parts of an expression; none of a prompt."""
        return ()

    def logits(self, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
        """-> the map (h, w) of this term, before the sigmoid; see `evaluate`."""
        check()
        return of(self)


@dataclass(frozen=True)
class Expression(Term):
    """Base of all terms that are made of others; str() writes it down.

    Two are equal where their parts are, whatever the label; that is the expression written down unless another is
    given. Raises PromptError for parts that are no terms and for more than DEEPEST within each other.
    """

    label: str = field(default="", compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        for part in self.terms():
            if not isinstance(part, Term):
                raise PromptError(f"an expression is made of prompts, got a {type(part).__name__}; wrap it in one")
        object.__setattr__(self, "depth", 1 + max(part.depth for part in self.terms()))
        if self.depth > DEEPEST:
            raise PromptError(f"more than {DEEPEST} expressions are within each other; write it flatter")
        if not self.label:
            object.__setattr__(self, "label", str(self))


@dataclass(frozen=True)
class _Several(Expression):
    """Two or more terms joined by one operator."""

    parts: tuple[Term, ...]
    word: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if len(self.parts) < 2:
            raise PromptError(f"{self.word} joins two terms or more, got {len(self.parts)}")
        super().__post_init__()

    def terms(self) -> tuple[Term, ...]:
        """-> the terms joined."""
        return self.parts

    def _maps(self, of: Leaf, cell_hw: CellHW, check: Check) -> torch.Tensor:
        return torch.stack([part.logits(of, cell_hw, check) for part in self.parts])

    def __str__(self) -> str:
        return f" {self.word} ".join(written(part, self.binding) for part in self.parts)


@dataclass(frozen=True)
class And(_Several):
    """Where all of the terms are: their minimum."""

    word = "AND"
    binding = 2

    def logits(self, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
        """-> the minimum (h, w)."""
        return self._maps(of, cell_hw, check).amin(0)


@dataclass(frozen=True)
class Or(_Several):
    """Where any of the terms is: their maximum."""

    word = "OR"
    binding = 1

    def logits(self, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
        """-> the maximum (h, w)."""
        return self._maps(of, cell_hw, check).amax(0)


@dataclass(frozen=True)
class _Single(Expression):
    """One term, changed."""

    part: Term

    def terms(self) -> tuple[Term, ...]:
        """-> the one term."""
        return (self.part,)


@dataclass(frozen=True)
class Not(_Single):
    """Where the term is not."""

    binding = 3

    def logits(self, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
        """-> the negative (h, w)."""
        return -self.part.logits(of, cell_hw, check)

    def __str__(self) -> str:
        return f"NOT {written(self.part, 2)}"


@dataclass(frozen=True)
class Strength(_Single):
    """A term with its probability multiplied by a factor, and at most 1."""

    factor: float

    def __post_init__(self) -> None:
        number = isinstance(self.factor, (int, float)) and not isinstance(self.factor, bool)
        if not (number and 0 < self.factor <= sys.float_info.max):
            raise PromptError(f"a strength is a finite number above 0, got {self.factor!r}")
        object.__setattr__(self, "factor", float(self.factor))
        super().__post_init__()

    def logits(self, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
        """-> the logits (h, w) of the multiplied probability."""
        logits = self.part.logits(of, cell_hw, check)
        if self.factor == 1:
            return logits
        # By way of logarithms, so that small probabilities keep all their digits.
        probability = (F.logsigmoid(logits) + math.log(self.factor)).clamp(max=_HIGHEST)
        return probability - torch.log(-torch.expm1(probability))

    def __str__(self) -> str:
        short = f"{self.factor:g}"
        return f"{written(self.part, 3)}{{*{short if float(short) == self.factor else repr(self.factor)}}}"


@dataclass(frozen=True)
class Grow(_Single):
    """A term spread outwards by so many pixels of the picture, or drawn inwards where they are negative.

    It acts on the map before that is enlarged: each place takes the highest (lowest) logit within the radius, so less
    than one cell of the map changes nothing. What lies beyond the picture's border takes no part.
    """

    pixels: int

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, int) or isinstance(self.pixels, bool):
            raise PromptError(f"a term grows and shrinks by whole pixels, got {self.pixels!r}")
        if abs(self.pixels) > FARTHEST:
            raise PromptError(f"a term grows and shrinks by {FARTHEST} pixels at most; no picture is larger")
        super().__post_init__()

    def logits(self, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
        """-> the map (h, w) under a round maximum or minimum."""
        logits = self.part.logits(of, cell_hw, check)
        if self.pixels > 0:
            return dilated(logits, self.pixels, cell_hw, check)
        return -dilated(-logits, -self.pixels, cell_hw, check)

    def __str__(self) -> str:
        return f"{written(self.part, 3)}{{{self.pixels:+d}}}"


def written(term: Term, binding: int) -> str:
    """A term as text that is read as it again, in brackets unless it holds together more tightly than `binding`.

    A prompt is written as its label, in quotes where the label alone would be read otherwise.
    """
    text = str(term) if isinstance(term, Expression) else quoted(term.label)
    return text if term.binding > binding else f"({text})"


def leaves(term: Term) -> Iterator[Term]:
    """A term -> the prompts in it, from left to right, repeated ones repeated."""
    if not isinstance(term, Expression):
        yield term
    for part in term.terms():
        yield from leaves(part)


def evaluate(term: Term, of: Leaf, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
    """A term, the map (h, w) of each prompt in it, and the size of a cell in pixels -> the term's map (h, w).

    All maps are logits, before the sigmoid.
    """
    return term.logits(of, cell_hw, check)


def dilated(logits: torch.Tensor, radius: float, cell_hw: CellHW, check: Check = unhurried) -> torch.Tensor:
    """A map (h, w) -> the highest logit within `radius` pixels of each place, as far as the map goes.

    Cells need not be square, so the circle is an ellipse on the map. It is made row by row from the outermost inwards:
    rows only get wider on the way, so that h + w maxima do, however large it is.
    """
    (height, width), (cell_height, cell_width) = logits.shape, cell_hw
    widest, half, out = logits.clone(), 0, logits.clone()  # `widest`: the maximum over `half` cells to either side
    for dy in range(min(int(radius / cell_height), height - 1), -1, -1):
        chord = math.sqrt(max(radius**2 - (dy * cell_height) ** 2, 0)) / cell_width
        check()
        while half < min(int(chord), width - 1):
            check()
            half += 1
            widest[:, half:] = torch.maximum(widest[:, half:], logits[:, :-half])
            widest[:, :-half] = torch.maximum(widest[:, :-half], logits[:, half:])
        out[dy:] = torch.maximum(out[dy:], widest[: height - dy])
        out[: height - dy] = torch.maximum(out[: height - dy], widest[dy:])
    return out


def _flat(kind: type[_Several], term: Term) -> tuple[Term, ...]:
    """A term -> its parts if it joins by the same operator, so that a & b & c is one conjunction; else itself."""
    return term.parts if isinstance(term, kind) else (term,)
