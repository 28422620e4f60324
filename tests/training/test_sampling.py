"""Which sample a step sees: a function of seed and slot, whoever asks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.training.sampling import index_of, rng_of, slots_of

small = st.integers(1, 9)


@settings(max_examples=30)
@given(step=st.integers(0, 10**9), batch=small, world=small)
def test_processes_share_the_slots_of_a_step(step, batch, world):
    shares = [list(slots_of(step, batch, rank, world)) for rank in range(world)]
    assert sorted(slot for share in shares for slot in share) == list(range(step * batch, (step + 1) * batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=30)
@given(seed=st.tuples(st.integers(0, 2**40), st.integers(0, 9)), epoch=st.integers(0, 10**6), length=st.integers(1, 40))
def test_an_epoch_shows_every_entry_once(seed, epoch, length):
    seen = [index_of(seed, epoch * length + position, length) for position in range(length)]
    assert sorted(seen) == list(range(length))


def test_epochs_seeds_and_stages_have_orders_of_their_own():
    def order(seed, epoch):
        return [index_of(seed, epoch * 50 + position, 50) for position in range(50)]

    orders = [order((1, 0), 0), order((1, 0), 1), order((2, 0), 0), order((1, 1), 0)]
    assert len({tuple(each) for each in orders}) == 4
    assert order((1, 0), 0) == orders[0], "the same again, whatever was asked before"


def test_slots_have_a_chance_of_their_own():
    draws = {tuple(rng_of(seed, slot).random(3)) for seed in [(0, 0), (0, 1), (1, 0)] for slot in range(20)}
    assert len(draws) == 60
    assert np.array_equal(rng_of((5, 2), 7).random(3), rng_of((5, 2), 7).random(3))


def test_nothing_to_draw_from():
    with pytest.raises(UsageError, match="without a sample"):
        index_of((0, 0), 0, 0)
