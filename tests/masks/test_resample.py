from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from clipseg.masks import resample
from clipseg.masks.resample import Bilinear, Dense, resize, upsampled


def test_doubling_a_ramp_gives_the_values_between_pixel_centres() -> None:
    ramp = torch.tensor([[[0.0, 4.0]]])
    assert resize(ramp, (1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]


def test_the_same_size_gives_the_same_numbers_in_new_memory() -> None:
    maps = torch.randn(2, 5, 7)
    same = resize(maps, (5, 7))
    assert torch.equal(same, maps)
    assert same.data_ptr() != maps.data_ptr()


def test_shrinking_lets_every_pixel_take_part() -> None:
    line = torch.zeros(1, 64, 64)
    line[0, :, 33] = 1.0  # between the pixels that plain bilinear sampling to a quarter would look at
    assert resize(line, (16, 16)).sum() == pytest.approx(64 / 16, rel=1e-4)


def test_one_side_may_grow_while_the_other_shrinks() -> None:
    maps = torch.randn(1, 12, 12)
    both = resize(maps, (4, 30))
    in_turn = resize(resize(maps, (4, 12)), (4, 30))
    torch.testing.assert_close(both, in_turn, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 9)] * 4), seed=st.integers(0, 99), band=st.sampled_from([1, 30, 2**16]))
def test_enlarging_is_what_torch_does_and_windows_and_cuts_are_parts_of_it_to_the_last_bit(
    sizes: tuple[int, int, int, int], seed: int, band: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "_BAND", band)  # from a row at a time to all of them
        check_enlarging(sizes, seed)


def check_enlarging(sizes: tuple[int, int, int, int], seed: int) -> None:
    h, w, more_rows, more_columns = sizes
    size = (h + more_rows - 1, w + more_columns**2 - 1)
    one = 10 * torch.randn((h, w), generator=torch.Generator().manual_seed(seed))
    surface = upsampled(one, size)
    values = surface.values()
    expected = functional.interpolate(one[None, None], size=size, mode="bilinear")[0, 0]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-4)
    numbers = np.random.default_rng(seed)
    window = tuple(slice(*sorted(numbers.integers(0, side + 1, 2).tolist())) for side in size)
    assert torch.equal(surface.values((window[0], window[1])), values[window])
    cuts = [-torch.inf, -3.0, 0.0, 8.0, torch.inf, float(values.flatten()[len(values) // 2]), float(one.max())]
    for each in (surface, surface.negated(), Dense(values)):
        for cut in cuts:
            assert torch.equal(each.above(cut), each.values() > cut)
    assert torch.equal(surface.negated().values(), -values)


def test_only_what_can_pass_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.full((50, 60), -5.0)
    one[20:23, 40] = 5
    surface = upsampled(one, (500, 600))
    computed: list[tuple[int, ...]] = []
    widened = Bilinear._widened

    def watched(*args: Any) -> Any:
        result = widened(*args)
        computed.append(result[1].shape)
        return result

    monkeypatch.setattr(Bilinear, "_widened", watched)
    assert surface.above(0).any()
    assert computed == [(4, 20)], "the rows of pixels and the one before, between the neighbours on both sides"
    assert not surface.above(6).any()
    assert len(computed) == 1
