"""Attention, masks, activations and the stack of layers."""

import pytest
import torch

from clipseg.errors import ConfigurationError
from clipseg.modeling.layers import (
    ACTIVATIONS,
    Attention,
    Encoder,
    Layer,
    activation,
    causal_mask,
    padded_causal_mask,
    quick_gelu,
)
from tiny import randomise

X = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))


def attention(implementation: str = "eager") -> Attention:
    module = randomise(Attention(12, 3))
    module.implementation = implementation
    return module


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["none", "causal", "padded"])
def test_attention_is_the_textbook_s(implementation: str, kind: str) -> None:
    module = attention(implementation)
    keep = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    visible = torch.ones(2, 5, 5).bool()
    if kind != "none":
        visible &= torch.ones(5, 5).bool().tril()
    if kind == "padded":
        visible &= keep.bool()[:, None]
    mask = padded_causal_mask(keep, torch.float32) if kind == "padded" else None
    expected = torch.zeros(2, 5, 12)
    with torch.no_grad():
        q, k, v = module.q_proj(X), module.k_proj(X), module.v_proj(X)
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / 2  # the root of the head's width, 4
            expected[..., part] = scores.masked_fill(~visible, -torch.inf).softmax(-1) @ v[..., part]
        out, weights = module(X, mask, causal=kind == "causal")
        assert torch.allclose(out, module.out_proj(expected), atol=1e-5)
    assert weights is None


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_weights_come_with_either_backend(implementation: str) -> None:
    weights = attention(implementation)(X, causal=True, with_weights=True)[1]
    assert weights.shape == (2, 3, 5, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5))
    assert not weights.triu(1).any()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_dropout_is_for_training(implementation: str) -> None:
    module = randomise(Attention(12, 3, dropout=0.5)).eval()
    module.implementation = implementation
    assert torch.equal(module(X)[0], module(X)[0])
    module.train()
    assert not torch.equal(module(X)[0], module(X)[0])


def test_masks() -> None:
    low = torch.finfo(torch.float16).min
    expected = torch.tensor([[0, low, low], [0, 0, low], [0, 0, 0]], dtype=torch.float16)
    assert torch.equal(causal_mask(3, torch.float16, torch.device("cpu"))[0, 0], expected)
    padded = padded_causal_mask(torch.tensor([[1, 1, 0], [0, 0, 0]]), torch.float16)
    assert torch.equal(padded[0, 0], torch.tensor([[0, low, low], [0, 0, low], [0, 0, low]], dtype=torch.float16))
    assert torch.equal(padded[1, 0], torch.full((3, 3), low, dtype=torch.float16))


def test_activations() -> None:
    x = torch.linspace(-3, 3, 7)
    assert set(ACTIVATIONS) == {"gelu", "relu", "selu", "gelu_new", "quick_gelu"}
    assert torch.allclose(activation("quick_gelu")(x), x / (1 + (-1.702 * x).exp()))
    assert torch.allclose(activation("gelu_new")(x), activation("gelu")(x), atol=5e-3)
    assert activation("gelu_new")(torch.tensor(1.0)) != activation("gelu")(torch.tensor(1.0))
    assert activation(torch.tanh) is torch.tanh
    with pytest.raises(ConfigurationError, match="unknown activation 'swish'; known are"):
        activation("swish")


def test_norms_come_before_or_after() -> None:
    before, after = (randomise(Layer(12, 3, 24, quick_gelu, norm_first=first)) for first in (True, False))
    after.load_state_dict(before.state_dict())
    with torch.no_grad():
        x = X + before.self_attn(before.layer_norm1(X))[0]
        assert torch.allclose(before(X)[0], x + before.mlp(before.layer_norm2(x)), atol=1e-6)
        x = after.layer_norm1(X + after.self_attn(X)[0])
        assert torch.allclose(after(X)[0], after.layer_norm2(x + after.mlp(x)), atol=1e-6)


def test_the_stack_keeps_the_states_it_is_told_to() -> None:
    stack = randomise(Encoder([Layer(12, 3, 24, "gelu") for _ in range(3)]))
    with torch.no_grad():
        last, states, weights = stack(X, keep=range(4))
        assert list(states) == [0, 1, 2, 3]
        assert torch.equal(states[0], X)
        assert torch.equal(states[3], last)
        assert weights is None
        shallow, states, _ = stack(X, depth=2, keep=(1,))
        assert list(states) == [1]
        assert torch.equal(shallow, stack(X, keep=(2,))[1][2])
        assert len(stack(X, with_weights=True)[2]) == 3


def test_heads_divide_the_width() -> None:
    with pytest.raises(ConfigurationError, match="width 12 is not divisible by 5 attention heads"):
        Attention(12, 5)
