import copy
import pickle

import numpy as np
import pytest
import torch
from tokenizers import Encoding

from clipseg.errors import UsageError
from clipseg.processing.encoding import BatchEncoding, CharSpan, TokenSpan
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer(*train_vocabulary(["low low lower"], 520))


def test_where_tokens_come_from(tokenizer):
    batch = tokenizer(["Low xy", "low"], padding=True)  # bos low x y eos
    assert batch.is_fast
    assert batch.n_sequences == 1
    assert batch.tokens(0)[1:-1] == ["low</w>", "x", "y</w>"]
    assert batch.tokens(1)[2:] == [END] * 3
    assert batch.word_ids(0) == [None, 0, 1, 1, None]
    assert batch.sequence_ids(1) == [None, 0, None, None, None]
    assert batch.token_to_word(0, 2) == batch.token_to_word(3) == 1
    assert batch.token_to_word(0) is None
    assert batch.token_to_chars(0, -2) == CharSpan(5, 6)
    assert batch.token_to_chars(0, 0) is None
    assert batch.word_to_tokens(1) == TokenSpan(2, 4)
    assert batch.word_to_tokens(1, 7) is None
    assert batch.word_to_chars(0, 1) == CharSpan(4, 6)
    assert batch.char_to_token(5) == 3
    assert batch.char_to_token(0, 3) is None
    assert batch.char_to_word(1, 2) == 0
    assert batch.token_to_sequence(1, 1) == 0


def test_pairs(tokenizer):
    batch = tokenizer("low", "low xy")
    assert batch.n_sequences == 2
    assert batch.sequence_ids() == [None, 0, None, None, 1, 1, 1, None]
    assert batch.word_to_tokens(1, sequence_index=1).end == len(batch.input_ids) - 1
    assert batch.char_to_token(0, sequence_index=1) == batch.sequence_ids().index(1)


def test_rows_by_number_and_columns_by_name(tokenizer):
    batch = tokenizer(["low lower", "low"], padding=True)
    assert isinstance(batch[0], Encoding)
    assert batch[1].ids == batch["input_ids"][1] == batch.input_ids[1]
    assert batch[-1].attention_mask == batch.attention_mask[1]
    assert [row.ids for row in batch.encodings] == batch.input_ids
    assert batch[1:] == {name: column[1:] for name, column in batch.items()}
    assert batch.data == dict(batch)
    assert {**batch} == batch
    with pytest.raises(IndexError, match="row 2 of a batch of 2"):
        batch[2]
    with pytest.raises(KeyError):
        batch["pixel_values"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda batch: pickle.loads(pickle.dumps(batch))])
def test_copies(tokenizer, copied):
    batch = tokenizer(["low lower", "low"], padding=True)
    again = copied(batch)
    assert type(again) is BatchEncoding
    assert again == batch
    assert again.tokens(1) == batch.tokens(1)


def test_a_batch_of_something_else():
    batch = BatchEncoding({"input_ids": [[1, 2]], "scores": [[0.5, 1.0]]})
    assert not batch.is_fast
    assert batch.encodings is batch.n_sequences is None
    for question in (lambda: batch[0], batch.tokens, lambda: batch.char_to_token(0)):
        with pytest.raises(UsageError, match="not made from texts"):
            question()
    batch.convert_to_tensors("pt")
    assert batch.to("cpu") is batch
    assert batch.input_ids.dtype == torch.int64
    assert batch.scores.dtype == torch.float32
    assert BatchEncoding({"a": [1]}).convert_to_tensors("np", prepend_batch_axis=True)["a"].shape == (1, 1)
    assert isinstance(BatchEncoding({"a": [1]}, tensor_type="np")["a"], np.ndarray)
