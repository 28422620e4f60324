"""Equal pictures are found whole, and nobody looks where there is nothing to see."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from clipseg.modeling.calls import can_look_at, distinct_rows, spread
from clipseg.modeling.outputs import BaseModelOutputWithPooling
from tiny import pixels


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.sampled_from([1, 7, 64]))
def test_every_row_is_given_back(order: list[int], side: int) -> None:
    pictures = pixels(4, side)[order]
    distinct, which = distinct_rows(pictures)
    assert len(distinct) == len(set(order))
    assert (which is None) == (len(distinct) == len(order))
    assert torch.equal(distinct if which is None else distinct[which], pictures)


def test_one_pixel_makes_a_difference() -> None:
    pictures = pixels(1).repeat(3, 1, 1, 1)
    pictures[1, 2, 33, 7] += 1e-3  # between those that are looked at first
    distinct, which = distinct_rows(pictures)
    assert which is not None
    assert torch.equal(distinct, pictures[:2])
    assert which.tolist() == [0, 1, 0]


def test_what_is_no_number_equals_nothing() -> None:
    assert distinct_rows(torch.full((2, 3, 8, 8), torch.nan))[1] is None


@pytest.mark.parametrize("kind", [torch.float16, torch.uint8])
def test_any_type_and_layout(kind: torch.dtype) -> None:
    pictures = torch.ones(1, 3, 8, 8).to(kind).expand(3, -1, -1, -1)
    for picture in (pictures, pictures.contiguous(memory_format=torch.channels_last)):
        assert len(distinct_rows(picture)[0]) == 1


def test_rows_are_spread_as_copies() -> None:
    output = BaseModelOutputWithPooling(pooler_output=torch.arange(2.0)[:, None], hidden_states=(torch.eye(2),) * 2)
    wide = spread(output, torch.tensor([0, 1, 0]))
    assert wide.pooler_output is not None
    assert wide.pooler_output.flatten().tolist() == [0, 1, 0]
    assert [tuple(state.shape) for state in wide.hidden_states or ()] == [(3, 2)] * 2
    wide.pooler_output[0] = 9  # its own memory: rows do not share it
    assert wide.pooler_output.flatten().tolist() == [9, 1, 0]
    assert wide.last_hidden_state is None


@pytest.mark.filterwarnings("ignore:`torch.jit.trace`:DeprecationWarning")
def test_nobody_looks_at_what_has_no_values() -> None:
    assert can_look_at(torch.ones(1))
    assert not can_look_at(torch.ones(1, device="meta"))
    with FakeTensorMode():
        assert not can_look_at(torch.ones(1))
    seen = []

    def traced(x: torch.Tensor) -> torch.Tensor:
        seen.append(can_look_at(x))
        return x + 1

    torch.jit.trace(traced, torch.ones(1), check_trace=False)
    assert seen == [False]
