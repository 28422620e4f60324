import numpy as np
import pytest
import torch

from clipseg.errors import PromptError
from clipseg.processing.texts import checked_texts, plain_ids


def test_one_and_several():
    assert checked_texts("a cat", None, False) == (["a cat"], [None], True)
    assert checked_texts(("a", "cat"), None, False) == (("a", "cat"), [None, None], False)
    assert checked_texts(["a", "cat"], None, True) == ([["a", "cat"]], [None], True)
    assert checked_texts([["a"], ["cat"]], None, True) == ([["a"], ["cat"]], [None, None], False)
    assert checked_texts([], None, False) == ([], [], False)


def test_pairs():
    assert checked_texts("a", "cat", False) == (["a"], ["cat"], True)
    assert checked_texts(["a", "b"], ["c", "d"], False) == (["a", "b"], ["c", "d"], False)
    assert checked_texts([("a", "c"), ["b", "d"]], None, False) == (("a", "b"), ("c", "d"), False)
    assert checked_texts([(["a"], ["c", "d"])], None, True) == ((["a"],), (["c", "d"],), False)
    assert checked_texts([["a", "b"], ["c", "d"]], None, True)[0] == [["a", "b"], ["c", "d"]]  # words, not pairs
    with pytest.raises(PromptError, match="give one for each"):
        checked_texts(["a", "b"], ["c"], False)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("text", [None, 3, b"a", ["a", 3], [["a"], 3], {"a": 1}])
def test_what_is_no_text(text, split):
    with pytest.raises(PromptError, match="text must be a"):
        checked_texts(text, None, split)
    if text is not None:
        with pytest.raises(PromptError, match="text_pair must be a"):
            checked_texts(["a"] if split else "a", text, split)


def test_the_message_is_short():
    with pytest.raises(PromptError) as caught:
        checked_texts([3] * 1000, None, False)
    assert len(str(caught.value)) < 150


def test_ids_in_any_form():
    for ids in ([1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2]), [np.int64(1), torch.tensor(2)]):
        assert plain_ids(ids) == [1, 2]
    for one in (3, np.int64(3), torch.tensor(3)):
        assert plain_ids(one) == 3
    assert plain_ids([torch.tensor([1]), [2, 3]]) == [[1], [2, 3]]
