import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import UsageError
from clipseg.masks.combine import Rivals, as_logits, stretched, united, without


def maps(count: int, seed: int = 0, spread: float = 4) -> torch.Tensor:
    return spread * torch.randn(count, 5, 7, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 99), st.sampled_from([0.1, 4.0, 30.0]))
def test_softmax_in_logits_is_softmax_in_probabilities(count: int, seed: int, spread: float) -> None:
    logits = maps(count, seed, spread)
    shares = Rivals(logits).softmax(logits[:2])
    torch.testing.assert_close(shares.double().sigmoid(), logits.double().softmax(0)[:2], atol=1e-6, rtol=1e-4)
    assert shares.isfinite().all()


def test_a_share_of_nearly_all_keeps_its_size() -> None:
    logits = torch.tensor([40.0, -20.0, -21.0])[:, None, None]
    others = torch.tensor([-20.0, -21.0]).logsumexp(0)
    assert Rivals(logits).softmax(logits[:1]).item() == pytest.approx(40 - others.item())


def test_equal_prompts_share_evenly() -> None:
    logits = torch.full((4, 2, 2), 80.0)
    torch.testing.assert_close(Rivals(logits).softmax(logits).sigmoid(), torch.full((4, 2, 2), 0.25))


def test_nothing_competes_with_itself() -> None:
    with pytest.raises(UsageError, match="more prompts, or a negative one"):
        Rivals(maps(1)).softmax(maps(1))


def test_negatives_are_and_not() -> None:
    logits, negatives = maps(3), maps(2, 1)
    expected = torch.minimum(logits.sigmoid(), 1 - negatives.sigmoid().amax(0))
    torch.testing.assert_close(without(logits, negatives).sigmoid(), expected)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("max", lambda p: p.amax(0, keepdim=True)),
        ("mean", lambda p: p.mean(0, keepdim=True)),
        ("sum", lambda p: p.sum(0, keepdim=True).clamp(max=1)),
        ("product", lambda p: p.prod(0, keepdim=True)),
    ],
)
def test_several_become_one(how: str, expected) -> None:  # type: ignore[no-untyped-def]
    logits = maps(3, spread=2)
    one = united(logits, how)
    assert one.isfinite().all()
    torch.testing.assert_close(one.sigmoid(), expected(logits.sigmoid()), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(united(logits[[2, 0, 1]], how), one, atol=1e-4, rtol=1e-4)


def test_stretching_is_for_each_map_and_leaves_nothing_of_a_constant_one() -> None:
    logits = torch.cat((maps(2), torch.full((1, 5, 7), 3.0)))
    probabilities = stretched(logits).sigmoid()
    for one, before in zip(probabilities[:2], logits[:2].sigmoid(), strict=True):
        torch.testing.assert_close(one, (before - before.min()) / (before.max() - before.min()))
    assert (probabilities[2] < 1e-6).all()


def test_certainties_have_finite_logits() -> None:
    logits = as_logits(torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0]))
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.sigmoid(), torch.tensor([0, 0, 0.5, 1, 1]), atol=1e-6, rtol=0)
