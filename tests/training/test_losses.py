import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.training.losses import dice_loss, focal_loss, mask_bce, masks_present, soft_contrastive_loss

SEEDS = st.integers(0, 2**32)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(seed, *shape):
    """-> logits, targets with some masks empty, and where they are valid."""
    targets = (draws(*shape, seed=seed + 1) > 0.5).float() * (draws(*shape[:-2], 1, 1, seed=seed + 2) > -1)
    return 3 * draws(*shape, seed=seed), targets, draws(*shape, seed=seed + 3) > -0.5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cross_entropy_by_hand():
    logits, targets = draws(2, 3, 5, 4), (draws(2, 3, 5, 4, seed=1) > 0).float()
    p, t = sigmoid(logits.double().numpy()), targets.double().numpy()
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    assert mask_bce(logits, targets).item() == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_of_sure_logits_is_finite():
    assert mask_bce(torch.tensor([1e4, -1e4]), torch.tensor([1.0, 0.0])).item() == 0
    assert mask_bce(torch.tensor([1e4]), torch.tensor([0.0])).item() == 1e4


@settings(deadline=None)
@given(seed=SEEDS, present=st.lists(st.booleans(), min_size=1, max_size=5))
def test_dice_by_hand(seed, present):
    """One minus Dice, over the masks that are not empty alone; 0 where all are."""
    logits = 3 * draws(len(present), 6, 5, seed=seed)
    targets = (draws(len(present), 6, 5, seed=seed + 1) > 0.5).float() * torch.tensor(present)[:, None, None]
    losses = []
    for p, t in zip(sigmoid(logits.double().numpy()), targets.double().numpy(), strict=True):
        if t.any():
            losses.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    expected = np.mean(losses) if losses else 0.0
    assert dice_loss(logits, targets).item() == pytest.approx(expected, abs=1e-5)
    assert dice_loss(logits[None], targets[None]).item() == pytest.approx(expected, abs=1e-5), "any axes in front"


def test_dice_of_right_and_wrong():
    targets = torch.zeros(2, 8, 8)
    targets[:, 2:6, 2:6] = 1
    right = 100 * (2 * targets - 1)
    assert dice_loss(right, targets).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-right, targets).item() == pytest.approx(1, abs=0.02)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), alpha=st.floats(0, 1))
def test_focal_loss_by_hand(seed, gamma, alpha):
    logits, targets, valid = drawn(seed, 2, 6, 5)
    p, t = sigmoid(logits.double().numpy()), targets.numpy() > 0
    p_true, weight = np.where(t, p, 1 - p), np.where(t, alpha, 1 - alpha)
    expected = (-weight * (1 - p_true) ** gamma * np.log(p_true))[valid.numpy()].mean()
    assert focal_loss(logits, targets, valid, gamma=gamma, alpha=alpha).item() == pytest.approx(expected, abs=1e-5)


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    logits, targets, valid = drawn(0, 3, 6, 5)
    for where in (None, valid):
        half = focal_loss(logits, targets, where, gamma=0, alpha=0.5)
        torch.testing.assert_close(2 * half, mask_bce(logits, targets, where))


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_ranges(seed):
    logits, targets, valid = drawn(seed, 3, 6, 5)
    assert 0 <= dice_loss(logits, targets, valid) < 1
    assert 0 <= focal_loss(logits, targets, valid) <= mask_bce(logits, targets, valid)
    torch.testing.assert_close(
        mask_bce(logits, targets, valid), F.binary_cross_entropy_with_logits(logits[valid], targets[valid])
    )


@pytest.mark.parametrize("loss", [mask_bce, focal_loss, dice_loss])
@pytest.mark.parametrize("hidden", [7.0, -1e30, float("inf"), float("nan")])
def test_what_is_not_valid_has_no_influence(loss, hidden):
    logits, targets, valid = drawn(1, 3, 6, 5)
    with_garbage = torch.where(valid, logits, torch.tensor(hidden)).requires_grad_(True)
    value = loss(with_garbage, torch.where(valid, targets, 1 - targets), valid)
    torch.testing.assert_close(value, loss(logits, targets, valid), rtol=0, atol=0)
    value.backward()
    assert with_garbage.grad.isfinite().all()
    assert not with_garbage.grad[~valid].any()
    assert with_garbage.grad[valid].any()


@pytest.mark.parametrize("loss", [mask_bce, focal_loss, dice_loss])
def test_everything_valid_is_as_if_nothing_were_said(loss):
    logits, targets, valid = drawn(2, 3, 6, 5)
    torch.testing.assert_close(loss(logits, targets, torch.ones_like(valid)), loss(logits, targets))
    assert loss(logits, targets, torch.zeros_like(valid)).item() == 0


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, cut=st.integers(1, 4))
def test_parts_add_up_to_the_whole(seed, cut):
    """By their shares of what a loss counts: pixels, or masks that are not empty."""
    logits, targets, valid = drawn(seed, 5, 6, 5)
    parts = slice(cut), slice(cut, None)
    for loss, counted in ((mask_bce, valid), (focal_loss, valid), (dice_loss, masks_present(targets, valid))):
        whole = loss(logits, targets, valid)
        shares = [
            loss(logits[part], targets[part], valid[part]) * counted[part].sum() / counted.sum().clamp(min=1)
            for part in parts
        ]
        torch.testing.assert_close(sum(shares), whole)


def test_which_masks_are_present():
    targets = torch.zeros(2, 2, 3, 3)
    targets[0, 1, 0, 0] = targets[1, 0, 2, 2] = 1
    assert masks_present(targets).tolist() == [[False, True], [True, False]]
    valid = torch.ones_like(targets, dtype=torch.bool)
    valid[1, 0, 2, 2] = False
    assert masks_present(targets, valid).tolist() == [[False, True], [False, False]]


def test_the_contrastive_loss_is_clips_on_a_diagonal():
    similarities = 5 * draws(6, 6)
    targets = torch.arange(6)
    clip = torch.nn.functional.cross_entropy
    expected = (clip(similarities, targets) + clip(similarities.t(), targets)) / 2
    torch.testing.assert_close(soft_contrastive_loss(similarities, torch.eye(6, dtype=torch.bool)), expected)


def test_the_contrastive_loss_by_hand():
    """Three pictures, four texts: the first picture has two of them, the third none; the last text has no picture."""
    similarities = draws(3, 4)
    same = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    s = similarities.double().numpy()
    rows = s - np.log(np.exp(s).sum(1, keepdims=True))
    columns = s - np.log(np.exp(s).sum(0, keepdims=True))
    by_picture = np.mean([-(rows[0, 0] + rows[0, 1]) / 2, -rows[1, 2]])
    by_text = np.mean([-columns[0, 0], -columns[0, 1], -columns[1, 2]])
    expected = (by_picture + by_text) / 2
    assert soft_contrastive_loss(similarities, same).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4, 1e30])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_are_finite(size, gamma):
    logits = (size * draws(2, 3, 8, 8).sign()).requires_grad_(True)
    targets = (draws(2, 3, 8, 8, seed=1) > 0).float()
    targets[:, 2] = 0
    (mask_bce(logits, targets) + dice_loss(logits, targets) + focal_loss(logits, targets, gamma=gamma)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[:, :2].abs().sum() > 0


def test_gradients_where_there_is_nothing():
    empty = draws(1, 1, 8, 8).requires_grad_(True)
    dice_loss(empty, torch.zeros(1, 1, 8, 8)).backward()
    assert not empty.grad.any(), "an empty mask teaches nothing here"
    similarities = (100 * draws(4, 5)).requires_grad_(True)
    soft_contrastive_loss(similarities, torch.eye(4, 5, dtype=torch.bool)).backward()
    assert similarities.grad.isfinite().all()
