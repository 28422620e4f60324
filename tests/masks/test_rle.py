import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clipseg.errors import DataError, UsageError
from clipseg.masks import rle
from made_masks import blobs, rectangle

# pycocotools 2.0.11 asks NumPy 2 for an array in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

any_mask = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@settings(max_examples=60, deadline=None)
@given(any_mask)
def test_both_forms_are_those_of_pycocotools_and_come_back(mask: NDArray[np.bool_]) -> None:
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours, plain = rle.compressed(mask), rle.plain(mask)
    assert ours == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    assert coco_mask.frPyObjects(dict(plain), *mask.shape) == theirs
    assert json.loads(json.dumps([ours, plain])) == [ours, plain]
    for form in (ours, plain, theirs):
        back = rle.decode(form)
        assert back.dtype == bool
        assert np.array_equal(back, mask)


@pytest.mark.parametrize("seed", range(3))
def test_long_runs_come_back(seed: int) -> None:
    """Runs of many letters, and differences of both signs, which small masks seldom have."""
    mask = blobs(seed, (700, 900), sigma=40)
    assert np.array_equal(rle.decode(rle.compressed(mask)), mask)
    assert np.array_equal(coco_mask.decode(rle.compressed(mask)), mask)


def test_the_documented_example() -> None:
    mask = rectangle((4, 9), (2, 1, 7, 4))
    assert rle.plain(mask)["counts"] == [9, 3, 1, 3, 1, 3, 1, 3, 1, 3, 8]
    assert rle.plain(~mask)["counts"][0] == 0
    assert rle.plain(np.zeros((2, 3), bool))["counts"] == [6]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12) | st.binary(max_size=12) | st.lists(st.integers(-3, 2**70), max_size=5))
def test_nonsense_is_a_data_error_and_never_more(counts: object) -> None:
    with contextlib.suppress(DataError):
        assert rle.decode({"size": [3, 4], "counts": counts}).shape == (3, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"size": [3, 4]},
        {"size": [3], "counts": [3]},
        {"size": [0, 4], "counts": [0]},
        {"size": [3.0, 4], "counts": [12]},
        {"size": [3, 4], "counts": [11]},
        {"size": [3, 4], "counts": [13, -1]},
        {"size": [3, 4], "counts": [[12]]},
        {"size": [3, 4], "counts": ["12"]},
        {"size": [3, 4], "counts": [11.5, 0.5]},
        {"size": [3, 4], "counts": None},
        {"size": [3, 4], "counts": "P" * 20 + "0"},
        {"size": [3, 4], "counts": "`"},
        {"size": [3, 4], "counts": "é"},
    ],
)
def test_malformed_run_lengths_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="run lengths"):
        rle.decode(wrong)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros((1, 2, 2), bool), np.zeros((0, 3), bool), [[True]]])
@pytest.mark.parametrize("form", [rle.compressed, rle.plain])
def test_only_masks_are_encoded(form: object, wrong: object) -> None:
    with pytest.raises(UsageError, match=r"\(H, W\) bool"):
        form(wrong)  # type: ignore[operator]
