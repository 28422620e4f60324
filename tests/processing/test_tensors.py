import numpy as np
import pytest
import torch

from clipseg.errors import PictureError
from clipseg.processing import pixels, tensors
from clipseg.processing.tensors import blocks, by_shape, center_crop, padded, resize, scaled


def drawn(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("resample", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [{"height": 9, "width": 31}, {"shortest_edge": 30}])
def test_resizing_is_that_of_pil_to_one_level(resample, size):
    pictures = drawn(2, 3, 20, 40)
    found = resize(pictures, size, resample)
    exact = np.stack([pixels.resize(each.numpy(), size, resample) for each in pictures])
    assert found.dtype == torch.uint8
    assert np.abs(found.numpy().astype(int) - exact.astype(int)).max() <= 1


def test_nothing_is_resized_to_its_own_size():
    pictures = drawn(1, 3, 20, 40)
    assert resize(pictures, {"shortest_edge": 20}, 3) is pictures


def test_floats_keep_their_precision():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        found = resize(torch.rand(1, 3, 20, 40).to(dtype), {"height": 9, "width": 9}, 2)
        assert found.dtype == dtype
        assert 0 < found.min() < found.max() < 1


def test_the_odd_row_of_padding_is_below_and_right():
    found = center_crop(torch.ones(1, 1, 2, 2), 5, 4)
    assert found[0, 0].tolist() == [[0] * 4, [0, 1, 1, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]
    assert torch.equal(center_crop(torch.arange(5.0)[None, None, None], 1, 2)[0, 0, 0], torch.tensor([1.0, 2.0]))


def test_rescaling_and_normalising_as_one():
    pictures, mean, std = drawn(2, 3, 4, 5), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = (pictures / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.allclose(scaled(pictures, 1 / 255, mean, std), expected, atol=1e-6)
    assert torch.equal(scaled(pictures, 2.0, None, None), pictures * 2.0)
    assert scaled(pictures, None, None, None) is pictures
    floats = torch.rand(1, 3, 4, 4)
    before = floats.clone()
    scaled(floats, None, mean, std)
    assert torch.equal(floats, before)


def test_padding():
    found = padded([torch.ones(1, 2, 3), torch.ones(1, 4, 1)], None)
    assert [tuple(each.shape) for each in found] == [(1, 4, 3)] * 2
    assert [int(each.sum()) for each in found] == [6, 4]
    assert padded([torch.ones(1, 2, 3)], {"height": 5, "width": 6})[0].shape == (1, 5, 6)
    with pytest.raises(PictureError, match="2x3 is to be padded to 5x2"):
        padded([torch.ones(1, 2, 3)], {"height": 5, "width": 2})


def test_large_pictures_come_one_by_one(monkeypatch):
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 10)
    taken = []
    pictures = (taken.append(size) or torch.zeros(size, dtype=torch.uint8) for size in (4, 5, 12, 1, 9, 3))
    found = blocks(pictures)
    assert [len(each) for each in next(found)] == [4, 5, 12]
    assert taken == [4, 5, 12]
    assert [[len(each) for each in block] for block in found] == [[1, 9], [3]]


def test_those_of_one_shape_go_together():
    pictures = [torch.full((1, size, 2), float(index)) for index, size in enumerate((2, 3, 2, 2))]
    batches = []
    found = by_shape(pictures, lambda batch: batches.append(len(batch)) or batch + 1)
    assert batches == [3, 1]
    assert [float(each.mean()) for each in found] == [1, 2, 3, 4]
