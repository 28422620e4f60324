"""Which phrases a zero-shot split may not train on: those that name a class it is tested with.

    ("pas5i", fold)   fold 0 to 3: the five classes that this fold of Pascal-5i tests
    ("zs", n)         n from 1 to 5: the first n pairs of unseen classes of generalised zero-shot VOC, 2 n classes
    ("aff",)          words of the affordances and parts that generalised prompts ask for

Classes are WordNet synsets. A phrase names one if one of its words has a lemma of the synset, or of anything below it,
as base form, or if a lemma of several words is part of it: "two black cabs" names a car, and so does "gas guzzlers".
For persons the original takes nine words in place of the synset, and so does this. All forms of these words were looked
up in WordNet 3.0 once, by examples/make_removal_words.py; here they are only compared.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import TypeAlias

from clipseg.errors import UsageError

Rule: TypeAlias = Sequence[str | int]
"""One of the rows above, as a list or a tuple; an empty one removes nothing."""

PASCAL_SYNSETS = (
    *("aeroplane.n.01", "bicycle.n.01", "bird.n.01", "vessel.n.02", "bottle.n.01"),
    *("bus.n.01", "car.n.01", "cat.n.01", "chair.n.01", "cattle.n.01"),
    *("table.n.02", "dog.n.01", "horse.n.01", "motorcycle.n.01", "person.n.01"),
    *("pot_plant.n.01", "sheep.n.01", "sofa.n.01", "train.n.01", "television.n.03"),
)
"""Pascal's classes 1 to 20, in its order; a fold of Pascal-5i tests five in a row."""

UNSEEN_PAIRS = (
    ("cattle.n.01", "motorcycle.n.01"),
    ("aeroplane.n.01", "sofa.n.01"),
    ("cat.n.01", "television.n.03"),
    ("train.n.01", "bottle.n.01"),
    ("chair.n.01", "pot_plant.n.01"),
)
"""The pairs that "unseen 2", "unseen 4", … "unseen 10" of zero-shot VOC add one after the other."""

AFFORDANCE_WORDS = frozenset((
    *("drink", "drinks", "drinking", "sit", "sits", "sitting", "ride", "rides", "riding", "fly", "flies", "flying"),
    *("drive", "drives", "driving", "driven", "swim", "swims", "swimming", "wheel", "wheels", "leg", "legs"),
    *("ear", "ears"),
))  # fmt: skip

_FOLD = 5
_ALLOWED = '["pas5i", 0 to 3], ["zs", 1 to 5], ["aff"], or [] for nothing'


def avoided(rule: Rule) -> Callable[[str], bool]:
    """A rule -> what tells whether a phrase is to be left out. Raises UsageError for a rule that is none of these."""
    match list(rule) if isinstance(rule, list | tuple) else None:
        case []:
            return lambda _: False
        case ["pas5i", bool()] | ["zs", bool()]:
            pass
        case ["pas5i", int(fold)] if 0 <= fold < len(PASCAL_SYNSETS) // _FOLD:
            return _naming(PASCAL_SYNSETS[_FOLD * fold : _FOLD * (fold + 1)])
        case ["zs", int(pairs)] if 1 <= pairs <= len(UNSEEN_PAIRS):
            return _naming([synset for pair in UNSEEN_PAIRS[:pairs] for synset in pair])
        case ["aff"]:
            return _with_affordance
    raise UsageError(f"remove is {rule!r}; expected {_ALLOWED}")


def _with_affordance(phrase: str) -> bool:
    return not AFFORDANCE_WORDS.isdisjoint(phrase.lower().split())


def _naming(synsets: Sequence[str]) -> Callable[[str], bool]:
    """Synsets -> what tells whether a phrase names one of them."""
    table = _pascal_words()
    words = frozenset(word for synset in synsets for word in table[synset]["words"])
    # Some hundred lemmas of several words, of which a phrase can only have those that are alike around their first gap.
    by_gap: dict[str, list[str]] = {}
    for synset in synsets:
        for lemma in table[synset]["phrases"]:
            gap = lemma.index(" ")
            by_gap.setdefault(lemma[gap - 1 : gap + 2], []).append(lemma)

    def named(phrase: str) -> bool:
        parts = phrase.lower().split()
        if not words.isdisjoint(parts):
            return True
        text = " ".join(parts)
        return any(
            lemma in text for left, right in pairwise(parts) for lemma in by_gap.get(f"{left[-1]} {right[0]}", ())
        )

    return named


@cache
def _pascal_words() -> dict[str, dict[str, list[str]]]:
    """-> by synset the words and the lemmas of several words that name it."""
    text = files("clipseg").joinpath("assets/wordnet/pascal_words.json").read_text("utf-8")
    table: dict[str, dict[str, list[str]]] = json.loads(text)
    return table
