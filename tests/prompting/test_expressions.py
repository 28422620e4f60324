"""Expressions on logits against sets on probabilities, in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import PromptError
from clipseg.prompting.expressions import DEEPEST, FARTHEST, And, Grow, Not, Or, Strength, dilated, evaluate, leaves
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, TextPrompt

A, B, C, D = map(TextPrompt, "abcd")
PROMPTS = (A, B, C, D)


def maps(seed=0, size_hw=(7, 9)):
    draw = torch.Generator().manual_seed(seed)
    return {prompt: 4 * torch.randn(*size_hw, generator=draw) for prompt in PROMPTS}


def probabilities(term, found):
    """What an expression means, in words of sets, on probabilities in float64."""
    match term:
        case And(parts):
            return np.minimum.reduce([probabilities(part, found) for part in parts])
        case Or(parts):
            return np.maximum.reduce([probabilities(part, found) for part in parts])
        case Not(part):
            return 1 - probabilities(part, found)
        case Strength(part, factor):
            return np.minimum(factor * probabilities(part, found), 1)
    return 1 / (1 + np.exp(-found[term].double().numpy()))


def terms():
    def larger(inner):
        several = st.lists(inner, min_size=2, max_size=4).map(tuple)
        return several.map(And) | several.map(Or) | inner.map(Not) | st.builds(Strength, inner, st.floats(0.01, 100))

    return st.recursive(st.sampled_from(PROMPTS), larger, max_leaves=10)


@given(terms(), st.integers(0, 1000))
@settings(deadline=None, max_examples=150)
def test_logits_say_what_sets_of_probabilities_say(term, seed):
    found = maps(seed)
    before = {prompt: logits.clone() for prompt, logits in found.items()}
    out = evaluate(term, found.__getitem__, (1.0, 1.0))
    assert torch.isfinite(out).all()
    np.testing.assert_allclose(out.double().sigmoid().numpy(), probabilities(term, found), atol=2e-5)
    assert all(torch.equal(logits, before[prompt]) for prompt, logits in found.items()), "maps given are left alone"


@given(terms(), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_binary_masks_are_set_operations_on_binary_masks(term, seed):
    """Thresholded at one half, an expression of AND, OR and NOT is that of the sets."""
    found = maps(seed)

    def inside(part):
        match part:
            case And(parts):
                return np.logical_and.reduce([inside(each) for each in parts])
            case Or(parts):
                return np.logical_or.reduce([inside(each) for each in parts])
            case Not(each):
                return ~inside(each)
        return (found[part] > 0).numpy()

    if "{" not in str(term):
        assert np.array_equal((evaluate(term, found.__getitem__, (1, 1)) > 0).numpy(), inside(term))


def test_operators():
    assert And((A, B)) == A & B
    assert Or((A, B)) == A | B
    assert Not(A) == ~A
    assert A & B & C == And((A, B, C)) == A & (B & C)
    assert Or((A, B, C)) == A | B | C
    assert And((A, Or((B, C)))) == A & (B | C)
    assert Or((And((A, Not(Or((B, C))))), D)) == A & ~(B | C) | D
    mixed = 0.6 * A + 0.4 * ImagePrompt("jar.jpg")
    assert mixed & ~EmbeddingPrompt(torch.ones(3))
    for wrong in ("b", 1, None):
        with pytest.raises(TypeError):
            A & wrong
        with pytest.raises(TypeError):
            A | wrong


def test_written_down():
    assert str(A & ~(B | C)) == "a AND NOT (b OR c)"
    assert str(Strength(A | B, 1.5)) == "(a OR b){*1.5}"
    assert str(Grow(Grow(A, 25), -3)) == "a{+25}{-3}"
    assert str(Strength(A, 0.1 + 0.2)) == "a{*0.30000000000000004}"
    assert str(~TextPrompt("bus (vehicle)")) == 'NOT "bus (vehicle)"'
    assert (A & B).label == "a AND b"
    named = And((A, B), label="both")
    assert named.label == "both"
    assert named == A & B
    assert hash(named) == hash(A & B)


def test_leaves():
    assert list(leaves(A & ~(B | A) & Strength(Grow(C, 2), 2))) == [A, B, A, C]
    assert list(leaves(A)) == [A]


@pytest.mark.parametrize("factor", [0, -1, math.nan, math.inf, 10**400, True, "2", None])
def test_strengths_are_numbers_above_zero(factor):
    with pytest.raises(PromptError, match="finite number above 0"):
        Strength(A, factor)


def test_strength_is_neutral_at_one_and_ends_at_certainty():
    logits = maps()[A]
    assert torch.equal(Strength(A, 1).logits(lambda _: logits, (1, 1)), logits)
    high = Strength(A, 1e6).logits(lambda _: logits, (1, 1))
    assert torch.isfinite(high).all()
    assert (high.sigmoid() > 0.999999).all()
    low = Strength(A, 1e-30).logits(lambda _: torch.full((1, 1), -80.0), (1, 1))
    assert low.item() == pytest.approx(-80 - 30 * math.log(10), rel=1e-5), "small probabilities keep their digits"


@pytest.mark.parametrize("pixels", [1.5, "2", None, True, FARTHEST + 1, -(10**400)])
def test_terms_grow_by_whole_pixels(pixels):
    with pytest.raises(PromptError, match=r"a term grows and shrinks by"):
        Grow(A, pixels)


def dilated_by_hand(logits, radius, cell_hw):
    height, width = logits.shape
    out = logits.clone()
    for y in range(height):
        for x in range(width):
            near = [
                logits[v, u].item()
                for v in range(height)
                for u in range(width)
                if ((v - y) * cell_hw[0]) ** 2 + ((u - x) * cell_hw[1]) ** 2 <= radius**2
            ]
            out[y, x] = max(near)
    return out


@pytest.mark.parametrize("radius", [0, 1, 3, 4, 7, 12, 1000])
@pytest.mark.parametrize("cell_hw", [(1.0, 1.0), (2.0, 1.5), (1.0, 4.0), (10.0, 3.0)])
@pytest.mark.parametrize("size_hw", [(7, 9), (1, 5), (6, 1)])
def test_growing(radius, cell_hw, size_hw):
    logits = maps(3, size_hw)[A]
    expected = dilated_by_hand(logits, radius, cell_hw)
    before = logits.clone()
    assert torch.equal(dilated(logits, radius, cell_hw), expected)
    assert torch.equal(Grow(A, radius).logits(lambda _: logits, cell_hw), expected)
    shrunk = Grow(A, -radius).logits(lambda _: logits, cell_hw)
    assert torch.equal(shrunk, -dilated_by_hand(-logits, radius, cell_hw))
    assert torch.equal(logits, before)


def test_nobody_waits_any_more():
    called = []

    def check():
        called.append(None)
        if len(called) > 5:
            raise TimeoutError

    for term in (Grow(A, 1000), Grow(A, -1000), A & B & A & B & A & B, Strength(~(A | B) & (A | B) & A & B, 2)):
        called.clear()
        with pytest.raises(TimeoutError):
            evaluate(term, maps(3, (9, 9)).__getitem__, (1.0, 1.0), check)


def test_depth():
    term = A
    for _ in range(DEEPEST):
        term = ~term
    assert term.depth == DEEPEST
    with pytest.raises(PromptError, match="more than 100 expressions"):
        _ = ~term
    wide = A
    for _ in range(500):
        wide = wide & B
    assert wide.depth == 1, "chains are flat"


def test_what_is_no_term():
    with pytest.raises(PromptError, match="made of prompts, got a str"):
        Not("a")
    with pytest.raises(PromptError, match="made of prompts, got a str"):
        And((A, "b"))
    with pytest.raises(PromptError, match="AND joins two terms or more, got 1"):
        And((A,))
    with pytest.raises(PromptError, match="OR joins two terms or more, got 0"):
        Or(())
