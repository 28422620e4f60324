from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.processing.post_processing import (
    NO_LABEL,
    label_map,
    post_process_masks,
    post_process_semantic_segmentation,
)


def logits(rows=4, height=7, width=9, seed=0):
    return torch.randn(rows, height, width, generator=torch.Generator().manual_seed(seed)) * 3


def resized(maps, size):
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def test_soft_masks():
    maps = logits()
    assert torch.allclose(post_process_masks(maps, (20, 31)), resized(maps, (20, 31)).sigmoid())
    assert torch.equal(post_process_masks(maps), maps.sigmoid())
    half = post_process_masks(maps.half(), (20, 31))
    assert (half.shape, half.dtype) == ((4, 20, 31), torch.float32)


def test_all_rows_are_of_one_picture_unless_said_otherwise():
    maps = logits(6)
    (labels,) = post_process_semantic_segmentation(SimpleNamespace(logits=maps))
    assert torch.equal(labels, maps.argmax(0))
    (large,) = post_process_semantic_segmentation({"logits": maps}, target_sizes=[(20, 31)])
    assert (large.shape, large.dtype) == ((20, 31), torch.int64)
    assert torch.equal(large, resized(maps, (20, 31)).argmax(0))


@pytest.mark.parametrize("sizes", [[(20, 31), (9, 5)], torch.tensor([[20, 31], [9, 5]])])
def test_pictures_after_each_other(sizes):
    maps = logits(6)
    first, second = post_process_semantic_segmentation(maps, sizes)
    assert torch.equal(first, resized(maps[:3], (20, 31)).argmax(0))
    assert torch.equal(second, resized(maps[3:], (9, 5)).argmax(0))
    pairs = post_process_semantic_segmentation(maps, prompts_per_image=2)
    assert [torch.equal(pair, maps[at : at + 2].argmax(0)) for pair, at in zip(pairs, (0, 2, 4), strict=True)] == [
        1
    ] * 3
    assert len(post_process_semantic_segmentation(maps, sizes, prompts_per_image=3)) == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10), st.floats(0, 1))
def test_below_the_threshold_there_is_nothing(prompts, seed, threshold):
    maps = logits(prompts, seed=seed)
    labels = label_map(maps, (12, 10), threshold)
    probabilities = resized(maps, (12, 10)).sigmoid()
    assert torch.equal(labels == NO_LABEL, ~(probabilities > threshold).any(0))  # strictly above
    inside = labels != NO_LABEL
    assert torch.equal(labels[inside], label_map(maps, (12, 10))[inside])


def test_equal_rows_go_to_the_first_and_one_row_to_itself():
    assert not label_map(torch.zeros(3, 2, 2)).any()
    assert not label_map(torch.zeros(1, 2, 2)).any()
    assert (label_map(torch.zeros(3, 2, 2), threshold=0.5) == NO_LABEL).all()


def test_nothing_of_the_graph_is_kept():
    maps = logits().requires_grad_()
    assert not post_process_masks(maps).requires_grad
    assert maps.is_leaf


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (torch.zeros(4, 5), {}, r"got \(4, 5\)"),
        (torch.zeros(0, 5, 5), {}, r"got \(0, 5, 5\)"),
        ({"loss": 1}, {}, "got NoneType"),
        (torch.zeros(4, 5, 5), {"target_sizes": [(5, 5)] * 3}, "4 rows of logits are not 3 pictures with equally many"),
        (torch.zeros(4, 5, 5), {"prompts_per_image": 3}, "are not 1 pictures with 3 prompts each"),
        (torch.zeros(4, 5, 5), {"prompts_per_image": 5}, "are not 0 pictures with 5 prompts"),
        (torch.zeros(4, 5, 5), {"prompts_per_image": -1}, "rows of logits"),
        (torch.zeros(4, 5, 5), {"target_sizes": [(5, 5)], "prompts_per_image": 2}, "are not 1 pictures with 2 prompts"),
        (torch.zeros(4, 5, 5), {"target_sizes": (5, 5)}, r"target_sizes is a list .*, got \(5, 5\)"),
        (torch.zeros(4, 5, 5), {"target_sizes": []}, "target_sizes is a list"),
        (torch.zeros(4, 5, 5), {"target_sizes": [(0, 5)]}, "target_sizes is a list"),
        (torch.zeros(4, 5, 5), {"threshold": 1.5}, "threshold is a probability"),
    ],
)
def test_misuse(given, options, words):
    with pytest.raises(UsageError, match=words):
        post_process_semantic_segmentation(given, **options)
