import math

import numpy as np
import pytest
import torch
from PIL import Image

from clipseg.errors import UsageError
from clipseg.masks.draw import PALETTE
from clipseg.masks.instances import numbered
from clipseg.masks.masks import Masks


def two_labels() -> Masks:
    logits = torch.full((2, 30, 40), -6.0)
    logits[0, 20:28, 2:10] = 1.0  # 64 pixels, left and low
    logits[0, 2:6, 30:36] = 3.0  # 24 pixels, right and high
    logits[1, 10:12, 10:12] = 2.0
    return Masks(logits, ("cup", "spoon"), (30, 40), Image.new("RGB", (40, 30), (90, 90, 90)))


def test_parts_are_measured_and_numbered() -> None:
    left, right, spoon = two_labels().instances()
    assert [(one.label, one.number) for one in (left, right, spoon)] == [("cup", 1), ("cup", 2), ("spoon", 1)]
    assert (left.box_xyxy, left.area, left.centroid_xy) == ((2, 20, 10, 28), 64, (6.0, 24.0))
    assert (right.box_xyxy, right.area, right.centroid_xy) == ((30, 2, 36, 6), 24, (33.0, 4.0))
    assert right.score == pytest.approx(1 / (1 + math.exp(-3)))
    assert right.crop.shape == (4, 6)
    assert torch.equal(left.mask() | right.mask(), two_labels()["cup"].binary())
    assert repr(right) == "Instance('cup', 2, box_xyxy=(30, 2, 36, 6), area=24)"


def test_order_is_asked_for_or_that_of_what_is_kept() -> None:
    cup = two_labels()["cup"]
    assert [one.area for one in cup.instances(order="top-to-bottom")] == [24, 64]
    assert [one.area for one in cup.with_options(keep="small-to-big").instances()] == [24, 64]
    assert [one.area for one in cup.with_options(keep="largest").instances()] == [64]
    with pytest.raises(UsageError, match="known are left-to-right"):
        cup.instances(order="near-to-far")


@pytest.mark.parametrize("number", [1, 2, -1])
def test_keeping_a_number_keeps_the_instance_of_that_number(number: int) -> None:
    cup = two_labels()["cup"]
    wanted = cup.instances()[number if number < 0 else number - 1]
    assert torch.equal(cup.with_options(keep=number).binary(), wanted.mask())


def test_nothing_found_is_no_instance() -> None:
    assert two_labels().instances(1.0) == []
    assert len(two_labels().instances(0.0)) == 2


def test_a_preview_shows_every_part_and_its_number() -> None:
    masks = two_labels()
    large = Masks(masks.logits, masks.labels, (300, 400), Image.new("RGB", (400, 300), (90, 90, 90)))
    instances = large.instances()
    pixels = np.array(large.preview())
    assert pixels.shape == (300, 400, 3)
    for n, one in enumerate(instances):
        inside = pixels[one.mask().numpy()]
        assert (inside != 90).any(1).all()
        assert (inside == PALETTE[n]).all(1).any(), "outlined in its own colour"
        left, top, right, bottom = one.box_xyxy
        assert (pixels[top:bottom, left:right] > 200).all(2).any(), "with a number on it"
    other = numbered(large.picture, instances[::-1])  # type: ignore[arg-type]
    assert not np.array_equal(np.array(other), pixels)


def test_a_preview_of_nothing_is_the_picture() -> None:
    masks = two_labels()
    assert (np.array(masks.preview(threshold=1.0)) == 90).all()
    with pytest.raises(UsageError, match="alpha"):
        masks.preview(alpha=2)
