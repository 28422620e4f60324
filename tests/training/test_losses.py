import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.training.losses import dice_loss, mask_bce, soft_contrastive_loss


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
@given(seed=st.integers(0, 2**32), present=st.lists(st.booleans(), min_size=1, max_size=5))
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


def test_gradients_are_finite():
    logits = (30 * draws(2, 3, 8, 8)).requires_grad_(True)
    targets = (draws(2, 3, 8, 8, seed=1) > 0).float()
    targets[:, 2] = 0
    (mask_bce(logits, targets) + dice_loss(logits, targets)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[:, :2].abs().sum() > 0
    empty = draws(1, 1, 8, 8).requires_grad_(True)
    dice_loss(empty, torch.zeros(1, 1, 8, 8)).backward()
    assert not empty.grad.any(), "an empty mask teaches nothing here"
    similarities = (100 * draws(4, 5)).requires_grad_(True)
    soft_contrastive_loss(similarities, torch.eye(4, 5, dtype=torch.bool)).backward()
    assert similarities.grad.isfinite().all()
