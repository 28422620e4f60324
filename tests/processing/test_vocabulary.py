import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from clipseg.errors import CheckpointError, CheckpointNotFoundError, ConfigurationError, UsageError
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import (
    byte_alphabet,
    load_vocabulary,
    merges_text,
    read_merges,
    train_vocabulary,
    vocabulary_of,
)

PHRASES = ["a red circle", "a red square", "the blue circle", "something round", "a cat, a dog"]


def test_alphabet_is_the_one_of_the_library():
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert (byte_alphabet()[ord("a")], byte_alphabet()[ord(" ")], byte_alphabet()[0xC3]) == ("a", "Ġ", "Ã")


def test_order_of_a_vocabulary():
    symbols = list(vocabulary_of([("a", "b</w>"), ("c", "d")]))
    assert len(symbols) == 516
    assert symbols[:3] == ["!", '"', "#"]
    assert (symbols[187], symbols[188]) == ("ÿ", "Ā")  # what prints comes first
    assert symbols[256:258] == ["!</w>", '"</w>']
    assert symbols[512:] == ["ab</w>", "cd", "<|startoftext|>", "<|endoftext|>"]


def test_two_merges_of_one_symbol_share_an_entry():
    assert len(vocabulary_of([("a", "bc"), ("ab", "c")])) == 515


def test_training_merges_the_most_frequent_pair_first():
    _, merges = train_vocabulary(["ab ab ab", "cd cd"], 600)
    assert merges == [("a", "b</w>"), ("c", "d</w>")]


def test_training_breaks_ties_by_the_alphabet_and_not_by_order():
    first, second = train_vocabulary(PHRASES, 540), train_vocabulary(PHRASES[::-1], 540)
    assert first == second
    assert train_vocabulary(["yz yz ab ab"], 515)[1] == [("a", "b</w>")]


def test_training_stops_at_the_size_and_where_nothing_repeats():
    vocabulary, merges = train_vocabulary(PHRASES, 520)
    assert (len(vocabulary), len(merges)) == (520, 6)
    assert list(vocabulary.values()) == list(range(520))
    assert train_vocabulary(["abc"], 1000)[1] == []
    with pytest.raises(ConfigurationError, match="at least 514"):
        train_vocabulary(PHRASES, 513)


def test_overlapping_pairs_are_merged_once():
    _, merges = train_vocabulary(["aaaa aaaa"], 600)
    assert merges == [("a", "a"), ("a", "a</w>"), ("aa", "aa</w>")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet="abcé ☆'1", max_size=12), max_size=8), st.integers(514, 530))
def test_a_trained_vocabulary_spells_every_text(phrases, size):
    vocabulary, merges = train_vocabulary(phrases, size)
    tokenizer = CLIPTokenizer(vocabulary, merges)
    assert len(tokenizer) == len(vocabulary) <= size
    for phrase in phrases:
        assert tokenizer.decode(tokenizer.encode(phrase), skip_special_tokens=True).replace(" ", "") == phrase.replace(
            " ", ""
        )


def test_training_agrees_with_a_plain_recount():
    """The incremental counts against counting everything anew before each merge."""
    phrases = ["low lower lowest newer wider low low", "new newest widest", "slow slower"]
    words = [[*word[:-1], word[-1] + "</w>"] for phrase in phrases for word in phrase.split()]
    expected = []
    while True:
        counts = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        expected.append(best)
        for word in words:
            for i in range(len(word) - 1, 0, -1):  # no pair here overlaps itself
                if (word[i - 1], word[i]) == best:
                    word[i - 1 : i + 1] = ["".join(best)]
    assert train_vocabulary(phrases, 10_000)[1] == expected


def test_merges_survive_their_file(tmp_path):
    merges = [("a", "b"), ("#", "#version"), ("Ġ", "Ń</w>")]
    path = tmp_path / "merges.txt"
    path.write_text(merges_text(merges), encoding="utf-8", newline="\n")
    assert path.read_text(encoding="utf-8").startswith("#version: 0.2\na b\n")
    assert read_merges(path) == merges


def test_a_merge_that_begins_like_the_header_is_a_merge(tmp_path):
    (tmp_path / "merges.txt").write_text("#version: 0.2\n# #</w>\n", encoding="utf-8")
    assert read_merges(tmp_path / "merges.txt") == [("#", "#</w>")]


def test_files_that_hold_no_vocabulary(tmp_path):
    def written(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    with pytest.raises(CheckpointError, match=r"a merge is two symbols, got 'a b c'"):
        read_merges(written("merges.txt", "#version: 0.2\na b c\n"))
    with pytest.raises(CheckpointNotFoundError):
        read_merges(tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="no readable list"):
        read_merges(tmp_path / "bad.txt")
    with pytest.raises(CheckpointError, match="integer id"):
        load_vocabulary(written("vocab.json", json.dumps({"a": "b"})), [], None)
    for content in ({}, {"model": {"vocab": {"a": 0}}}, {"model": 3}):
        with pytest.raises(CheckpointError, match="no byte-pair vocabulary"):
            load_vocabulary(None, None, written("tokenizer.json", json.dumps(content)))
    with pytest.raises(UsageError, match="give one of them"):
        load_vocabulary({"a": 0}, None, tmp_path / "tokenizer.json")
