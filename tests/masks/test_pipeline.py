"""The options of masks, through `Masks`: what each does, in which order, and that doing nothing does nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from clipseg.errors import UsageError
from clipseg.masks import resample
from clipseg.masks.components import components
from clipseg.masks.masks import Masks
from clipseg.masks.morphology import grown, shrunk
from clipseg.masks.options import OPTIONS, MaskOptions
from clipseg.masks.smoothing import gaussian

ANSWERS = ("binary", "label_map", "boxes", "areas", "empty", "mean_inside", "matte")
SIZE = (40, 52)

CHANGES: list[dict[str, Any]] = [
    {"competition": "softmax"},
    {"competition": "argmax"},
    {"normalize": "minmax"},
    {"upsample": "nearest"},
    {"upsample": "bicubic"},
    {"refine": "guided"},
    {"smooth": 3},
    {"median": 5},
    {"threshold": 0.7},
    {"threshold": "otsu"},
    {"threshold": "area:10%"},
    {"threshold": "hysteresis:0.3,0.9"},
    {"threshold": (0.1, "otsu", 0.9)},
    {"grow": 2},
    {"shrink": "5%"},
    {"grow": 3, "shape": "square"},
    {"fill_holes": True},
    {"min_area": 40},
    {"keep": "largest"},
    {"keep": "left-to-right:2,-1"},
    {"invert": True},
]


def random_masks(seed: int = 0, **options: Any) -> Masks:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, 10, 13, generator=generator)
    picture = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    masks = Masks(logits, ("a", "b", "c"), SIZE, Image.fromarray(picture))
    return masks.with_options(**options)


def same(one: Masks, other: Masks) -> bool:
    return all(torch.equal(getattr(one, name)(), getattr(other, name)()) for name in ANSWERS) and torch.equal(
        one.soft(), other.soft()
    )


@pytest.mark.parametrize("options", CHANGES, ids=str)
def test_every_option_is_read_and_every_answer_agrees_with_the_masks(options: dict[str, Any]) -> None:
    masks = random_masks(**options)
    plain, binary = random_masks(), masks.binary()
    assert not torch.equal(binary, plain.binary())
    assert torch.equal(masks.areas(), binary.flatten(1).sum(1))
    assert torch.equal(masks.label_map() > 0, binary.any(0))
    assert torch.equal(masks.matte(), binary.float())
    assert torch.equal(torch.stack(list(masks.each_binary())), binary)
    for n, mask in enumerate(binary):
        assert masks.boxes()[n].tolist() == masks[n].box().tolist()
        assert torch.equal(masks[n].binary(), mask), "one of them is what it is among the others"
        assert sum(one.area for one in masks[n].instances()) == mask.sum()
    assert torch.equal(masks[["c", "a"]].binary(), binary[[2, 0]])
    assert masks.soft().isfinite().all()
    assert ((masks.soft() >= 0) & (masks.soft() <= 1)).all()
    assert torch.equal(masks[1:].soft(), masks.soft()[1:])
    assert torch.equal(masks.with_options(MaskOptions()).binary(), plain.binary())


def test_steps_come_in_the_documented_order() -> None:
    options = {
        "smooth": 2,
        "grow": 3,
        "shrink": 1,
        "fill_holes": True,
        "min_area": 30,
        "keep": "largest",
        "invert": True,
    }
    masks = random_masks(3, **options)
    for n, logits in enumerate(resample.resize(masks.logits, SIZE)):
        mask = (gaussian(logits.sigmoid(), 2) > 0.4).numpy()
        mask = ndimage.binary_fill_holes(shrunk(grown(mask, 3, "disk"), 1, "disk"))
        parts = components(mask)
        largest = parts.numbers == parts.areas.argmax() + 1
        expected = np.ones(SIZE, bool)
        expected[parts.window] = ~largest
        assert np.array_equal(masks[n].binary().numpy(), expected)


def test_percentages_are_of_the_size_of_the_result() -> None:
    assert same(random_masks(grow="30%"), random_masks(grow=12))
    assert same(random_masks(min_area="5%"), random_masks(min_area=104))


def test_a_threshold_in_the_call_comes_before_that_of_the_options() -> None:
    masks = random_masks(threshold="otsu", grow=1)
    assert torch.equal(masks.binary(0.6), masks.with_options(threshold=0.6).binary())
    assert torch.equal(masks[0].binary("area:.1"), masks.with_options(threshold="area:.1").binary()[0])


def test_a_soft_result_decides_nothing() -> None:
    options: dict[str, Any] = {"threshold": None, "grow": 5, "keep": "largest", "fill_holes": True}
    masks = random_masks(**options)
    assert torch.equal(masks.soft(), random_masks().soft())
    with pytest.raises(UsageError, match=r"soft\(\), or give a threshold"):
        masks.binary()
    assert masks.binary(0.4).any()
    assert masks.overlay().tobytes() == random_masks().overlay(soft=True).tobytes()
    assert masks.overlay(threshold=0.4).tobytes() != masks.overlay().tobytes()
    inverted = masks.with_options(invert=True)
    assert torch.allclose(inverted.soft(), 1 - masks.soft(), atol=1e-6)


def test_feathering_softens_the_finished_edge_and_no_answer_of_yes_or_no() -> None:
    masks, plain = random_masks(feather=2, grow=1), random_masks(grow=1)
    for matte, binary in zip(masks.each_matte(), plain.binary(), strict=True):
        assert np.allclose(matte.numpy(), ndimage.gaussian_filter(binary.float().numpy(), 2), atol=1e-6)
    assert torch.equal(masks.binary(), plain.binary())


def test_argmax_gives_every_pixel_to_one_at_most() -> None:
    masks = random_masks(competition="argmax")
    binary, plain = masks.binary(), random_masks()
    assert (binary.sum(0) <= 1).all()
    assert torch.equal(masks.label_map(), plain.label_map())
    assert (masks.binary(0.0).sum(0) == 1).all()
    assert torch.equal(masks.binary("area:1"), masks.binary(0.0)), "what is lost stays lost"
    assert ((masks.soft() > 0).sum(0) == 1).all()
    twins = Masks(torch.zeros(2, 3, 3), ("a", "a"), (6, 6), options=MaskOptions(competition="argmax"))
    assert not twins.binary().any(), "of two alike none is more probable"


def test_negatives_are_taken_out() -> None:
    negatives = 4 * torch.randn(2, 10, 13, generator=torch.Generator().manual_seed(9))
    plain = random_masks(upsample="nearest")
    masks = Masks(plain.logits, plain.labels, SIZE, plain.picture, plain.options, negatives)
    unwanted = resample.resize(negatives, SIZE, "nearest").sigmoid().amax(0) >= 0.6
    assert torch.equal(masks.binary(), plain.binary() & ~unwanted)
    assert torch.equal(masks["b"].binary(), masks.binary()[1])
    assert (masks.scores() <= plain.scores() + 1e-6).all()

    soft = masks.with_options(competition="softmax")
    shares = torch.cat((plain.logits, negatives)).softmax(0)
    torch.testing.assert_close(soft.soft(), resample.resize(shares[:3], SIZE, "nearest"), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(soft[["c"]].soft()[0], soft.soft()[2])
    exclusive = masks.with_options(competition="argmax")
    wanted, lost_to = (resample.resize(one, SIZE, "nearest").amax(0) for one in (plain.logits, negatives))
    assert torch.equal(exclusive.binary(0.0).any(0), wanted > lost_to)


def test_several_masks_become_one_before_they_are_upsampled() -> None:
    masks = random_masks(combine="mean")
    one = masks.combined("all of it")
    assert one.labels == ("all of it",)
    assert masks.combined().labels == ("a | b | c",)
    torch.testing.assert_close(one.logits.sigmoid(), masks.logits.sigmoid().mean(0, keepdim=True))
    assert torch.equal(random_masks().combined().logits, masks.logits.amax(0, keepdim=True))
    first_combined = resample.resize(masks.logits.amax(0, keepdim=True), SIZE).sigmoid() > 0.4
    assert torch.equal(random_masks().combined().binary(), first_combined)


def test_the_shares_of_a_softmax_are_summed() -> None:
    masks = random_masks(competition="softmax", upsample="nearest")
    pair = masks[["a", "b"]].combined()
    shares = masks.logits.softmax(0)[:2].sum(0)
    torch.testing.assert_close(pair.probabilities((10, 13))[0], shares, atol=1e-5, rtol=1e-3)
    with pytest.raises(UsageError, match="negative prompt"):
        masks.combined()
    with pytest.raises(UsageError, match="more prompts"):
        random_masks()[:1].with_options(competition="softmax").binary()


@pytest.mark.parametrize("how", OPTIONS["compose"].choices)
def test_masks_are_composed_with_what_was_there(how: str) -> None:
    masks = random_masks()
    existing = torch.zeros(SIZE, dtype=torch.bool)
    existing[10:30, 10:30] = True
    new = masks.binary()
    expected = {
        "replace": new,
        "fill": existing | new,
        "add": existing | new,
        "subtract": existing & ~new,
        "intersect": existing & new,
        "blend": new,  # of which there is more than a half
    }[how]
    made = masks.onto(existing, how, alpha=0.7)
    assert torch.equal(made.binary(), expected)
    assert torch.equal(made["c"].binary(), expected[2])
    each = masks.onto(existing.expand(3, *SIZE).float(), how, alpha=0.7)
    assert torch.equal(each["b"].binary(), expected[1])
    if how == "blend":
        torch.testing.assert_close(made.matte(), 0.7 * new.float() + 0.3 * existing.float())


def test_composing_needs_something_to_compose_with() -> None:
    with pytest.raises(UsageError, match=r"masks\.onto\(mask\)"):
        random_masks(compose="add").binary()
    with pytest.raises(UsageError, match="picture's size"):
        random_masks().onto(torch.zeros(3, 3))
    with pytest.raises(UsageError, match="known are replace"):
        random_masks().onto(torch.zeros(SIZE), "over")


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("options", [*CHANGES, {"feather": 5}, {"median": "80%"}, {"smooth": "200%"}], ids=str)
def test_thin_pictures_and_one_label(options: dict[str, Any], size: tuple[int, int]) -> None:
    logits = torch.tensor([-3.0, 0.5, 3.0]).expand(3, 2, 3)
    masks = Masks(logits, ("a", "b", "c"), size, Image.new("RGB", size[::-1]), MaskOptions(**options))
    for answer in (masks.binary(), masks.soft(), masks.matte()):
        assert answer.shape == (3, *size)
    if "threshold" not in options:
        assert masks[:1].binary().shape == (1, *size)
        assert masks[0].soft().shape == size


@pytest.mark.parametrize("options", CHANGES, ids=str)
def test_nothing_found_is_a_normal_result(options: dict[str, Any]) -> None:
    picture, nowhere = Image.new("RGB", (9, 9)), torch.full((3, 4, 4), torch.nan)
    masks = Masks(nowhere, ("a", "b", "c"), (9, 9), picture, MaskOptions(**options))
    assert masks.soft().isfinite().all()
    assert masks.binary().shape == (3, 9, 9)
    assert len(masks.boxes()) == 3
    if not options.get("invert") and options.get("threshold") != "area:10%":
        assert masks.with_options(threshold=0.4).empty().all()


def test_thresholds_for_each_label_are_picked_with_their_labels() -> None:
    masks = random_masks(threshold=(0.1, 0.9, "otsu"))
    assert masks[["c", "a"]].options.threshold == ("otsu", 0.1)
    with pytest.raises(UsageError, match="2 of them"):
        masks[:2].with_options(threshold=(0.1, 0.2, 0.3)).binary()


@pytest.mark.parametrize(
    "wrong", [torch.zeros(2, 3, 3), torch.zeros(0, 10, 13), torch.zeros(10, 13), torch.zeros(1, 10, 13).int()]
)
def test_negatives_fit_their_logits(wrong: torch.Tensor) -> None:
    plain = random_masks()
    with pytest.raises(UsageError, match=r"negatives must be .*got"):
        Masks(plain.logits, plain.labels, SIZE, negatives=wrong)


def test_options_travel_with_their_masks() -> None:
    masks = random_masks(smooth=1)
    with pytest.raises(UsageError, match="did you mean 'smooth'"):
        masks.with_options(smoth=2)
    assert masks[0].options == masks[:2].options == masks.options
    assert masks[0].with_options(smooth=0).options == MaskOptions()
    assert not torch.equal(masks.binary(), masks.with_options(smooth=0).binary())


def test_finishing_in_another_way_copies_no_logits() -> None:
    masks = random_masks()
    negatives = Masks(masks.logits, masks.labels, SIZE, negatives=masks.logits[:1])
    for one in (masks, negatives):
        assert one.with_options(smooth=3).onto(torch.zeros(SIZE), "add").logits is one.logits
    competing = negatives.with_options(competition="argmax")
    assert torch.equal(competing.binary()[0], torch.zeros(SIZE, dtype=torch.bool)), "its own negative is alike"
    assert torch.equal(competing.with_options(competition="none").binary(), negatives.binary())
