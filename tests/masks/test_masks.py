import copy
import math
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipseg.errors import PictureError, PromptError, UsageError
from clipseg.masks.draw import PALETTE
from clipseg.masks.masks import LOGIT_LIMIT, LabelError, Mask, Masks

THRESHOLDS = st.floats(0, 1) | st.sampled_from([0.0, 0.4, 0.5, 1.0])


def random_masks(count: int = 3, low: tuple[int, int] = (8, 11), size: tuple[int, int] = (21, 34)) -> Masks:
    logits = 4 * torch.randn(count, *low, generator=torch.Generator().manual_seed(count))
    return Masks(logits, tuple(f"label {n}" for n in range(count)), size)


@st.composite
def any_masks(draw: st.DrawFn) -> Masks:
    """Masks of any small shape, their logits any floats at all, the ones that are no numbers included."""
    count, h, w = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    number = st.floats(-8, 8, width=32) | st.floats(width=32)
    values = draw(st.lists(number, min_size=count * h * w, max_size=count * h * w))
    size = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    return Masks(torch.tensor(values).reshape(count, h, w), tuple(f"label {n}" for n in range(count)), size)


@settings(max_examples=60, deadline=None)
@given(any_masks(), THRESHOLDS)
def test_every_answer_has_its_shape_dtype_and_range(masks: Masks, threshold: float) -> None:
    count, (height, width) = len(masks), masks.size_hw
    expected = [
        (masks.upsampled(), (count, height, width), torch.float32),
        (masks.probabilities(), (count, height, width), torch.float32),
        (masks.probabilities((3, 40)), (count, 3, 40), torch.float32),
        (masks.binary(threshold), (count, height, width), torch.bool),
        (masks.label_map(threshold), (height, width), torch.int32),
        (masks.boxes(threshold), (count, 4), torch.int64),
        (masks.areas(threshold), (count,), torch.int64),
        (masks.empty(threshold), (count,), torch.bool),
        (masks.mean_inside(threshold), (count,), torch.float32),
        (masks.scores(), (count,), torch.float32),
    ]
    for answer, shape, dtype in expected:
        assert (tuple(answer.shape), answer.dtype, answer.device.type) == (shape, dtype, "cpu")
        assert answer.isfinite().all()
    for fraction in (masks.probabilities(), masks.mean_inside(threshold), masks.scores()):
        assert ((fraction >= 0) & (fraction <= 1)).all()


@settings(max_examples=60, deadline=None)
@given(any_masks(), THRESHOLDS)
def test_binary_says_what_the_probabilities_say(masks: Masks, threshold: float) -> None:
    probabilities, binary = masks.probabilities().double(), masks.binary(threshold)
    assert binary[probabilities > threshold + 1e-6].all()
    assert not binary[probabilities < threshold - 1e-6].any()


@settings(max_examples=40, deadline=None)
@given(any_masks(), THRESHOLDS, THRESHOLDS)
def test_a_higher_threshold_never_lets_more_through(masks: Masks, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert not (masks.binary(high) & ~masks.binary(low)).any()
    assert (masks.areas(high) <= masks.areas(low)).all()


@settings(max_examples=60, deadline=None)
@given(any_masks(), st.data())
def test_maps_boxes_and_areas_agree_with_the_binary_masks(masks: Masks, data: st.DataObject) -> None:
    threshold = data.draw(st.lists(THRESHOLDS, min_size=len(masks), max_size=len(masks)))
    binary = masks.binary(threshold)
    assert torch.equal(masks.areas(threshold), binary.flatten(1).sum(1))
    assert torch.equal(masks.empty(threshold), ~binary.flatten(1).any(1))

    for mask, box in zip(binary.numpy(), masks.boxes(threshold).tolist(), strict=True):
        ys, xs = np.nonzero(mask)
        assert box == ([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0, 0, 0, 0])

    passing = masks.upsampled().where(binary, torch.tensor(-math.inf))
    best = torch.from_numpy(passing.numpy().argmax(0)) + 1  # numpy promises the first of two alike
    assert torch.equal(masks.label_map(threshold).long(), best * binary.any(0))

    probabilities = masks.probabilities()
    for n, mean in enumerate(masks.mean_inside(threshold).tolist()):
        inside = probabilities[n][binary[n]]
        assert mean == pytest.approx(float(inside.mean()) if len(inside) else 0.0, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(any_masks(), THRESHOLDS, st.randoms())
def test_the_order_of_labels_changes_nothing_but_the_order(masks: Masks, threshold: float, random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(masks)))
    random.shuffle(order)
    shuffled = masks[order]
    assert shuffled.labels == tuple(masks.labels[n] for n in order)
    for name in ("binary", "areas", "boxes", "empty", "mean_inside"):
        assert torch.equal(getattr(shuffled, name)(threshold), getattr(masks, name)(threshold)[order]), name
    assert torch.equal(shuffled.scores(), masks.scores()[order])
    assert torch.equal(shuffled.label_map(threshold) > 0, masks.label_map(threshold) > 0)


def test_a_block_known_by_hand() -> None:
    logits = torch.full((1, 6, 10), -5.0)
    logits[0, 1:4, 2:7] = 3.0
    masks = Masks(logits, ("block",), (6, 10))
    assert masks.boxes().tolist() == [[2, 1, 7, 4]]
    assert masks.areas().tolist() == [15]
    assert masks.mean_inside().item() == pytest.approx(1 / (1 + math.exp(-3)))
    assert masks.label_map().sum() == 15


def test_logits_are_resized_and_not_probabilities() -> None:
    masks = Masks(torch.tensor([[[-9.0, 3.0]]]), ("edge",), (1, 4))
    expected = torch.tensor([-9.0, -6.0, 0.0, 3.0]).sigmoid()
    torch.testing.assert_close(masks.probabilities()[0, 0], expected)


def test_at_0_everything_passes_and_at_1_nothing() -> None:
    masks = Masks(torch.tensor([[[-1e30, -90.0, 0.0, 90.0, 1e30]]]), ("any",), (3, 5))
    assert masks.binary(0).all()
    assert (masks.probabilities() > 0).all()
    assert not masks.binary(1).any()
    assert masks.label_map(1).sum() == 0


def test_each_label_may_have_its_own_threshold() -> None:
    masks = Masks(torch.zeros(2, 4, 4), ("a", "b"), (4, 4))
    assert masks.areas([0.6, 0.3]).tolist() == [0, 16]
    assert (masks.label_map(torch.tensor([0.6, 0.3])) == 2).all()
    assert (masks.label_map([0.3, 0.3]) == 1).all()
    with pytest.raises(UsageError, match="2 of them"):
        masks.binary([0.5])


def test_what_is_no_number_becomes_one() -> None:
    masks = Masks(torch.tensor([[[math.nan, math.inf, -math.inf, 0.25]]], dtype=torch.float16), ("odd",), (1, 4))
    assert masks.logits.tolist() == [[[-LOGIT_LIMIT, LOGIT_LIMIT, -LOGIT_LIMIT, 0.25]]]
    assert masks.logits.dtype == torch.float32


def test_logits_are_copied_unless_they_are_owned() -> None:
    logits, negatives = (torch.tensor([[[math.nan, number, 0.25]]]) for number in (math.inf, -math.inf))
    for owned in (False, True):
        masks = Masks(logits, ("odd",), (1, 3), negatives=negatives, owned=owned)
        assert masks.logits.tolist() == [[[-LOGIT_LIMIT, LOGIT_LIMIT, 0.25]]]
        assert masks.negatives is not None
        assert masks.negatives.tolist() == [[[-LOGIT_LIMIT, -LOGIT_LIMIT, 0.25]]]
        assert (masks.logits.data_ptr() == logits.data_ptr()) == owned
        assert (masks.negatives.data_ptr() == negatives.data_ptr()) == owned
        assert logits.isfinite().all() == owned


def test_scores_average_the_brightest_hundredth() -> None:
    logits = torch.full((2, 20, 20), -20.0)
    logits[0, 3, 3:5] = 20.0  # two of the four brightest
    logits[1, 7, 2:9] = 0.0
    assert Masks(logits, ("a", "b"), (5, 5)).scores().tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    assert Masks(torch.zeros(1, 1, 1), ("dot",), (9, 9)).scores().tolist() == [0.5]


def test_the_score_does_not_know_the_original_size() -> None:
    masks = random_masks()
    larger = Masks(masks.logits, masks.labels, (200, 300))
    assert torch.equal(masks.scores(), larger.scores())


def test_masks_keep_their_own_copy_out_of_any_graph() -> None:
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    masks = Masks(logits, ("a",), (4, 4))
    with torch.no_grad():
        logits.fill_(9.0)
    masks.probabilities().fill_(1.0)
    masks.upsampled((2, 2)).fill_(1.0)
    assert masks.logits.tolist() == [[[0.0, 0.0], [0.0, 0.0]]]
    assert not masks.probabilities().requires_grad
    with pytest.raises(AttributeError):
        masks.size_hw = (1, 1)  # type: ignore[misc]


def test_logits_of_inference_mode_are_welcome() -> None:
    with torch.inference_mode():
        logits = torch.randn(2, 3, 3)
    masks = Masks(logits, ["a", "b"], (5, 5))  # type: ignore[arg-type]
    assert masks.labels == ("a", "b")
    assert masks.probabilities().is_inference() is False


def test_many_labels_are_never_all_at_full_size() -> None:
    masks = random_masks(300, (4, 4), (600, 500))
    peaks = []
    for answer in (masks.areas, masks.boxes, masks.label_map, masks.mean_inside):
        tracemalloc.start()
        answer(0.4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 20 * 600 * 500, "all of them would be 300 or 1200 bytes a pixel"


@pytest.mark.parametrize(
    ("logits", "labels", "size", "error"),
    [
        (torch.zeros(2, 3), ("a", "b"), (4, 4), UsageError),
        (torch.zeros(1, 0, 3), ("a",), (4, 4), UsageError),
        (torch.zeros(1, 3, 3, dtype=torch.long), ("a",), (4, 4), UsageError),
        (np.zeros((1, 3, 3)), ("a",), (4, 4), UsageError),
        (torch.zeros(2, 3, 3), ("a",), (4, 4), PromptError),
        (torch.zeros(0, 3, 3), (), (4, 4), PromptError),
        (torch.zeros(3, 3, 3), "abc", (4, 4), PromptError),
        (torch.zeros(1, 3, 3), (1,), (4, 4), PromptError),
        (torch.zeros(1, 3, 3), ("a",), (0, 4), UsageError),
        (torch.zeros(1, 3, 3), ("a",), (4.5, 4), UsageError),
        (torch.zeros(1, 3, 3), ("a",), (4, 4, 3), UsageError),
        (torch.zeros(1, 3, 3), ("a",), 4, UsageError),
        (torch.zeros(1, 3, 3), ("a",), (math.nan, 4), UsageError),
    ],
)
def test_what_does_not_fit_is_refused(logits: object, labels: object, size: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="got"):
        Masks(logits, labels, size)  # type: ignore[arg-type]


def test_one_mask_answers_without_the_axis_of_labels() -> None:
    masks = random_masks()
    mask = masks["label 1"]
    assert isinstance(mask, Mask)
    assert (mask.label, mask.size_hw, mask.picture) == ("label 1", (21, 34), None)
    assert torch.equal(mask.logits, masks.logits[1])
    assert torch.equal(mask.upsampled(), masks.upsampled()[1])
    assert torch.equal(mask.probabilities((5, 6)), masks.probabilities((5, 6))[1])
    assert torch.equal(mask.binary(0.3), masks.binary(0.3)[1])
    assert torch.equal(mask.box(0.3), masks.boxes(0.3)[1])
    assert mask.area(0.3) == masks.areas(0.3)[1]
    assert mask.empty(1.0) is True
    assert mask.mean_inside(0.3) == masks.mean_inside(0.3)[1]
    assert mask.score() == masks.scores()[1]


def test_masks_are_taken_by_label_position_slice_and_list() -> None:
    masks = random_masks(4)
    assert masks[-1].label == masks[3].label == "label 3"
    assert [mask.label for mask in masks] == list(masks.labels)
    assert len(masks) == 4
    assert masks[1:3].labels == ("label 1", "label 2")
    assert masks[:1].binary().shape == (1, 21, 34)
    assert masks["label 2", 0].labels == ("label 2", "label 0")
    assert torch.equal(masks[["label 2", "label 0"]].logits, masks.logits[[2, 0]])
    assert "label 2" in masks
    assert "wood" not in masks


@pytest.mark.parametrize("key", ["wood", 4, -5, ["label 0", "wood"]])
def test_what_is_not_there_is_a_lookup_error_with_a_plain_message(key: str) -> None:
    masks = random_masks(4)
    with pytest.raises(LabelError, match=r"^there is no mask") as caught:
        masks[key]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, IndexError)
    assert isinstance(caught.value, PromptError)
    if "wood" in str(key):
        assert "'label 3'" in str(caught.value)


def test_a_label_of_several_masks_is_ambiguous_and_their_positions_are_not() -> None:
    masks = Masks(torch.zeros(3, 2, 2), ("jar", "wood", "jar"), (4, 4))
    with pytest.raises(LabelError, match=r"masks 0, 2; take one by its position"):
        masks["jar"]
    assert masks[2].label == "jar"
    assert len(list(masks)) == 3


def test_nothing_is_no_masks() -> None:
    with pytest.raises(PromptError, match="at least one"):
        random_masks()[3:]


def test_representations_are_one_short_line() -> None:
    masks = random_masks(50)
    assert repr(masks) == "Masks(50 x 8x11 logits for a picture of 21x34: 'label 0', 'label 1', 'label 2', …)"
    assert repr(masks[0]) == "Mask('label 0', 8x11 logits for a picture of 21x34)"


def test_masks_travel_between_processes() -> None:
    masks = random_masks()
    for twin in (pickle.loads(pickle.dumps(masks)), copy.deepcopy(masks)):
        assert torch.equal(twin.binary(), masks.binary())
        assert twin.labels == masks.labels


def test_an_overlay_is_the_picture_in_colours_above_a_legend() -> None:
    logits = torch.full((2, 10, 10), -6.0)
    logits[0, :4, :4] = logits[1, 6:, 6:] = 6.0
    picture = Image.new("RGB", (100, 100), (90, 90, 90))
    masks = Masks(logits, ("a", "b"), (100, 100), picture)
    overlay = masks.overlay()
    assert (overlay.mode, overlay.width) == ("RGB", 100)
    assert overlay.height > 100
    plain = np.array(masks.overlay(legend=False))
    assert plain.shape == (100, 100, 3)
    assert np.array_equal(np.array(overlay)[:100], plain)
    binary = masks.binary().numpy()
    assert (plain[~binary.any(0)] == 90).all()
    for n, mask in enumerate(binary):
        assert (plain[mask] != 90).any(1).all()
        assert (plain[mask] == PALETTE[n]).all(1).any()
    assert picture.getextrema() == ((90, 90),) * 3


def test_a_soft_overlay_shows_probabilities_and_no_outline() -> None:
    masks = Masks(torch.zeros(1, 3, 3), ("a",), (10, 12))
    soft = np.array(masks.overlay(Image.new("L", (12, 10), 90), alpha=0.6, soft=True, legend=False))
    assert np.abs(soft - (90 + 0.3 * np.subtract(PALETTE[0], 90))).max() <= 0.5


@pytest.mark.parametrize("colours", ["#ff0000/blue", ("red", "#00f"), [(255, 0, 0), (0, 0, 255)]])
def test_an_overlay_in_colours_that_are_given(colours: Any) -> None:
    logits = torch.tensor([[[6.0, -6.0, -6.0]], [[-6.0, 6.0, -6.0]]])
    masks = Masks(logits, ("a", "b"), (4, 9), Image.new("RGB", (9, 4)))
    plain = np.array(masks.overlay(alpha=1, legend=False, colours=colours))
    assert plain[0, 0].tolist() == [255, 0, 0]
    assert plain[0, 4].tolist() == [0, 0, 255]
    assert masks[1].overlay(alpha=1, legend=False, colours="lime").getpixel((4, 0)) == (0, 255, 0)
    with_legend = np.array(masks.overlay(colours=colours))
    assert (with_legend[4:] == [0, 0, 255]).all(2).any()


@pytest.mark.parametrize("colours", [[], "reddish", "", [(1, 2)], [(1, 2, 256)], [(1.0, 2, 3)], (1, 2, 3), 7])
def test_colours_that_are_none(colours: Any) -> None:
    with pytest.raises(UsageError, match="colour"):
        random_masks().overlay(Image.new("RGB", (34, 21)), colours=colours)


def test_one_mask_draws_itself() -> None:
    picture = Image.new("RGB", (34, 21))
    masks = random_masks()
    alone = masks[2].overlay(picture, 0.3, alpha=0.7)
    assert alone.tobytes() == masks[2:].overlay(picture, 0.3, alpha=0.7).tobytes()


def test_overlays_need_the_picture_that_was_segmented() -> None:
    masks = random_masks()
    with pytest.raises(UsageError, match=r"masks.overlay\(picture\)"):
        masks.overlay()
    turned = Image.new("RGB", (21, 34))
    with pytest.raises(PictureError, match="34x21 but its masks are 21x34"):
        masks.overlay(turned)
    with pytest.raises(PictureError, match="got str"):
        masks.overlay("kitchen.jpg")  # type: ignore[arg-type]
    with pytest.raises(PictureError, match="34x21"):
        Masks(masks.logits, masks.labels, masks.size_hw, turned)


def test_masks_and_their_means_at_once_are_both_one_by_one() -> None:
    masks = random_masks()
    insides, means = zip(*masks.each_measured(0.3), strict=True)
    assert torch.stack(insides).equal(masks.binary(0.3))
    assert torch.tensor(means).equal(masks.mean_inside(0.3))
