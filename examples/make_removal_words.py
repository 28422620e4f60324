"""Write the words that name the twenty Pascal classes, from WordNet 3.0 (Debian's wordnet-base).

    python examples/make_removal_words.py --wordnet /usr/share/wordnet --out pascal_words.json

The library's own are src/clipseg/assets/wordnet/pascal_words.json, made in this way.

A phrase names a class if one of its words has, as its base form, a lemma of the class's synset or of anything below it,
or if a lemma of several words is part of it. Base forms are those of WordNet's morphy with the rules for nouns
(https://wordnet.princeton.edu/documentation/morphy7wn), the shortest where there are several, as NLTK's lemmatiser has
it. They need all of WordNet, so the question is turned round here: which words have one of these lemmas as base form?
The library then only looks words up.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

SYNSETS = (
    *("aeroplane.n.01", "bicycle.n.01", "bird.n.01", "vessel.n.02", "bottle.n.01", "bus.n.01", "car.n.01"),
    *("cat.n.01", "chair.n.01", "cattle.n.01", "table.n.02", "dog.n.01", "horse.n.01", "motorcycle.n.01"),
    *("person.n.01", "pot_plant.n.01", "sheep.n.01", "sofa.n.01", "train.n.01", "television.n.03"),
)
GIVEN = {"person.n.01": ("person", "human", "man", "woman", "toddler", "baby", "body", "child", "infant")}
"""Instead of the synset's own lemmas, as in the original: everything that can be a person would be most of the set."""

DETACHMENTS = (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
)
"""An ending of a noun in the plural, and what morphy puts in its place; "ves" is NLTK's addition."""


class Nouns:
    """The nouns of a WordNet folder: `data.noun`, `index.noun` and `noun.exc`, formats as in its manual page wndb."""

    def __init__(self, folder: Path) -> None:
        self._data = (folder / "data.noun").read_bytes()
        self._index = {
            fields[0]: [int(offset) for offset in fields[-int(fields[2]) :]]
            for fields in map(str.split, _rows(folder / "index.noun"))
        }
        self._exceptions = {fields[0]: fields[1:] for fields in map(str.split, _rows(folder / "noun.exc"))}

    def below(self, synset: str) -> set[str]:
        """The name of a synset -> the lemmas of it and of all its hyponyms (instances are none), in lower case."""
        word, _, number = synset.split(".")
        found: set[str] = set()
        waiting, seen = [self._index[word][int(number) - 1]], set()
        while waiting:
            offset = waiting.pop()
            if offset in seen:
                continue
            seen.add(offset)
            fields = self._data[offset : self._data.index(b" | ", offset)].decode("ascii").split()
            words = int(fields[3], 16)
            found.update(lemma.lower().replace("_", " ") for lemma in fields[4 : 4 + 2 * words : 2])
            pointers = fields[5 + 2 * words :]
            waiting += [int(pointers[place + 1]) for place in range(0, len(pointers), 4) if pointers[place] == "~"]
        return found

    def base(self, word: str) -> str:
        """A word -> its base form as a noun: the shortest that WordNet has, or the word itself where it has none."""
        if word in self._exceptions:
            known = self._known([word, *self._exceptions[word]])
        else:
            forms = _detached([word])
            known = self._known([word, *forms])
            while forms and not known:
                forms = _detached(forms)
                known = self._known(forms)
        return min(known, key=len, default=word)

    def words_for(self, lemma: str) -> set[str]:
        """A lemma of one word -> all words whose base form it is; of what loses two endings only such as "womens"."""
        forms = {lemma, *_attached(lemma), *self._irregular.get(lemma, ())}
        forms |= {f"{form}s" for form in forms if not form.endswith("s")}
        return {form for form in forms if self.base(form) == lemma}

    @cached_property
    def _irregular(self) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {}
        for word, bases in self._exceptions.items():
            for base in bases:
                words.setdefault(base, []).append(word)
        return words

    def _known(self, forms: Iterable[str]) -> list[str]:
        return [form for form in forms if form in self._index]


def class_words(nouns: Nouns) -> dict[str, dict[str, list[str]]]:
    """-> for each synset the single words, in all their forms, and the lemmas of several words that name it."""
    rows = {}
    for synset in SYNSETS:
        lemmas = set(GIVEN.get(synset) or nouns.below(synset))
        single = {lemma for lemma in lemmas if " " not in lemma}
        words = {word for lemma in single for word in nouns.words_for(lemma)}
        rows[synset] = {"words": sorted(words), "phrases": sorted(lemmas - single)}
    return rows


def _detached(forms: Iterable[str]) -> list[str]:
    return [form.removesuffix(end) + start for form in forms for end, start in DETACHMENTS if form.endswith(end)]


def _attached(form: str) -> list[str]:
    return [form.removesuffix(start) + end for end, start in DETACHMENTS if form.endswith(start)]


def _rows(path: Path) -> Iterator[str]:
    """The lines of a file of WordNet, those of its licence at the top aside, which begin with two spaces."""
    return (line for line in path.read_text("ascii").splitlines() if not line.startswith("  "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with data.noun, index.noun and noun.exc")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    rows = class_words(Nouns(options.wordnet))
    lines = (f"  {json.dumps(synset)}: {json.dumps(row)}" for synset, row in rows.items())
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
