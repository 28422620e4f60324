"""Which phrases a zero-shot split leaves out; and the list of words that decides it, against how it is made."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from clipseg.data.removal import PASCAL_SYNSETS, UNSEEN_PAIRS, Rule, avoided
from clipseg.errors import UsageError

SCRIPT = Path(__file__).parents[2] / "examples" / "make_removal_words.py"

# Each of Pascal's classes: phrases that name it.
NAMED = {
    "aeroplane.n.01": ("white airplanes", "delta wing", "a jet"),
    "bicycle.n.01": ("bicycle", "mountain bikes"),
    "bird.n.01": ("two geese", "owl", "black-footed albatross"),
    "vessel.n.02": ("old boats", "ferries", "sailing ship"),
    "bottle.n.01": ("wine bottles", "flask"),
    "bus.n.01": ("buses", "school buses", "Coach"),
    "car.n.01": ("two black cabs", "gas guzzlers", "station wagon"),
    "cat.n.01": ("sleeping kitty", "tabby cat"),
    "chair.n.01": ("wooden chairs", "rocker"),
    "cattle.n.01": ("brown cow", "bulls", "oxen"),
    "table.n.02": ("desk", "coffee tables"),
    "dog.n.01": ("puppies", "golden retriever"),
    "horse.n.01": ("ponies", "race horse"),
    "motorcycle.n.01": ("motorcycles", "trail bike"),
    "person.n.01": ("women", "womens shoes", "babies", "man"),
    "pot_plant.n.01": ("green pot plants",),
    "sheep.n.01": ("sheep", "ewes", "black sheep"),
    "sofa.n.01": ("couches", "love seat"),
    "train.n.01": ("trains", "bullet train"),
    "television.n.03": ("televisions", "television set"),
}
FREE = ("blue sky", "green grass", "", "window", "people", "cathedral ceiling", "carpet", "scarf", "busy street")


def test_every_class_has_words_and_they_name_it_alone() -> None:
    assert tuple(NAMED) == PASCAL_SYNSETS
    for fold in range(4):
        names = avoided(["pas5i", fold])
        tested = PASCAL_SYNSETS[5 * fold : 5 * fold + 5]
        assert all(names(phrase) for synset in tested for phrase in NAMED[synset]), fold
        assert not any(map(names, FREE)), fold
    first, third = avoided(("pas5i", 0)), avoided(("pas5i", 2))
    assert not any(first(phrase) for phrase in NAMED["dog.n.01"] + NAMED["person.n.01"] + NAMED["table.n.02"])
    assert not any(third(phrase) for phrase in NAMED["aeroplane.n.01"] + NAMED["bottle.n.01"])


@pytest.mark.parametrize("pairs", range(1, 6))
def test_pairs_of_unseen_classes_add_up(pairs: int) -> None:
    names = avoided(("zs", pairs))
    unseen = {synset for pair in UNSEEN_PAIRS[:pairs] for synset in pair}
    assert len(unseen) == 2 * pairs
    for synset in PASCAL_SYNSETS:
        if synset in unseen:
            assert all(map(names, NAMED[synset])), synset
    assert not any(map(names, NAMED["dog.n.01"] + NAMED["vessel.n.02"] + FREE))
    assert names("a sofa") == (pairs >= 2)


def test_a_lemma_of_several_words_is_found_inside_words_too() -> None:
    names = avoided(("zs", 5))
    assert names("a bullet trains  yard")
    assert names("seatbullet train")  # a substring, as in the original
    assert not names("bullet-train")


def test_affordances_are_words_not_parts_of_words() -> None:
    names = avoided(["aff"])
    assert names("man riding a horse")
    assert names("Legs of a table")
    assert not names("red bride")
    assert not names("wheelchair")


def test_nothing_is_removed_without_a_rule() -> None:
    assert not any(map(avoided([]), FREE + NAMED["dog.n.01"]))
    assert not avoided(())("dog")


@pytest.mark.parametrize(
    "rule",
    ["aff", ["pas5i"], ["pas5i", 4], ["pas5i", -1], ["zs", 0], ["zs", 6], ["zs", True], ["aff", 1], ["voc"], None, 3],
)
def test_other_rules_are_refused(rule: Rule) -> None:
    with pytest.raises(UsageError, match=r'expected \["pas5i", 0 to 3\]'):
        avoided(rule)


def test_the_list_is_whole_and_comes_with_its_licence() -> None:
    folder = files("clipseg").joinpath("assets/wordnet")
    table = json.loads(folder.joinpath("pascal_words.json").read_text("utf-8"))
    assert tuple(table) == PASCAL_SYNSETS
    assert sum(len(row["phrases"]) for row in table.values()) == 1779
    assert all(" " not in word for row in table.values() for word in row["words"])
    assert all(" " in phrase and phrase == phrase.lower() for row in table.values() for phrase in row["phrases"])
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in folder.joinpath("LICENSE").read_text("utf-8")


def test_the_script_reads_wordnet_and_turns_its_morphology_round(tmp_path: Path) -> None:
    """On a WordNet of twenty roots in which a dog has a hyponym of two words, one of those an instance."""
    rows: dict[str, list[int]] = {}
    data = "  1 a licence\n"

    def add(*words: str, pointers: str = "") -> int:
        nonlocal data
        offset = len(data)
        lemmas = "".join(f"{word} 0 " for word in words)
        data += f"{offset:08} 03 n {len(words):02x} {lemmas}{pointers.count(' n '):03} {pointers}| a gloss\n"
        for word in words:
            rows.setdefault(word.lower(), []).append(offset)
        return offset

    rex = add("Rex")
    wolf = add("wolf", "Canis_Lupus")
    lady = add("lady", "guide_dog")
    add("dog", pointers=f"~ {wolf:08} n 0000 ~ {lady:08} n 0000 ~i {rex:08} n 0000 ")
    for synset in PASCAL_SYNSETS:
        word, _, number = synset.split(".")
        while len(rows.get(word, ())) < int(number):
            add(word)
    add("as"), add("ass"), add("woman"), add("bus_stop")
    (tmp_path / "data.noun").write_text(data)
    index = (
        f"{word} n {len(at)} 0 {len(at)} 0 {' '.join(f'{offset:08}' for offset in at)}  \n" for word, at in rows.items()
    )
    (tmp_path / "index.noun").write_text("  1 a licence\n" + "".join(index))
    (tmp_path / "noun.exc").write_text("women woman\nwolves wolf\n")
    out = tmp_path / "words.json"
    subprocess.run([sys.executable, SCRIPT, "--wordnet", tmp_path, "--out", out], check=True)
    table = json.loads(out.read_text())
    assert tuple(table) == PASCAL_SYNSETS
    assert table["dog.n.01"] == {
        "words": ["dog", "dogs", "ladies", "lady", "ladys", "wolf", "wolfs", "wolves"],
        "phrases": ["canis lupus", "guide dog"],
    }
    assert table["bus.n.01"]["words"] == ["bus", "buses", "buss"]
    assert {"woman", "women", "womens"} <= set(table["person.n.01"]["words"])
