import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.processing.lengths import (
    UNLIMITED,
    Filling,
    kept_lengths,
    padded_length,
    padding_strategy,
    stacked,
    truncation_strategy,
)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 100))
def test_longest_first_fills_the_room_and_cuts_the_longer_first(first, second, room):
    kept = kept_lengths([first, second], room, "longest_first")
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first
    assert kept[1] <= second
    if kept[0] < first and kept[1] < second:
        assert abs(kept[0] - kept[1]) <= 1
    elif kept != [first, second]:
        assert max(kept) <= max(first, second)
        assert (kept[0] < first) == (first > second) or first == second


def test_cutting_one_side_only():
    assert kept_lengths([5, 3], 6, "only_first") == [3, 3]
    assert kept_lengths([5, 3], 6, "only_second") == [5, 1]
    assert kept_lengths([5, 3], 2, "do_not_truncate") == [5, 3]
    with pytest.raises(UsageError, match="cannot take 4 tokens"):
        kept_lengths([5, 3], 4, "only_second")
    with pytest.raises(UsageError, match="only_second"):
        kept_lengths([5], 4, "only_second")
    with pytest.raises(UsageError, match="1 larger"):
        kept_lengths([5], -1, "longest_first")


def test_padded_lengths():
    assert padded_length([3, 5], False, 9, None) == 0
    assert padded_length([3, 5], True, 9, None) == padded_length([3, 5], "longest", 9, None) == 5
    assert padded_length([3, 5], True, 9, 4) == 8
    assert padded_length([3, 5], "max_length", 9, None) == 9
    assert padded_length([], True, 9, None) == 0
    with pytest.raises(UsageError, match="max_length"):
        padded_length([3], "max_length", UNLIMITED, None)
    with pytest.raises(UsageError, match="'longst'"):
        padded_length([3], "longst", 9, None)


def test_stacked_rows():
    assert stacked([[1, 2], [3, 4]], "np").dtype == np.int64
    assert torch.equal(stacked([[1, 2]], "pt"), torch.tensor([[1, 2]]))
    with pytest.raises(UsageError, match="padding=True"):
        stacked([[1, 2], [3]], "pt")
    with pytest.raises(UsageError, match="'tf'"):
        stacked([[1]], "tf")
    with pytest.raises(UsageError, match="only numbers"):
        stacked([["a"]], "np")
    assert stacked([[0.5]], "pt").dtype == torch.float32
    assert stacked([[True]], "pt").dtype == torch.bool
    assert stacked([[], []], "np").dtype == np.int64


def test_rows_are_filled_by_what_their_column_means():
    right, left = Filling(3, "right", 9), Filling(3, "left", 9)
    assert right.fill("input_ids", [[1], [1, 2, 3, 4]]) == [[1, 9, 9], [1, 2, 3, 4]]
    assert left.fill("input_ids", [[1]]) == [[9, 9, 1]]
    assert left.fill("attention_mask", [[1]]) == [[0, 0, 1]]
    assert right.fill("special_tokens_mask", [[0]]) == [[0, 1, 1]]
    assert right.fill("offset_mapping", [[(0, 1)]]) == [[(0, 1), (0, 0), (0, 0)]]
    assert right.fill("labels", [[1]]) == Filling().fill("input_ids", [[1]]) == [[1]]


def test_names_of_strategies():
    assert truncation_strategy(True) == "longest_first"
    assert truncation_strategy(False) == "do_not_truncate"
    with pytest.raises(UsageError):
        truncation_strategy("longest")
    assert truncation_strategy(None) == padding_strategy(None).replace("pad", "truncate") == "do_not_truncate"
    assert padding_strategy(True) == "longest"
