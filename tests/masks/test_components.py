import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from clipseg.masks import components as module
from clipseg.masks.components import centroids, components, selected, sorted_parts, touching, window_of, without_holes
from clipseg.masks.rules import SORT_KEYS, Keep, parse_keep

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
ALL = Keep(None, None)

THREE = np.array(  # parts of 4, 1 and 3 pixels, in reading order
    [
        [0, 0, 0, 0, 0, 1, 1],
        [1, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
    ],
    bool,
)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_parts_are_numbered_as_scipy_numbers_them(mask: NDArray[np.bool_]) -> None:
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    parts = components(mask)
    found = np.zeros(mask.shape, np.int32)
    found[parts.window] = parts.numbers
    assert np.array_equal(found, expected)
    assert parts.areas.tolist() == [(expected == n + 1).sum() for n in range(count)]
    middles = ndimage.center_of_mass(mask, expected, range(1, count + 1))
    assert np.allclose(centroids(parts), np.array(middles).reshape(-1, 2)[:, ::-1] + 0.5)


def test_centroids_do_not_depend_on_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = components(np.random.default_rng(0).random((40, 30)) > 0.6)
    at_once = centroids(parts)
    monkeypatch.setattr(module, "_STRIP", 1)
    assert np.allclose(centroids(parts), at_once)


@pytest.mark.parametrize(
    ("order", "areas"),
    [
        ("left-to-right", [1, 3, 4]),
        ("right-to-left", [4, 3, 1]),
        ("top-to-bottom", [4, 1, 3]),
        ("bottom-to-top", [3, 1, 4]),
        ("big-to-small", [4, 3, 1]),
        ("small-to-big", [1, 3, 4]),
    ],
)
def test_every_sort_key(order: str, areas: list[int]) -> None:
    parts = components(THREE)
    assert parts.areas[sorted_parts(parts, order) - 1].tolist() == areas
    assert order in SORT_KEYS


@pytest.mark.parametrize(
    ("keep", "areas"),
    [
        ("all", {1, 3, 4}),
        ("largest", {4}),
        ("left-to-right", {1, 3, 4}),
        (1, {1}),
        (-1, {4}),
        ("1,-1", {1, 4}),
        ([2, 2], {3}),
        ("small-to-big:2", {3}),
        ("top-to-bottom:-1", {3}),
        (4, set()),
        (-4, set()),
        ([3, 9], {4}),
    ],
)
def test_what_is_kept(keep: object, areas: set[int]) -> None:
    kept = selected(THREE, 0, parse_keep(keep))
    assert set(components(kept).areas.tolist()) == areas
    assert not (kept & ~THREE).any()


def test_small_parts_go_before_the_others_are_counted() -> None:
    assert components(selected(THREE, 3, parse_keep(1))).areas.tolist() == [3]
    assert components(selected(THREE, 4, ALL)).areas.tolist() == [4]
    assert not selected(THREE, 5, parse_keep("largest")).any()


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(0, 20), st.sampled_from(["all", "largest", "1", "bottom-to-top:-1,2"]))
def test_selecting_only_takes_away_whole_parts(mask: NDArray[np.bool_], least: int, keep: str) -> None:
    kept = selected(mask, least, parse_keep(keep))
    assert np.array_equal(touching(mask, kept), kept)
    assert (components(kept).areas >= least).all()
    assert np.array_equal(selected(kept, least, ALL), kept)
    assert np.array_equal(selected(mask, 1, ALL), mask)
    if keep == "largest" and mask.any() and least <= 1:
        assert kept.sum() == components(mask).areas.max()


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_holes_are_filled_as_scipy_fills_them(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(without_holes(mask), ndimage.binary_fill_holes(mask))


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_a_window_is_the_smallest_around_a_mask(mask: NDArray[np.bool_]) -> None:
    rows, columns = window_of(mask)
    inside = mask[rows, columns]
    assert inside.sum() == mask.sum()
    if mask.any():
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()  # noqa: PT018
    else:
        assert inside.size == 0
