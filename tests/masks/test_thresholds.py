import math

import numpy as np
import pytest
import torch

from clipseg.errors import UsageError
from clipseg.masks.thresholds import cutoffs


def test_one_threshold_serves_every_label() -> None:
    assert cutoffs(0.5, 3).tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(cutoffs(0.4, 1), torch.tensor([math.log(0.4 / 0.6)]))


@pytest.mark.parametrize(
    "many", [[0.0, 0.5, 1.0], (0.0, 0.5, 1.0), np.array([0.0, 0.5, 1.0]), torch.tensor([0, 0.5, 1])]
)
def test_or_each_label_has_its_own(many: object) -> None:
    assert cutoffs(many, 3).tolist() == [-math.inf, 0.0, math.inf]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [-0.1, 1.0001, math.nan, math.inf, True, None, "otsu", [], [0.5], [0.5] * 4, [[0.5] * 3], [0.5, math.nan, 0.5], 1j],
)
def test_anything_else_says_what_was_expected(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"from 0 to 1, or 3 of them.*got"):
        cutoffs(wrong, 3)  # type: ignore[arg-type]
