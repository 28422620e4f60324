"""The decoder's parts that the parity tests do not pin."""

import pytest
import torch
from torch import nn

from clipseg.errors import ConfigurationError
from clipseg.modeling.decoder import CLIPSegDecoder, refined_kernels, upsampling_head
from tiny import config, segmenter


@pytest.mark.parametrize(("patch", "kernels"), [(4, (4, 1)), (8, (4, 2)), (16, (4, 4)), (32, (4, 8))])
def test_kernels_multiply_to_the_patch(patch: int, kernels: tuple[int, int]) -> None:
    assert refined_kernels(patch) == kernels
    head = upsampling_head(6, patch, refined=True)
    assert isinstance(head, nn.Sequential)
    assert tuple(head[2].weight.shape) == (6, 3, kernels[0], kernels[0])
    assert tuple(head[4].weight.shape) == (3, 1, kernels[1], kernels[1])
    assert head(torch.zeros(2, 6, 2, 3)).shape == (2, 1, 2 * patch, 3 * patch)


@pytest.mark.parametrize("patch", [10, 14, 2])
def test_a_patch_that_4_does_not_divide_has_no_refined_head(patch: int) -> None:
    with pytest.raises(ConfigurationError, match="use_complex_transposed_convolution=False"):
        CLIPSegDecoder(config(vision={"patch_size": patch}, use_complex_transposed_convolution=True))
    plain = CLIPSegDecoder(config(vision={"patch_size": patch}))
    assert tuple(plain.transposed_convolution.weight.shape) == (8, 1, patch, patch)


def test_width_and_heads_must_agree() -> None:
    with pytest.raises(ConfigurationError, match="width 8 is not divisible by 3 attention heads"):
        CLIPSegDecoder(config(decoder_num_attention_heads=3))


def test_it_runs_relu_whatever_the_configuration_says() -> None:
    plain, named = segmenter(), segmenter(decoder_hidden_act="gelu", decoder_attention_dropout=0.9)
    taps = tuple(torch.randn(1, 17, 24) for _ in range(3))
    conditions = torch.randn(1, 2, 12)
    results = [model.decoder.train()(model.decoder.reduce(taps), conditions, (4, 4))[0] for model in (plain, named)]
    assert torch.equal(*results)


def test_steps_before_the_condition_are_shared_by_all_prompts() -> None:
    model = segmenter(conditional_layer=2)
    widths: list[int] = []
    for layer in model.decoder.layers:
        layer.register_forward_hook(lambda _, inputs, __: widths.append(len(inputs[0])))
    reduced = model.decoder.reduce(tuple(torch.randn(2, 17, 24) for _ in range(3)))
    logits, states, attentions = model.decoder(
        reduced, torch.randn(2, 5, 12), (4, 4), output_hidden_states=True, output_attentions=True
    )
    assert widths == [2, 2, 10]
    assert logits.shape == (2, 5, 64, 64)
    assert [tuple(state.shape) for state in states] == [(10, 17, 8)] * 3
    assert [tuple(weights.shape) for weights in attentions] == [(10, 4, 17, 17)] * 3
    assert torch.equal(states[0][0], states[0][4])


def test_the_class_token_is_modulated_too() -> None:
    model = segmenter()
    seen: list[torch.Tensor] = []
    model.decoder.layers[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    reduced = model.decoder.reduce(tuple(torch.randn(1, 17, 24) for _ in range(3)))
    condition = torch.randn(1, 1, 12)
    model.decoder(reduced, condition, (4, 4))
    expected = model.decoder.film_mul(condition[0]) * reduced[0] + model.decoder.film_add(condition[0])
    assert torch.allclose(seen[0], expected, atol=1e-6)
