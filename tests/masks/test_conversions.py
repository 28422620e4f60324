"""What other tools take: run lengths, polygons and detections, of all masks and of one."""

import numpy as np
import pytest
import torch

from clipseg.masks.masks import Masks
from clipseg.masks.polygons import one_ring, rasterise
from clipseg.masks.rle import decode


def masks_of_two_parts() -> Masks:
    logits = torch.full((2, 24, 32), -9.0)
    logits[0, 3:9, 4:12] = logits[0, 12:20, 20:30] = 9
    return Masks(logits, ("a", "nothing"), (48, 64))


@pytest.mark.usefixtures("supervision")
def test_each_is_the_binary_mask() -> None:
    masks = masks_of_two_parts()
    for threshold in (None, 0.1):
        inside = masks.binary(threshold).numpy()
        assert np.array_equal(np.stack([decode(rle) for rle in masks.rle(threshold)]), inside)
        exact = masks.polygons(threshold, tolerance=0)
        rings = [[one_ring(polygon) for polygon in found] for found in exact]
        assert np.array_equal(np.stack([rasterise(found, masks.size_hw) for found in rings]), inside)
        assert [len(found) for found in exact] == [2, 0]
        found = masks.to_supervision(threshold)
        assert np.array_equal(found.mask, inside[:1])
        assert len(masks.to_supervision(threshold, instances=True)) == 2


@pytest.mark.usefixtures("supervision")
def test_one_is_as_among_all() -> None:
    masks = masks_of_two_parts().with_options(grow=1)
    one = masks["a"]
    assert one.rle() == masks.rle()[0]
    assert all(
        np.array_equal(mine.outer, among.outer) for mine, among in zip(one.polygons(), masks.polygons()[0], strict=True)
    )
    assert np.array_equal(one.to_supervision().xyxy, masks.to_supervision().xyxy)
    assert len(masks["nothing"].to_supervision()) == 0
