import sys
from types import ModuleType

import numpy as np
import pytest

from clipseg.errors import MissingPackageError
from clipseg.masks.detections import to_supervision
from made_masks import masks_of, rectangle

SIZE = (30, 40)
CATS = rectangle(SIZE, (2, 1, 7, 4)) | rectangle(SIZE, (20, 10, 30, 20))
MASKS = masks_of(np.stack([np.zeros(SIZE, bool), CATS]), ("dog", "cat"))


def test_a_detection_for_each_mask_that_is_not_empty(supervision: ModuleType) -> None:
    found = to_supervision(MASKS)
    assert isinstance(found, supervision.Detections)
    assert found.xyxy.tolist() == [[2, 1, 30, 20]]
    assert (found.mask.dtype, found.mask.shape) == (np.bool_, (1, *SIZE))
    assert np.array_equal(found.mask[0], CATS)
    assert found.confidence.tolist() == [MASKS.scores()[1].item()]
    assert found.class_id.tolist() == [1]
    assert found.data["class_name"].tolist() == ["cat"]


def test_a_detection_for_each_part(supervision: ModuleType) -> None:
    found = to_supervision(MASKS, instances=True)
    assert found.xyxy.tolist() == [[2, 1, 7, 4], [20, 10, 30, 20]]
    assert supervision.mask_to_xyxy(found.mask)[0].tolist() == [2, 1, 6, 3]  # theirs end at the last pixel inside
    assert found.class_id.tolist() == [1, 1]
    assert np.array_equal(found.mask.any(0), CATS)


def test_nothing_found(supervision: ModuleType) -> None:
    found = to_supervision(masks_of(np.zeros((1, *SIZE), bool)))
    assert len(found) == 0
    assert found.mask.shape == (0, *SIZE)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'clipseg\[supervision\]'"):
        to_supervision(MASKS)
