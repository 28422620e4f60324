import numpy as np
import pytest
import torch
from scipy import ndimage

from clipseg.masks.smoothing import gaussian, median


def steps(size: tuple[int, int]) -> torch.Tensor:
    """A few squares and a strip: edges, the hardest thing to blur alike."""
    values = torch.zeros(size)
    values[: size[0] // 3, : size[1] // 2] = 1
    values[size[0] // 2 :, size[1] // 4 : size[1] // 3] = 0.7
    return values


@pytest.mark.parametrize("sigma", [0.5, 3.9, 4.1, 6.3, 17.0, 60.0])
@pytest.mark.parametrize("size", [(150, 211), (300, 90)])
def test_a_gaussian_is_one_at_every_width(sigma: float, size: tuple[int, int]) -> None:
    values = steps(size)
    exact = ndimage.gaussian_filter(values.numpy(), sigma)
    found = gaussian(values, sigma).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() < 0.02
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize("side", [3, 5, 9, 25])
def test_a_median_drops_what_is_small_and_keeps_what_is_large(side: int) -> None:
    values = torch.zeros(120, 120)
    values[:, 60:] = 1
    speck = max(1, side // 4)
    values[20 : 20 + speck, 20 : 20 + speck] = 1
    calm = median(values, side)
    away = side
    assert (calm[:, : 60 - away] < 0.5).all()
    assert (calm[:, 60 + away :] > 0.5).all()


def test_a_small_median_is_exact() -> None:
    values = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    for side, taken in ((3, 3), (4.9, 3), (5, 5)):
        assert np.array_equal(median(values, side).numpy(), ndimage.median_filter(values.numpy(), taken))


def test_nothing_to_do_is_nothing_done() -> None:
    values = torch.rand(5, 6)
    assert gaussian(values, 0) is values
    assert median(values, 0) is values
    assert median(values, 2.9) is values


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_thin_pictures_and_wide_filters(size: tuple[int, int]) -> None:
    values = torch.full(size, 0.3)
    for calm in (gaussian(values, 40), gaussian(values, 2), median(values, 31), median(values, 5)):
        torch.testing.assert_close(calm, values)
