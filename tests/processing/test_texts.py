import numpy as np
import pytest
import torch

from clipseg.errors import PromptError
from clipseg.processing.texts import checked_texts, plain_ids


def test_one_and_several():
    assert checked_texts("a cat", False, "text") == (["a cat"], True)
    assert checked_texts(("a", "cat"), False, "text") == (("a", "cat"), False)
    assert checked_texts(["a", "cat"], True, "text") == ([["a", "cat"]], True)
    assert checked_texts([["a"], ["cat"]], True, "text") == ([["a"], ["cat"]], False)
    assert checked_texts([], False, "text") == ([], False)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("text", [None, 3, b"a", ["a", 3], [["a"], 3], {"a": 1}])
def test_what_is_no_text(text, split):
    with pytest.raises(PromptError, match="text_pair must be a"):
        checked_texts(text, split, "text_pair")


def test_the_message_is_short():
    with pytest.raises(PromptError) as caught:
        checked_texts([3] * 1000, False, "text")
    assert len(str(caught.value)) < 150


def test_ids_in_any_form():
    for ids in ([1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2]), [np.int64(1), torch.tensor(2)]):
        assert plain_ids(ids) == [1, 2]
    for one in (3, np.int64(3), torch.tensor(3)):
        assert plain_ids(one) == 3
    assert plain_ids([torch.tensor([1]), [2, 3]]) == [[1], [2, 3]]
