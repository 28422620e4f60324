"""The packed model against the model itself: the same answers, whatever is asked and whatever its weights become."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.errors import PictureError, PromptError, UsageError
from clipseg.modeling.deconv import CLIPDeconvForImageSegmentation
from clipseg.runtime import fused, precision
from clipseg.runtime.fused import FusedModel, torch_model
from clipseg.runtime.precision import native_int8

LEAST = {"float32": 1e-5, "bfloat16": 0.05}
"""What random weights of a small model reach at least; larger ones average more."""

if native_int8(torch.device("cpu")):
    LEAST["int8"] = 0.15


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """-> the root of the mean squared error, over the spread of the exact values."""
    assert found.shape == expected.shape
    return float((found.float() - expected).square().mean().sqrt() / expected.std())


def asked(runner, pixels, conditions):
    with torch.inference_mode():
        encoded = runner.encode_images(pixels)
        return encoded, runner.decode(encoded, conditions)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "refined"])
def model(request):
    return tiny.segmenter(use_complex_transposed_convolution=request.param).eval()


@pytest.mark.parametrize("computed", LEAST)
@pytest.mark.parametrize("size_hw", [(64, 64), (48, 80), (71, 50)])
def test_equal_to_the_model(model, computed, size_hw):
    pixels, width = tiny.pixels(3, *size_hw), model.config.projection_dim
    conditions = torch.randn(5, width, generator=torch.Generator().manual_seed(1))
    exact, expected = asked(model, pixels, conditions)
    encoded, found = asked(FusedModel(model, computed), pixels, conditions)
    assert encoded.grid == exact.grid
    assert max(map(error, encoded.reduced, exact.reduced)) < LEAST[computed]
    assert error(found, expected) < LEAST[computed]
    assert found.dtype == torch.float32


@given(
    taps=st.lists(st.integers(0, 2), min_size=1, max_size=3).map(sorted),
    conditional=st.integers(0, 2),
    act=st.sampled_from(["quick_gelu", "gelu", "relu", "gelu_new", "selu"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_of_any_configuration(taps, conditional, act, seed):
    towers = {"num_hidden_layers": 3, "hidden_act": act}
    model = tiny.segmenter(
        seed, vision=towers, text=towers, extract_layers=taps, conditional_layer=min(conditional, len(taps) - 1)
    ).eval()
    pixels = tiny.pixels(2, seed=seed)
    conditions = torch.randn(2, 4, model.config.projection_dim, generator=torch.Generator().manual_seed(seed))
    _, expected = asked(model, pixels, conditions)
    _, found = asked(FusedModel(model), pixels, conditions)
    assert error(found, expected) < 1e-4
    texts = tiny.texts(3, seed=seed)
    packed = FusedModel(model)
    with torch.inference_mode():
        expected = model.get_conditional_embeddings(3, **texts)
        assert error(packed.get_conditional_embeddings(3, **texts), expected) < 1e-4
        packed.pack()
        assert error(packed.get_conditional_embeddings(3, **texts), expected) < 1e-4


@pytest.mark.parametrize("computed", LEAST)
@pytest.mark.parametrize("size_hw", [(64, 64), (48, 80)])
def test_pictures_as_conditions(model, computed, size_hw):
    pixels = tiny.pixels(3, *size_hw)
    with torch.inference_mode():
        expected = model.get_conditional_embeddings(3, conditional_pixel_values=pixels)
        found = FusedModel(model, computed).get_conditional_embeddings(3, conditional_pixel_values=pixels)
    assert error(found, expected) < LEAST[computed]
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("computed", LEAST)
def test_many_phrases_are_read_packed(model, computed):
    runner, texts = FusedModel(model, computed), tiny.texts(fused.MANY_PHRASES)
    few = {name: rows[:-1] for name, rows in texts.items()}
    with torch.inference_mode():
        expected = model.get_conditional_embeddings(len(texts["input_ids"]), **texts)
        exact = runner.get_conditional_embeddings(fused.MANY_PHRASES - 1, **few)
        found = runner.get_conditional_embeddings(fused.MANY_PHRASES, **texts)
        again = runner.get_conditional_embeddings(fused.MANY_PHRASES - 1, **few)
    assert error(exact, expected[:-1]) < 1e-5
    assert error(found, expected) < max(LEAST[computed], 1e-4)
    torch.testing.assert_close(again, found[:-1])  # once packed, so it stays
    assert found.dtype == expected.dtype


def test_phrases_are_packed_anew_when_weights_change_and_not_any_more_once_dropped():
    model, texts = tiny.segmenter().eval(), tiny.texts(2)
    runner = FusedModel(model)
    runner.pack()
    with torch.no_grad():
        model.clip.text_model.encoder.layers[0].mlp.fc1.weight.mul_(1.5)
    with torch.inference_mode():
        expected = model.get_conditional_embeddings(2, **texts)
        assert error(runner.get_conditional_embeddings(2, **texts), expected) < 1e-5
    runner.drop_text_encoder()
    with torch.inference_mode(), pytest.raises(PromptError, match="text encoder"):
        runner.get_conditional_embeddings(2, **texts)


def test_weights_that_change_are_packed_anew():
    model = tiny.segmenter().eval()
    packed, pixels = FusedModel(model), tiny.pixels(1)
    conditions = torch.randn(2, model.config.projection_dim)
    asked(packed, pixels, conditions)
    for change in (
        lambda: model.decoder.layers[0].mlp.fc1.weight.mul_(1.5),
        lambda: model.clip.vision_model.encoder.layers[0].self_attn.v_proj.bias.add_(1),
        lambda: model.load_state_dict(tiny.segmenter(seed=7).state_dict()),
        lambda: model.decoder.reduces[0].weight.copy_(torch.randn_like(model.decoder.reduces[0].weight)),
        lambda: setattr(model.decoder.film_mul, "bias", torch.nn.Parameter(torch.randn(model.config.reduce_dim))),
    ):
        with torch.no_grad():
            change()
        _, expected = asked(model, pixels, conditions)
        _, found = asked(packed, pixels, conditions)
        assert error(found, expected) < 1e-4


def test_what_it_does_not_know_runs_as_it_is():
    class Louder(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = tiny.segmenter().eval()
    pixels, conditions = tiny.pixels(1), torch.randn(2, model.config.projection_dim)
    packed = FusedModel(model, "bfloat16")
    asked(packed, pixels, conditions)
    fc1 = model.clip.vision_model.encoder.layers[0].mlp.fc1
    louder = Louder(fc1.in_features, fc1.out_features)
    louder.load_state_dict(fc1.state_dict())
    model.clip.vision_model.encoder.layers[0].mlp.fc1 = louder.eval()
    exact, _ = asked(model, pixels, conditions)
    encoded, _ = asked(packed, pixels, conditions)
    for found, expected in zip(encoded.reduced, exact.reduced, strict=True):
        torch.testing.assert_close(found, expected)

    seen = []
    model.decoder.layers[0].register_forward_hook(lambda *_: seen.append(1))
    asked(packed, pixels, conditions)
    assert seen


def test_8_bits_need_a_processor_that_has_them(model, monkeypatch):
    monkeypatch.setattr(fused, "native_int8", lambda device: False)
    with pytest.raises(UsageError, match=r"int8 needs a processor that multiplies 8-bit numbers \(VNNI\)"):
        FusedModel(model, "int8")


@pytest.mark.skipif("int8" not in LEAST, reason="needs a processor with 8-bit products")
def test_8_bits_beside_float32(model, monkeypatch):
    monkeypatch.setattr(precision, "native_bfloat16", lambda device: False)
    pixels, conditions = tiny.pixels(2), torch.randn(3, model.config.projection_dim)
    _, expected = asked(model, pixels, conditions)
    encoded, found = asked(FusedModel(model, "int8"), pixels, conditions)
    assert encoded.reduced[0].dtype == torch.float32
    assert error(found, expected) < LEAST["int8"]


def test_gradients_flow_where_they_are_asked_for():
    model = tiny.segmenter().eval()
    packed = FusedModel(model)
    packed.decode(packed.encode_images(tiny.pixels(1)), torch.randn(1, model.config.projection_dim)).sum().backward()
    assert model.decoder.reduces[0].weight.grad is not None


def test_the_baseline_keeps_its_own_decoder():
    whole = tiny.config()
    config = CLIPDeconvConfig(
        whole.text_config.to_dict(), whole.vision_config.to_dict(), projection_dim=whole.projection_dim,
        extract_layers=[1],
    )  # fmt: skip
    model = CLIPDeconvForImageSegmentation(config).eval()
    pixels, conditions = tiny.pixels(2), torch.randn(3, config.projection_dim)
    _, expected = asked(model, pixels, conditions)
    _, found = asked(FusedModel(model), pixels, conditions)
    assert error(found, expected) < 1e-5


def test_what_cannot_be_is_told_as_by_the_model(model):
    packed = FusedModel(model)
    with torch.inference_mode():
        with pytest.raises(PictureError, match="smaller than one patch"):
            packed.encode_images(torch.zeros(1, 3, 4, 4))
        with pytest.raises(PictureError, match="has shape"):
            packed.encode_images(torch.zeros(1, 1, 64, 64))
        encoded = packed.encode_images(tiny.pixels(2))
        width = model.config.projection_dim
        for shape in ((0, width), (2, width + 1), (3, 1, width), (width,)):
            with pytest.raises(PromptError):
                packed.decode(encoded, torch.zeros(shape))


def test_threads_share_what_was_packed(model):
    packed, pixels = FusedModel(model), tiny.pixels(1)
    conditions = torch.randn(2, model.config.projection_dim)
    _, expected = asked(model, pixels, conditions)
    found = []
    threads = [threading.Thread(target=lambda: found.append(asked(packed, pixels, conditions)[1])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert max(error(each, expected) for each in found) < 1e-5


def test_the_model_inside(model):
    assert torch_model(FusedModel(model)) is model
    assert torch_model(model) is model
    assert copy.deepcopy(FusedModel(model, "bfloat16")).precision == "bfloat16"
