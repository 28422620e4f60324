import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from clipseg.errors import DataError, UsageError
from clipseg.masks.polygons import Polygon, Ring, one_ring, polygons, rasterise, rings
from made_masks import blobs, iou, rectangle

SIZE = (60, 80)


def by_pillow(found: list[Ring], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    picture = Image.new("1", size_hw[::-1])
    for ring in found:
        ImageDraw.Draw(picture).polygon([tuple(point) for point in ring.tolist()], fill=1)
    return np.array(picture)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=25)))
def test_noise_comes_back_exactly_at_no_tolerance_and_nearly_by_itself(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(rasterise(rings(mask, 0), mask.shape), mask)
    back = rasterise(rings(mask), mask.shape)
    assert not mask.any() or iou(back, mask) >= 0.98


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 120), st.floats(0.5, 12), st.floats(-2, 2))
def test_blobs_come_back(seed: int, height: int, width: int, sigma: float, cut: float) -> None:
    mask = blobs(seed, (height, width), sigma, cut)
    back = rasterise(rings(mask), mask.shape)
    assert not mask.any() or iou(back, mask) >= 0.98
    assert np.array_equal(rasterise(rings(mask, 0), mask.shape), mask)


@pytest.mark.parametrize("seed", range(20))
def test_pillow_finds_the_same_pixels_in_the_very_numbers(seed: int) -> None:
    mask = blobs(seed, SIZE, sigma=1 + seed % 4)
    assert iou(by_pillow(rings(mask, 0), SIZE), mask) > 0.995
    assert iou(by_pillow([np.trunc(ring) for ring in rings(mask, 0)], SIZE), mask) > 0.995


@pytest.mark.parametrize("box", [(2, 1, 7, 4), (0, 0, 80, 60), (5, 5, 7, 7), (10, 0, 80, 3)])
def test_a_rectangle_has_four_vertices_a_hundredth_inside_its_edges(box: tuple[int, int, int, int]) -> None:
    mask = rectangle(SIZE, box)
    (polygon,) = polygons(mask)
    x0, y0, x1, y1 = box
    corners = {(x, y) for x in (x0 + 0.01, x1 - 0.01) for y in (y0 + 0.01, y1 - 0.01)}
    assert {tuple(point) for point in polygon.outer.tolist()} == corners
    assert len(polygon.outer) == 4
    assert polygon.holes == ()
    assert np.array_equal(rasterise([polygon.outer], SIZE), mask)
    assert np.array_equal(by_pillow([polygon.outer], SIZE), mask)


@pytest.mark.parametrize("box", [(4, 3, 5, 4), (4, 3, 20, 4), (4, 3, 5, 30), (0, 0, 1, 1), (79, 59, 80, 60)])
def test_a_pixel_and_lines_one_pixel_wide_stay(box: tuple[int, int, int, int]) -> None:
    mask = rectangle(SIZE, box)
    (polygon,) = polygons(mask)
    assert len(polygon.outer) >= 3
    assert np.array_equal(rasterise([polygon.outer], SIZE), mask)
    assert np.array_equal(by_pillow([polygon.outer], SIZE), mask)


def test_holes_are_rings_of_their_own_and_survive_in_one_ring() -> None:
    mask = rectangle(SIZE, (10, 10, 60, 50))
    for x in (15, 30, 45):
        for y in (15, 30):
            mask[y : y + 5, x : x + 7] = False
    mask[17, 18] = True  # an island in a hole
    found = polygons(mask)
    assert sorted(len(polygon.holes) for polygon in found) == [0, 6]
    assert {len(hole) for polygon in found for hole in polygon.holes} == {4}
    assert np.array_equal(rasterise(rings(mask), SIZE), mask)
    assert len(rings(mask)) == 2
    filled = rasterise([polygon.outer for polygon in found], SIZE)
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))


def test_several_holes_may_hang_on_one_vertex() -> None:
    outer = np.array([[0, 0], [40, 0], [40, 40.0]])
    squares = [np.array([[x, y], [x + 2, y], [x + 2, y + 2], [x, y + 2.0]]) for x, y in ((30, 5), (33, 5), (36, 10))]
    ring = one_ring(Polygon(outer, tuple(squares)))
    expected = rasterise([outer], (40, 40)) & ~rasterise(squares, (40, 40))
    assert np.array_equal(rasterise([ring], (40, 40)), expected)
    assert expected.sum() == rasterise([outer], (40, 40)).sum() - 12


def test_tolerance_saves_vertices_and_no_more_than_it_says() -> None:
    ys, xs = np.mgrid[:200, :200]
    disk = np.hypot(xs - 100, ys - 100) < 80
    exact, usual, coarse = (polygons(disk, tolerance)[0].outer for tolerance in (0, None, 3))
    assert len(exact) > 2 * len(usual) > 4 * len(coarse) > 12
    assert iou(rasterise([coarse], (200, 200)), disk) > 0.93
    assert {tuple(point) for point in usual.tolist()} <= {tuple(point) for point in exact.tolist()}
    for x, y in coarse.tolist():
        assert abs(np.hypot(x - 100.5, y - 100.5) - 80) < 1


@pytest.mark.parametrize("seed", range(4))
def test_every_tolerance_leaves_triangles_at_least(seed: int) -> None:
    mask = blobs(seed, SIZE, sigma=0.8)
    found = polygons(mask, 1000)
    assert len(found) == len(polygons(mask, 0))
    assert min(len(ring) for polygon in found for ring in (polygon.outer, *polygon.holes)) >= 3


def test_vertices_have_two_decimals_and_lie_in_the_picture() -> None:
    mask = blobs(1, SIZE)
    for ring in rings(mask):
        assert np.array_equal(ring, ring.round(2))
        assert (ring >= 0).all()
        assert (ring <= (80, 60)).all()


def test_nothing_and_everything() -> None:
    assert polygons(np.zeros(SIZE, bool)) == []
    assert not rasterise([], SIZE).any()
    assert rasterise(rings(np.ones(SIZE, bool)), SIZE).all()
    assert rasterise(rings(np.ones((1, 1), bool)), (1, 1)).all()


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
def test_a_tolerance_is_a_length(tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance"):
        polygons(np.ones(SIZE, bool), tolerance)


@pytest.mark.parametrize(
    "ring", [np.zeros((2, 2)), np.zeros(6), np.zeros((4, 3)), np.full((3, 2), np.nan), np.full((3, 2), 1e9)]
)
def test_rings_that_are_none_are_refused(ring: Ring) -> None:
    with pytest.raises(DataError, match="polygon"):
        rasterise([ring], SIZE)
