"""Ids, masks, offsets and texts equal to two other implementations over the released vocabulary.

Where transformers 5.23 departs from the documented contract, the contract is followed:
- `get_special_tokens_mask` refuses plain ids there, and `save_vocabulary` fails without a vocab_file;
- a pair whose second text is empty is a single text there, and a pair here;
- `batch_decode` of a flat list is one text there, and a text for each id here, as in the documented releases;
- setting `bos_token` or `eos_token` has no effect on texts there, and has one here;
- an id outside the vocabulary is None there, and an error here;
- `padding="max_length"` without any limit is ignored there, and an error here.
"""

import random
import unicodedata
from pathlib import Path
from typing import Any

import instant_clip_tokenizer
import pytest
import transformers

from clipseg.errors import UsageError
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
from real_vocabulary import real_vocabulary
from strings import END, START, strings
from twins import quiet

COUNT = 7_000


@pytest.fixture(scope="module")
def pair() -> tuple[CLIPTokenizer, Any]:
    vocabulary, merges = real_vocabulary()
    reference = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    return CLIPTokenizer(vocabulary, merges, model_max_length=77), reference


@pytest.fixture
def ours(pair: tuple[CLIPTokenizer, Any]) -> CLIPTokenizer:
    pair[0].truncation_side = "right"
    return pair[0]


@pytest.fixture
def theirs(pair: tuple[CLIPTokenizer, Any]) -> Any:
    pair[1].truncation_side = "right"
    return pair[1]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return strings(COUNT)


def test_thousands_of_texts(ours: CLIPTokenizer, theirs: Any, texts: list[str]) -> None:
    options: dict[str, Any] = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    found, expected = ours(texts, **options), theirs(texts, **options)
    assert list(found) == list(expected)
    assert found == dict(expected)
    for skip in (False, True):
        decoded = [theirs.decode(ids, skip_special_tokens=skip) for ids in expected["input_ids"]]
        assert ours.batch_decode(found.input_ids, skip_special_tokens=skip) == decoded
    assert CLIPTokenizerFast.__call__(ours, texts[:50], padding=True) == dict(theirs(texts[:50], padding=True))


def test_where_tokens_come_from(ours: CLIPTokenizer, theirs: Any, texts: list[str]) -> None:
    batch = [text[:60] for text in texts[:300]]
    found, expected = (each(batch, batch[::-1], padding=True) for each in (ours, theirs))
    for row, text in enumerate(batch):
        assert found.tokens(row) == expected.tokens(row)
        assert found.word_ids(row) == expected.word_ids(row)
        assert found.sequence_ids(row) == expected.sequence_ids(row)
        for char in range(len(text)):
            assert found.char_to_token(row, char) == expected.char_to_token(row, char)
            assert found.char_to_word(row, char) == expected.char_to_word(row, char)
        for token in range(1, found[row].attention_mask.count(1)):
            assert found.token_to_chars(row, token) == expected.token_to_chars(row, token)
            assert found.token_to_word(row, token) == expected.token_to_word(row, token)
            assert found.token_to_sequence(row, token) == expected.token_to_sequence(row, token)


def _options(draw: random.Random) -> dict[str, Any]:
    options = {
        "add_special_tokens": draw.random() < 0.8,
        "padding": draw.choice([False, True, "longest", "max_length", "do_not_pad"]),
        "truncation": draw.choice([None, False, True, "longest_first", "only_first", "only_second"]),
        "max_length": draw.choice([None, 8, 12, 24]),
        "stride": draw.choice([0, 1]),
        "pad_to_multiple_of": draw.choice([None, None, 4]),
        "padding_side": draw.choice([None, "left", "right"]),
        "return_token_type_ids": draw.choice([None, True]),
        "return_attention_mask": draw.choice([None, True, False]),
        "return_overflowing_tokens": draw.random() < 0.4,
        "return_special_tokens_mask": draw.random() < 0.5,
        "return_offsets_mapping": draw.random() < 0.5,
        "return_length": draw.random() < 0.5,
    }
    options = {name: value for name, value in options.items() if draw.random() < 0.7}
    if str(options.get("truncation")).startswith("only"):
        options.pop("stride", None)  # the reference ends the process's thread where a stride leaves no room
    return options


@pytest.mark.parametrize("seed", range(4))
def test_any_options(ours: CLIPTokenizer, theirs: Any, texts: list[str], seed: int) -> None:
    draw = random.Random(seed)
    refused = 0
    for _ in range(150):
        options = _options(draw)
        batch = [text[:90] or "a" for text in draw.sample(texts, draw.randint(1, 4))]
        if draw.random() < 0.2:
            batch = [text.split() or ["a"] for text in batch]
            options["is_split_into_words"] = True
        pairs = [draw.choice(batch) for _ in batch]
        arguments: tuple[Any, ...] = draw.choice([(batch,), (batch[0],), (batch, pairs), (batch[0], pairs[0])])
        ours.truncation_side = theirs.truncation_side = draw.choice(["left", "right"])
        try:
            with quiet():
                expected = theirs(*arguments, **options)
        except Exception:  # the reference lets bare exceptions of the library through
            refused += 1
            with pytest.raises(UsageError):
                ours(*arguments, **options)
            continue
        found = ours(*arguments, **options)
        assert (list(found), found) == (list(expected), dict(expected)), (arguments, options)
        assert [row.ids for row in found.encodings or ()] == [row.ids for row in expected.encodings]
        assert [row.tokens for row in found.encodings or ()] == [row.tokens for row in expected.encodings]
    assert refused < 50


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_tensors(ours: CLIPTokenizer, theirs: Any, texts: list[str], kind: str) -> None:
    options = {"padding": "max_length", "truncation": True, "return_tensors": kind}
    found, expected = (each(texts[:40], **options) for each in (ours, theirs))
    for name, column in expected.items():
        assert found[name].dtype == column.dtype
        assert (found[name] == column).all()


def test_filling_up_later(ours: CLIPTokenizer, theirs: Any, texts: list[str]) -> None:
    rows = [ours(text[:50], return_special_tokens_mask=True) for text in texts[:60]]
    for options in ({}, {"pad_to_multiple_of": 8}, {"padding": "max_length"}, {"padding_side": "left"}):
        for kind in (None, "pt"):
            given = [dict(row) for row in rows]
            found, expected = (each.pad(given, return_tensors=kind, **options) for each in (ours, theirs))
            assert {n: [list(r) for r in c] for n, c in found.items()} == {
                n: [list(r) for r in c] for n, c in expected.items()
            }


def test_added_tokens(texts: list[str]) -> None:
    vocabulary, merges = real_vocabulary()
    pair = CLIPTokenizer(vocabulary, merges), transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)
    token = transformers.AddedToken("the", lstrip=True, normalized=True)
    for each in pair:
        assert each.add_tokens(["photo of", "ＸＹ"]) == 2
        assert each.add_tokens([token]) == 1
        assert each.add_tokens("cat") == 1
        assert each.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["[A]", "[B]"]}) == 3
    batch = [f"{text[:40]}[A]a photo of  the cat [pad]ＸＹ" for text in texts[:200]]
    found, expected = (each(batch, padding=True, return_offsets_mapping=True) for each in pair)
    assert found == dict(expected)
    for ids in found.input_ids:
        for skip in (False, True):
            assert pair[0].decode(ids, skip_special_tokens=skip) == pair[1].decode(ids, skip_special_tokens=skip)
    assert pair[0].all_special_tokens == pair[1].all_special_tokens
    assert pair[0].all_special_ids == pair[1].all_special_ids
    assert pair[0].added_tokens_encoder == pair[1].added_tokens_encoder
    assert len(pair[0]) == len(pair[1])


# An implementation in Rust that shares no code with the `tokenizers` library. What it does not do, and we do:


def special_tokens(text: str) -> bool:
    """It has no special tokens in texts: each is what its characters say, in any case."""
    return START in text.lower() or END in text.lower()


def young_characters(text: str) -> bool:
    """Which characters are letters depends on the age of the Unicode tables; those of Python are the oldest here."""
    return any(unicodedata.category(char) == "Cn" for char in text)


def last_sigma(text: str) -> bool:
    """It writes a capital sigma small as at the end of a word, "ΟΔΟΣ" as "οδος"; we write it as everywhere else."""
    return "Σ" in text


@pytest.fixture(scope="module")
def independent() -> Any:
    return instant_clip_tokenizer.Tokenizer()


def test_an_independent_implementation(ours: CLIPTokenizer, independent: Any, texts: list[str]) -> None:
    alike = [text for text in texts if not (special_tokens(text) or young_characters(text) or last_sigma(text))]
    assert len(alike) > 5_000
    composed = [unicodedata.normalize("NFC", text) for text in alike]  # it does not compose characters itself
    found = ours(alike, add_special_tokens=False, verbose=False).input_ids
    for text, ids in zip(composed, found, strict=True):
        assert independent.encode(text) == ids, ascii(text)


def test_what_the_independent_implementation_does_otherwise(ours: CLIPTokenizer, independent: Any) -> None:
    for text, ours_alone in (
        (END, [49407]),
        ("e\u0301", ours.encode("é", add_special_tokens=False)),
        ("ΟΔΟΣ", ours.encode("οδοσ", add_special_tokens=False)),
    ):
        assert ours.encode(text, add_special_tokens=False) == ours_alone != independent.encode(text)


# The contract where the reference departs from it


def test_where_the_contract_is_followed(ours: CLIPTokenizer, theirs: Any, tmp_path: Path) -> None:
    assert [Path(path).name for path in ours.save_vocabulary(str(tmp_path))] == ["vocab.json", "merges.txt"]
    assert CLIPTokenizer(*(tmp_path / name for name in ("vocab.json", "merges.txt"))).get_vocab() == theirs.get_vocab()
    with pytest.raises((AttributeError, TypeError)):
        theirs.save_vocabulary(str(tmp_path))
    ids = ours.encode("a cat", add_special_tokens=False)
    assert ours.get_special_tokens_mask(ids) == [1, 0, 0, 1]
    with pytest.raises(NotImplementedError):
        theirs.get_special_tokens_mask(ids)
    assert ours("a cat", "").input_ids == [49406, 320, 2368, 49407, 49407, 49407]
    assert theirs("a cat", "").input_ids == [49406, 320, 2368, 49407]
    assert ours.batch_decode(ids) == ["a", "cat"]
    assert theirs.batch_decode(ids) == ["a cat"]
    assert theirs.convert_ids_to_tokens(10**6) is None
    for call in (lambda: ours.convert_ids_to_tokens(10**6), lambda: ours.decode([10**6])):
        with pytest.raises(ValueError, match="outside"):
            call()
    with pytest.raises(UsageError, match="needs a max_length"):
        CLIPTokenizer(*real_vocabulary())("a cat", padding="max_length")
