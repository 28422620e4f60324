"""Ids back to text, by the vectors of a tiny vocabulary and as the reference does it."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import PromptError
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = [
    *("l", "o", "w", "e", "r", "s", "t", "i", "d", "n", "lo", "l</w>", "w</w>", "r</w>", "t</w>"),
    *("low</w>", "er</w>", "lowest</w>", "newer</w>", "wider", "<unk>", START, END),
]


@pytest.fixture(scope="module")
def tiny():
    return CLIPTokenizer(SYMBOLS, ["l o", "lo w</w>", "e r</w>"], unk_token="<unk>")


@pytest.fixture(scope="module")
def trained():
    """A whole (every byte has a symbol) vocabulary, and the reference over the same."""
    vocabulary, merges = train_vocabulary(["a photo of a cat", "something to fill", "didn't they'll we've"] * 3, 540)
    return CLIPTokenizer(vocabulary, merges), transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)


def test_decoding(tiny):
    ids = tiny.encode("lower newer")
    assert tiny.decode(ids) == f"{START}lower newer {END}"
    for form in (ids, tuple(ids), np.array(ids), torch.tensor(ids)):
        assert tiny.decode(form, skip_special_tokens=True) == "lower newer"
    assert tiny.decode(15) == "low"
    rows = [[1, 4, 5, 8, 1, 0, 8], [3, 4, 3, 1, 1, 8, 9]]
    for form in (rows, np.array(rows), torch.tensor(rows)):
        assert tiny.batch_decode(form) == tiny.decode(form) == ["orsdold", "ereoodn"]
    assert tiny.decode([]) == ""
    assert tiny.convert_tokens_to_string(["lo", "w</w>"]) == "low</w>"


def test_conversions(tiny):
    assert tiny.convert_tokens_to_ids("er</w>") == 16
    assert tiny.convert_tokens_to_ids("nowhere") == 20
    assert tiny.convert_ids_to_tokens(16) == "er</w>"
    assert tiny.convert_ids_to_tokens(torch.tensor([21, 16]), skip_special_tokens=True) == ["er</w>"]
    for wrong in (23, -1, 2**40):
        with pytest.raises(PromptError, match="outside this vocabulary of 23"):
            tiny.convert_ids_to_tokens(wrong)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.integers(0, 539), max_size=12))
def test_any_ids_as_the_reference(trained, ids):
    ours, reference = trained
    assert ours.decode(ids) == reference.decode(ids)


def test_errors_of_decoding(trained):
    tokenizer, _ = trained
    half = tokenizer.encode("é", add_special_tokens=False)[:1]
    assert tokenizer.decode(half) == "\ufffd"
    assert CLIPTokenizer(tokenizer.get_vocab(), tokenizer._merges, errors="ignore").decode(half) == ""


def test_options_that_mean_nothing_here(tiny):
    ids = tiny.encode("lower newer")
    options = {"clean_up_tokenization_spaces": True, "spaces_between_special_tokens": False}
    assert tiny.decode(ids, **options) == tiny.decode(ids)
    assert tiny.batch_decode([ids], **options) == [tiny.decode(ids)]
