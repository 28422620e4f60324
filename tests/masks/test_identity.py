"""What must change nothing: an option's identity, the order of prompts, and how many masks are taken at once."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipseg.masks.masks import Masks
from clipseg.masks.options import OPTIONS
from clipseg.masks.resample import resize

SIZE = (24, 31)
LABELS = ("a", "b", "c")
PER_LABEL = ("binary", "soft", "matte", "boxes", "areas", "empty", "mean_inside")
SEEDS = st.integers(0, 99)


class Identity(NamedTuple):
    """Values of an option that change nothing, the default first, while the options in `off` are at their defaults."""

    values: tuple[Any, ...]
    off: tuple[str, ...] = ()


IDENTITIES = {
    "competition": Identity(("none",)),
    "combine": Identity(("max", "mean", "sum", "product")),  # each prompt keeps its own mask until it is asked for
    "normalize": Identity(("none",)),
    "upsample": Identity(("bilinear",)),
    "refine": Identity(("none",)),
    "smooth": Identity((0, "0%", 0.0, "0px")),
    "median": Identity((0, 1, 2, 2.9, "0%")),
    "threshold": Identity((0.4, "0.4", "40%", (0.4, 0.4, 0.4), [0.4] * 3)),
    "grow": Identity((0, 0.9, "1%")),
    "shrink": Identity((0, 0.9, "2.4%")),
    "shape": Identity(("disk", "square"), off=("grow", "shrink")),
    "fill_holes": Identity((False, "no", "false")),
    "min_area": Identity((0, 1, "0%", "0.01%")),
    "keep": Identity(("all", "left-to-right")),
    "invert": Identity((False, "no", "False")),
    "feather": Identity((0, 0.0, "0%")),
    "compose": Identity(("replace",)),
    "alpha": Identity((0.5, 0.0, 1, "0.25"), off=("compose",)),
}
BUSY: dict[str, Any] = {
    "competition": "softmax",
    "combine": "mean",
    "normalize": "minmax",
    "upsample": "bicubic",
    "refine": "guided",
    "smooth": 1.5,
    "median": 3,
    "threshold": 0.6,
    "grow": 2,
    "shrink": 1,
    "shape": "square",
    "fill_holes": True,
    "min_area": 5,
    "keep": "big-to-small:1,2",
    "invert": True,
    "feather": 2,
    "compose": "blend",
    "alpha": 0.7,
}
"""Every option doing something."""

SOME: list[dict[str, Any]] = [{}, *({name: value} for name, value in BUSY.items()), {"competition": "argmax"}, BUSY]


def random_masks(seed: int, **options: Any) -> Masks:
    """-> three masks of a picture that has edges, on one that was there before."""
    numbers = torch.Generator().manual_seed(seed)
    logits, existing = 4 * torch.randn(3, 10, 13, generator=numbers), torch.rand(3, *SIZE, generator=numbers)
    picture = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    return Masks(logits, LABELS, SIZE, Image.fromarray(picture), existing=existing).with_options(**options)


def assert_same(one: Masks, other: Masks) -> None:
    for name in (*PER_LABEL, "label_map", "scores"):
        assert torch.equal(getattr(one, name)(), getattr(other, name)()), name
    assert list(map(told, one.instances())) == list(map(told, other.instances()))


def told(instance: Any) -> tuple[Any, ...]:
    return (
        instance.label, instance.number, instance.box_xyxy, instance.area, instance.score, instance.centroid_xy,
        instance.crop.tolist(),
    )  # fmt: skip


def test_every_option_has_an_identity_and_something_it_does() -> None:
    assert list(IDENTITIES) == list(OPTIONS), "a new option needs a row here: which values of it change nothing?"
    assert list(BUSY) == list(OPTIONS)
    for name, identity in IDENTITIES.items():
        assert identity.values[0] == OPTIONS[name].default
        assert BUSY[name] not in identity.values or name in ("combine", "shape")


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("others", ["at their defaults", "all doing something"])
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS)
def test_an_identity_changes_nothing_whatever_the_other_options_do(name: str, others: str, seed: int) -> None:
    identity = IDENTITIES[name]
    left_out = (name, *identity.off)
    context = {} if others == "at their defaults" else {key: BUSY[key] for key in OPTIONS if key not in left_out}
    without = random_masks(seed, **context)
    for value in identity.values:
        assert_same(random_masks(seed, **context, **{name: value}), without)


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_all_identities_at_once_leave_the_plain_way(seed: int) -> None:
    masks = random_masks(seed, **{name: identity.values[-1] for name, identity in IDENTITIES.items()})
    plain = resize(masks.logits, SIZE)
    assert torch.equal(masks.upsampled(), plain)
    assert torch.equal(masks.soft(), torch.stack([one.sigmoid() for one in plain]))
    assert torch.equal(masks.binary(), plain > torch.logit(torch.tensor(0.4, dtype=torch.float64)).float())
    assert torch.equal(masks.matte(), masks.binary().float())


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_without_enlarging_all_ways_of_it_are_one(seed: int) -> None:
    masks = random_masks(seed)
    small = Masks(masks.logits, LABELS, (10, 13))
    assert_same(small.with_options(upsample="nearest"), small)
    assert torch.allclose(small.with_options(upsample="bicubic").soft(), small.soft(), atol=1e-6)


@pytest.mark.parametrize("how", OPTIONS["combine"].choices)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_one_mask_combined_with_no_other_stays_what_it_is(how: str, seed: int) -> None:
    one = random_masks(seed)[:1]
    assert torch.allclose(one.with_options(combine=how).combined().soft(), one.soft(), atol=0)


@pytest.mark.parametrize("options", SOME, ids=str)
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS, order=st.permutations(range(3)))
def test_prompts_in_another_order_give_the_same_masks_in_that_order(
    options: dict[str, Any], seed: int, order: list[int]
) -> None:
    masks = random_masks(seed, **options)
    assert masks.existing is not None
    shuffled = Masks(
        masks.logits[order],
        tuple(LABELS[n] for n in order),
        SIZE,
        masks.picture,
        masks.options,
        None,
        masks.existing[order],
    )
    if masks.options.competition == "softmax":  # a sum in another order is rounded otherwise
        assert torch.allclose(shuffled.soft(), masks.soft()[order], atol=1e-3)
        return
    for name in (*PER_LABEL, "scores"):
        assert torch.equal(getattr(shuffled, name)(), getattr(masks, name)()[order]), name
    numbers = torch.tensor([0, *(order.index(n) + 1 for n in range(3))])
    highest = masks.soft().topk(2, dim=0).values
    decided = (
        highest[0] > highest[1]
    )  # where two are equally sure, as a filter that ends at 1 makes them, the first has it
    assert torch.equal(numbers[masks.label_map()][decided].int(), shuffled.label_map()[decided])


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, order=st.permutations(range(3)), how=st.sampled_from(OPTIONS["combine"].choices))
def test_one_mask_of_all_prompts_is_the_same_in_any_order(seed: int, order: list[int], how: str) -> None:
    masks = random_masks(seed, combine=how)
    shuffled = masks[order]
    one, other = (Masks(each.logits, each.labels, SIZE, options=each.options) for each in (masks, shuffled))
    assert torch.allclose(one.combined().soft(), other.combined().soft(), atol=1e-5)


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, competition=st.sampled_from(OPTIONS["competition"].choices))
def test_negatives_in_another_order_are_the_same_negatives(seed: int, competition: str) -> None:
    masks = random_masks(seed, competition=competition)
    negatives = 3 * torch.randn(3, 10, 13, generator=torch.Generator().manual_seed(seed + 100))
    one, other = (Masks(masks.logits, LABELS, SIZE, None, masks.options, negatives[n]) for n in ([0, 1, 2], [2, 0, 1]))
    assert torch.allclose(one.soft(), other.soft(), atol=1e-6)


@pytest.mark.parametrize("options", SOME, ids=str)
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS, bounds=st.tuples(st.integers(0, 2), st.integers(1, 3)).filter(lambda pair: pair[0] < pair[1]))
def test_streams_slices_and_single_masks_are_parts_of_the_whole(
    options: dict[str, Any], seed: int, bounds: tuple[int, int]
) -> None:
    masks = random_masks(seed, **options)
    part = slice(*bounds)
    whole = {name: getattr(masks, name)() for name in PER_LABEL}
    for name in ("binary", "soft", "matte"):
        assert torch.equal(torch.stack(list(getattr(masks, f"each_{name}")())), whole[name]), name
    for name, answer in whole.items():
        assert torch.equal(getattr(masks[part], name)(), answer[part]), name
        assert torch.equal(getattr(masks[["c", "a"]], name)(), answer[[2, 0]]), name
        for n, label in enumerate(LABELS):
            assert torch.equal(getattr(masks[[label]], name)()[0], answer[n]), name
    assert [told(one) for one in masks[part].instances()] == [
        told(one) for one in masks.instances() if one.label in LABELS[part]
    ]
