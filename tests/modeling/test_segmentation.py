"""The documented forward call, its two halves, and what they refuse."""

from typing import Any

import pytest
import torch
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import ConfigurationError, PictureError, PromptError
from clipseg.modeling.layers import Layer
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, mask_loss
from tiny import config, pixels, segmenter, texts


def vectors(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours: torch.Tensor, expected: torch.Tensor) -> bool:
    return ours.shape == expected.shape and torch.allclose(ours, expected, rtol=0, atol=1e-5)


# Encode once, decode many


@pytest.mark.parametrize("conditional_layer", [0, 1, 2])
@pytest.mark.parametrize("refined", [True, False])
def test_decode_is_the_forward_call_one_by_one(conditional_layer: int, refined: bool) -> None:
    model = segmenter(conditional_layer=conditional_layer, use_complex_transposed_convolution=refined)
    pictures, prompts = pixels(2, 80), vectors(3, 12)
    with torch.no_grad():
        encoded = model.encode_images(pictures)
        logits = model.decode(encoded, prompts)
        apart = model.decode(encoded, vectors(2, 3, 12, seed=4))
        assert logits.shape == apart.shape == (2, 3, 80, 80)
        for b in range(2):
            for p in range(3):
                one = model(pixel_values=pictures[b : b + 1], conditional_embeddings=prompts[None, p])
                assert close(logits[b, p], one.logits[0])
                one = model(
                    pixel_values=pictures[b : b + 1], conditional_embeddings=vectors(2, 3, 12, seed=4)[b, p][None]
                )
                assert close(apart[b, p], one.logits[0])
    assert not torch.allclose(logits[:, 0], logits[:, 1], atol=0.01)  # the prompt matters


def test_one_prompt_keeps_its_axis() -> None:
    model = segmenter()
    with torch.no_grad():
        assert model.decode(model.encode_images(pixels(1)), vectors(1, 12)).shape == (1, 1, 64, 64)
        assert model(pixel_values=pixels(1), conditional_embeddings=vectors(1, 12)).logits.shape == (1, 64, 64)


def test_rows_of_a_batch_do_not_touch() -> None:
    model = segmenter()
    with torch.no_grad():
        batch = model(pixel_values=pixels(3), **texts(3)).logits
        for row in range(3):
            only = {key: value[row : row + 1] for key, value in texts(3).items()}
            assert close(batch[row : row + 1], model(pixel_values=pixels(3)[row : row + 1], **only).logits)


@pytest.mark.parametrize(("pooled", "expected"), [(False, [0, 1, 2]), (True, [0, 1, 2, 3])])
def test_layers_deeper_than_the_taps_do_not_run(pooled: bool, expected: list[int]) -> None:
    model = segmenter()  # four layers, the deepest tap is layer 2
    called: list[int] = []
    for number, layer in enumerate(model.clip.vision_model.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: called.append(number))
    with torch.no_grad():
        encoded = model.encode_images(pixels(2), pooled=pooled)
    assert called == expected
    assert (encoded.pooled_output is not None) == pooled


def test_pooled_output_is_the_picture_s_embedding() -> None:
    model = segmenter()
    with torch.no_grad():
        pooled = model.encode_images(pixels(2), pooled=True).pooled_output
        whole = model(pixel_values=pixels(2), **texts(2))
        assert pooled is not None
        assert close(pooled, model.clip.get_image_features(pixels(2)))
        assert close(whole.pooled_output, pooled)
    pre_projection = whole.vision_model_output.pooler_output
    assert pre_projection.shape == (2, 24)
    assert close(model.clip.visual_projection(pre_projection), pooled)


@pytest.mark.parametrize("shape", [(12,), (2, 11), (3, 2, 12), (2, 2, 11), (1, 2, 2, 12)])
def test_decode_refuses_conditions_that_do_not_fit(shape: tuple[int, ...]) -> None:
    model = segmenter()
    with pytest.raises(PromptError, match=r"conditions have shape .* expected \(P, 12\) or \(2, P, 12\)"):
        model.decode(model.encode_images(pixels(2)), torch.zeros(shape))


def test_decode_refuses_no_condition() -> None:
    model = segmenter()
    with pytest.raises(PromptError, match="no conditions given"):
        model.decode(model.encode_images(pixels(2)), torch.zeros(0, 12))


# Sizes


@pytest.mark.parametrize("refined", [True, False])
def test_a_rectangle_in_is_a_rectangle_out(refined: bool) -> None:
    model = segmenter(use_complex_transposed_convolution=refined)
    with torch.no_grad():
        assert model(pixel_values=pixels(1, 240, 352), **texts(1)).logits.shape == (1, 240, 352)
        encoded = model.encode_images(pixels(1, 240, 352))
        assert encoded.grid == (15, 22)
        assert model.decode(encoded, vectors(2, 12)).shape == (1, 2, 240, 352)


def test_a_rectangle_is_decoded_from_its_own_patches() -> None:
    """By hand, from the public parts: 7x28 patches are as many as 14x14 and must not be taken for them."""
    model, conditions = segmenter(), vectors(1, 12)
    picture = pixels(1, 7 * 16, 28 * 16)
    with torch.no_grad():
        states = model.clip.vision_model(picture, output_hidden_states=True).hidden_states
        assert states is not None
        y = torch.zeros(())
        decoder = model.decoder
        for step, tap in enumerate((2, 1, 0)):
            y = decoder.reduces[step](states[tap + 1]) + y
            if step == 0:
                y = decoder.film_mul(conditions) * y + decoder.film_add(conditions)
            y = decoder.layers[step](y)[0]
        kernel, bias = decoder.transposed_convolution.weight[:, 0], decoder.transposed_convolution.bias
        expected = torch.zeros(112, 448)
        for row in range(7):
            for column in range(28):
                patch = torch.einsum("d,dij->ij", y[0, 1 + row * 28 + column], kernel) + bias
                expected[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = patch
        assert close(model(pixel_values=picture, conditional_embeddings=conditions).logits[0], expected)


def test_turning_the_picture_turns_the_answer() -> None:
    """Without position table and with kernels that look the same turned, the model does not know rows from columns."""
    model = segmenter(vision={"patch_size": 8})
    with torch.no_grad():
        model.clip.vision_model.embeddings.position_embedding.weight.zero_()
        for kernel in (
            model.clip.vision_model.embeddings.patch_embedding.weight,
            model.decoder.transposed_convolution.weight,
        ):
            kernel.copy_((kernel + kernel.transpose(2, 3)) / 2)
        picture = pixels(1, 24, 56)
        upright = model(pixel_values=picture, **texts(1)).logits
        lying = model(pixel_values=picture.transpose(2, 3), **texts(1)).logits
    assert upright.shape == (1, 24, 56)
    assert close(lying, upright.transpose(1, 2))


def test_pixels_beyond_the_last_whole_patch_are_not_looked_at() -> None:
    model = segmenter()
    with torch.no_grad():
        logits = model(pixel_values=pixels(1, 75, 100), **texts(1)).logits
        assert logits.shape == (1, 64, 96)
        assert torch.equal(logits, model(pixel_values=pixels(1, 75, 100)[:, :, :64, :96], **texts(1)).logits)


def test_the_documented_tiny_shape() -> None:
    model = CLIPSegForImageSegmentation(
        config(vision={"image_size": 30, "patch_size": 2}, extract_layers=(1,), reduce_dim=32)
    ).eval()
    with torch.no_grad():
        assert model(pixel_values=pixels(12, 30), **texts(12)).logits.shape == (12, 30, 30)


@pytest.mark.parametrize("patch", [4, 8, 16, 32])
def test_the_refined_head_gives_the_size_of_its_input(patch: int) -> None:
    model = segmenter(vision={"patch_size": patch}, use_complex_transposed_convolution=True)
    with torch.no_grad():
        assert model(pixel_values=pixels(1, 3 * patch), **texts(1)).logits.shape == (1, 3 * patch, 3 * patch)


def test_a_prompt_picture_has_a_size_of_its_own() -> None:
    model = segmenter()
    with torch.no_grad():
        output = model(pixel_values=pixels(1), conditional_pixel_values=pixels(1, 32, 48, seed=1))
        assert close(output.conditional_embeddings, model.clip.get_image_features(pixels(1, 32, 48, seed=1)))
        with pytest.raises(PictureError, match=r"Input image size \(32\*48\) doesn't match model \(64\*64\)\."):
            model(pixel_values=pixels(1), conditional_pixel_values=pixels(1, 32, 48), interpolate_pos_encoding=False)


# The documented call


def test_embeddings_win_over_texts_and_texts_over_pictures() -> None:
    model, picture = segmenter(), {"conditional_pixel_values": pixels(2, seed=5)}
    given = {"conditional_embeddings": vectors(2, 12)}
    with torch.no_grad():
        everything = model(pixel_values=pixels(2), **texts(2), **picture, **given)
        text = model(pixel_values=pixels(2), **texts(2), **picture)
        assert torch.equal(everything.logits, model(pixel_values=pixels(2), **given).logits)
        assert torch.equal(text.logits, model(pixel_values=pixels(2), **texts(2)).logits)
        assert torch.equal(text.conditional_embeddings, model.clip.get_text_features(**texts(2)))
        assert torch.equal(text.conditional_embeddings, model.get_conditional_embeddings(2, **texts(2)))


def test_arguments_may_be_given_by_position() -> None:
    model = segmenter()
    with torch.no_grad():
        by_position = model(texts(2)["input_ids"], pixels(2), None, None, texts(2)["attention_mask"])
        assert torch.equal(by_position.logits, model(pixel_values=pixels(2), **texts(2)).logits)


def test_states_and_attentions_are_there_when_asked_for() -> None:
    model = segmenter()
    inputs = {"pixel_values": pixels(2), **texts(2)}
    with torch.no_grad():
        plain = model(**inputs)
        full = model(**inputs, output_hidden_states=True, output_attentions=True)
        model.config.output_hidden_states = True
        configured = model(**inputs)
    assert plain.vision_model_output.hidden_states is None
    assert plain.decoder_output.hidden_states is plain.decoder_output.attentions is None
    assert [tuple(state.shape) for state in full.vision_model_output.hidden_states] == [(2, 17, 24)] * 5
    assert [tuple(weights.shape) for weights in full.vision_model_output.attentions] == [(2, 3, 17, 17)] * 4
    assert [tuple(state.shape) for state in full.decoder_output.hidden_states] == [(2, 17, 8)] * 3
    assert [tuple(weights.shape) for weights in full.decoder_output.attentions] == [(2, 4, 17, 17)] * 3
    assert len(configured.decoder_output.hidden_states) == 3
    assert configured.decoder_output.attentions is None
    assert close(full.logits, plain.logits)


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.int64, torch.float64])
def test_labels_are_masks_of_any_type(kind: torch.dtype) -> None:
    model = segmenter()
    labels = (pixels(2)[:, 0] > 0).to(kind)
    with torch.no_grad():
        output = model(pixel_values=pixels(2), **texts(2), labels=labels)
    probabilities = output.logits.double().sigmoid()
    expected = -torch.where(labels.bool(), probabilities, 1 - probabilities).log().mean()
    assert output.loss.dtype == torch.float32
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-5)


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(PromptError, match=r"labels have shape \(2, 32, 32\) but the logits \(2, 64, 64\)"):
        mask_loss(torch.zeros(2, 64, 64), torch.zeros(2, 32, 32))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Invalid conditional, should be either provided as"),
        (texts(3), "Make sure to pass as many prompt texts as there are query images"),
        ({"conditional_pixel_values": pixels(1)}, "Make sure to pass as many prompt images as there are query images"),
        (
            {"conditional_embeddings": torch.zeros(1, 12)},
            "Make sure to pass as many conditional embeddings as there are query images in the batch",
        ),
        (
            {"conditional_embeddings": torch.zeros(2, 13)},
            "Make sure that the feature dimension of the conditional embeddings matches",
        ),
        ({"conditional_embeddings": torch.zeros(2)}, "Make sure that the feature dimension"),
    ],
)
def test_conditions_that_do_not_fit(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=f"^{message}") as caught:
        segmenter()(pixel_values=pixels(2), **inputs)
    assert isinstance(caught.value, ValueError)


def test_pixels_are_needed() -> None:
    with pytest.raises(PictureError, match=r"^You have to specify pixel_values"):
        segmenter()(**texts(2))


# Configurations that contradict themselves


@pytest.mark.parametrize("conditional_layer", [-1, 3])
def test_a_condition_outside_the_decoder_is_refused(conditional_layer: int) -> None:
    with pytest.raises(ConfigurationError, match="the decoder has steps 0 to 2"):
        segmenter(conditional_layer=conditional_layer)


@pytest.mark.parametrize("layers", [[], [-1], [0, 4]])
def test_taps_outside_the_tower_are_refused(layers: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="must name vision layers from 0 to 3"):
        segmenter(extract_layers=layers)


def test_the_wrong_kind_of_configuration_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a CLIPSegConfig, got a CLIPSegTextConfig"):
        CLIPSegForImageSegmentation(config().text_config)  # type: ignore[arg-type]
    mixed = config()
    mixed.text_config = mixed.vision_config  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"config\.text_config is expected to be of type CLIPSegTextConfig"):
        CLIPSegForImageSegmentation(mixed)


# Gradients


def test_clip_is_frozen_unless_the_configuration_says_otherwise() -> None:
    frozen, free = segmenter(), segmenter(freeze_clip=False)
    for model in (frozen, free):
        assert all(weight.requires_grad for weight in model.decoder.parameters())
    assert not any(weight.requires_grad for weight in frozen.clip.parameters())
    assert all(weight.requires_grad for weight in free.clip.parameters())
    assert frozen.num_parameters(only_trainable=True) == sum(p.numel() for p in frozen.decoder.parameters())
    assert free.num_parameters(only_trainable=True) == free.num_parameters() == frozen.num_parameters()


def test_gradients_reach_prompts_and_pixels_of_a_frozen_model() -> None:
    model = segmenter()
    conditions, query, prompt = vectors(2, 12).requires_grad_(), pixels(2).requires_grad_(), pixels(2).requires_grad_()
    model(pixel_values=query, conditional_embeddings=conditions).logits.square().mean().backward()
    model(pixel_values=pixels(2), conditional_pixel_values=prompt).logits.square().mean().backward()
    for given in (conditions, query, prompt):
        assert given.grad is not None
        assert (given.grad.flatten(1).abs().amax(1) > 0).all()
    assert all(weight.grad is None for weight in model.clip.parameters())


def test_the_tower_learns_when_it_is_free() -> None:
    model = segmenter(freeze_clip=False)
    model(pixel_values=pixels(2), **texts(2), labels=torch.zeros(2, 64, 64)).loss.backward()
    for used in (model.clip.vision_model.encoder.layers[0], model.clip.text_model, model.decoder):
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in used.parameters())
    assert model.clip.vision_model.encoder.layers[3].mlp.fc1.weight.grad is None  # only for the pooled output


def test_gradient_checkpointing_changes_no_gradient() -> None:
    model = segmenter(freeze_clip=False).train()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(pixel_values=pixels(2, 80), **texts(2), labels=torch.ones(2, 80, 80)).loss.backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    calls: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, Layer):
            module.register_forward_pre_hook(lambda module, _: calls.append(module))
    plain, once = gradients(), len(calls)
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    again = gradients()
    assert len(calls) - once > once  # layers ran again in the backward pass
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


# Types of numbers


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_takes_float_inputs(kind: torch.dtype, tolerance: float) -> None:
    model = segmenter()
    conditions = vectors(2, 12)
    inputs: list[dict[str, Any]] = [
        texts(2),
        {"conditional_pixel_values": pixels(2, 48)},
        {"conditional_embeddings": conditions},
    ]
    with torch.no_grad():
        whole = [model(pixel_values=pixels(2, 80), **condition).logits for condition in inputs]
        model.to(kind)
        for condition, expected in zip(inputs, whole, strict=True):
            logits = model(pixel_values=pixels(2, 80), **condition).logits
            assert logits.dtype == kind
            assert (logits.float() - expected).abs().mean() < tolerance
        assert model.decode(model.encode_images(pixels(2)), conditions).dtype == kind


def test_dtype_and_device_are_those_of_the_weights() -> None:
    model = segmenter()
    assert (model.dtype, model.device) == (torch.float32, torch.device("cpu"))
    assert model.to(torch.float16).dtype == torch.float16
    with torch.device("meta"):
        assert CLIPSegForImageSegmentation(CLIPSegConfig()).device.type == "meta"
