import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary


def new():
    return CLIPTokenizer(*train_vocabulary(["low low lower"], 520), model_max_length=9)


TOKENIZER = new()
PAD = TOKENIZER.pad_token_id


@pytest.mark.parametrize("form", [list, np.array, torch.tensor])
def test_rows_as_collators_have_them(form):
    rows = [{"input_ids": form([1, 2, 3]), "label": 4}, {"input_ids": form([1]), "label": 5}]
    batch = TOKENIZER.pad(rows)
    kinds = {list: list, np.array: np.ndarray, torch.tensor: torch.Tensor}
    assert isinstance(batch.input_ids, kinds[form])
    assert [list(row) for row in batch.input_ids] == [[1, 2, 3], [1, PAD, PAD]]
    assert [list(row) for row in batch.attention_mask] == [[1, 1, 1], [1, 0, 0]]
    assert list(batch.label) == [4, 5]
    assert len(rows[0]) == 2


def test_a_batch_and_its_options():
    batch = TOKENIZER(["low low", "low"], return_special_tokens_mask=True)
    left = TOKENIZER.pad(batch, padding_side="left", pad_to_multiple_of=4)
    assert left.input_ids[1][-3:] == batch.input_ids[1]
    assert left.special_tokens_mask[1] == [1, *batch.special_tokens_mask[1]]
    assert TOKENIZER.pad(batch, padding="max_length").attention_mask[1] == [1] * 3 + [0] * 6
    assert TOKENIZER.pad(batch, padding="max_length", max_length=5).input_ids[1][3:] == [PAD, PAD]
    assert TOKENIZER.pad(batch, padding=False) == batch
    assert TOKENIZER.pad(batch, return_tensors="pt").input_ids.shape[0] == 2
    one = TOKENIZER.pad({"input_ids": [1, 2]}, padding="max_length", max_length=3)
    assert one == {"input_ids": [1, 2, PAD], "attention_mask": [1, 1, 0]}
    assert list(TOKENIZER.pad({"input_ids": [1, 2]}, return_attention_mask=False)) == ["input_ids"]
    assert TOKENIZER.pad({"input_ids": []}) == {"input_ids": [], "attention_mask": []}


def test_ids_by_another_name():
    tokenizer = new()
    tokenizer.model_input_names = ["inputs", "attention_mask"]
    assert tokenizer.pad({"inputs": [[1, 2], [3]]}).inputs == [[1, 2], [3, PAD]]
    assert CLIPTokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_misuse():
    for wrong in ({}, [], {"attention_mask": [1]}, [{"label": 1}]):
        with pytest.raises(UsageError, match="input_ids"):
            TOKENIZER.pad(wrong)
    with pytest.raises(UsageError, match="different numbers of rows"):
        TOKENIZER.pad({"input_ids": [[1], [2]], "attention_mask": [[1]]})
    bare = new()
    bare.pad_token = None
    assert bare("low").input_ids == TOKENIZER("low").input_ids
    for pad in (lambda: bare("low", padding=True), lambda: bare.pad({"input_ids": [[1], [1, 2]]})):
        with pytest.raises(UsageError, match="no pad_token"):
            pad()


def test_lengths_of_texts_alone():
    assert (TOKENIZER.max_len_single_sentence, TOKENIZER.max_len_sentences_pair) == (7, 5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["low", "lower", "x", "yz"]), max_size=9).map(" ".join),
    st.none() | st.lists(st.sampled_from(["low", "x"]), max_size=9).map(" ".join),
    st.fixed_dictionaries(
        {
            "add_special_tokens": st.booleans(),
            "padding": st.sampled_from([False, True, "max_length"]),
            "truncation": st.sampled_from([None, False, True]),
            "max_length": st.sampled_from([None, 6]),
            "padding_side": st.sampled_from([None, "left"]),
        }
    ),
)
def test_ids_alone_become_what_their_text_does(first, second, options):
    ids = [TOKENIZER.encode(text, add_special_tokens=False) for text in (first, second) if text is not None]
    assert TOKENIZER.prepare_for_model(*ids, **options) == TOKENIZER(first, second, verbose=False, **options)


def test_no_ids_at_all_are_filled_up_like_others():
    options = {"add_special_tokens": False, "padding": "max_length", "max_length": 3}
    assert TOKENIZER.prepare_for_model([], **options) == TOKENIZER("", **options)
    assert TOKENIZER.prepare_for_model([], **options).input_ids == [PAD] * 3


def test_prepared_as_a_batch():
    assert TOKENIZER.prepare_for_model([1], return_tensors="pt", prepend_batch_axis=True).input_ids.shape == (1, 3)
    tokenizer = new()
    tokenizer.truncation_side = "left"
    assert tokenizer.prepare_for_model([1, 2, 3], max_length=3).input_ids[1] == 3
