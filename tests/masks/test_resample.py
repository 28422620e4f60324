import pytest
import torch

from clipseg.masks import resample
from clipseg.masks.resample import resize, resized_blocks


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


@pytest.mark.parametrize("elements", [1, 6 * 8, 2 * 6 * 8 + 5, 10**9])
def test_blocks_are_the_whole_in_order_and_never_larger_than_allowed(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resample, "BLOCK_ELEMENTS", elements)
    maps = torch.randn(5, 3, 4)
    blocks = list(resized_blocks(maps, (6, 8)))
    assert torch.equal(torch.cat([block for _, block in blocks]), resize(maps, (6, 8)))
    assert [n for part, _ in blocks for n in range(part.start, part.stop)] == list(range(5))
    assert all(len(block) == 1 or block.numel() <= elements for _, block in blocks)
