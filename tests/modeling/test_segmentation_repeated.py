"""The forward call given one picture several times, which is the documented way to ask several things of it."""

import weakref
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from clipseg.modeling.outputs import CLIPSegImageSegmentationOutput
from tiny import pixels, segmenter, texts


def close(ours: torch.Tensor, expected: torch.Tensor) -> bool:
    return ours.shape == expected.shape and torch.allclose(ours, expected, rtol=0, atol=1e-5)


def repeated(order: list[int]) -> dict[str, Any]:
    return {"pixel_values": pixels(3)[order], **texts(len(order))}


def apart(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("clipseg.modeling.segmentation.distinct_rows", lambda pictures: (pictures, None))
    return monkeypatch


@pytest.mark.parametrize("order", [[0, 0, 0], [0, 1, 0, 2, 1], [1, 2, 2]])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_equal_pictures_are_encoded_once(order: list[int], attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = segmenter(), []
    model.set_attn_implementation(attention)
    model.clip.vision_model.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    options = {"output_hidden_states": True, "output_attentions": True, "labels": torch.zeros(len(order), 64, 64)}
    with torch.no_grad():
        once = model(**repeated(order), **options)
        with apart(monkeypatch).context():
            each = model(**repeated(order), **options)
    assert seen == [len(set(order)), len(order)]
    assert pytree.tree_structure(once) == pytree.tree_structure(each)
    assert all(map(close, pytree.tree_leaves(once), pytree.tree_leaves(each)))
    for value in pytree.tree_leaves(once):
        value[value > 0] = 0  # every row has memory of its own


def test_equal_prompt_pictures_are_encoded_once() -> None:
    model, seen = segmenter(), []
    model.clip.vision_model.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with torch.no_grad():
        once = model(pixel_values=pixels(3), conditional_pixel_values=pixels(2, 80)[[0, 1, 0]])
        expected = model.clip.get_image_features(pixels(2, 80))[[0, 1, 0]]
    assert seen[:2] == [2, 3]
    assert close(once.conditional_embeddings, expected)


def test_gradients_of_repeated_pictures_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(**options: Any) -> list[torch.Tensor]:
        model = segmenter(freeze_clip=False).train()
        output = model(**repeated([0, 1, 0]), **options)
        (output.logits.square().sum() + output.pooled_output.sum()).backward()
        return [weight.grad for weight in model.parameters() if weight.grad is not None]

    once, with_states = gradients(), gradients(output_hidden_states=True)
    apart(monkeypatch)
    for left, middle, right in zip(once, with_states, gradients(), strict=True):
        for ours in (left, middle):
            assert torch.allclose(ours, right, rtol=1e-3, atol=1e-3)


def test_gradients_reach_every_one_of_repeated_pictures() -> None:
    model, inputs = segmenter(), repeated([0, 0])
    pictures = inputs["pixel_values"].requires_grad_()
    model(**inputs).logits.square().sum().backward()
    assert (pictures.grad.flatten(1).abs().sum(1) > 0).all()


def test_states_keep_their_gradients_where_pictures_repeat() -> None:
    output = segmenter(freeze_clip=False)(**repeated([0, 0]), output_hidden_states=True, output_attentions=True)
    state, weights = output.vision_model_output.hidden_states[0], output.vision_model_output.attentions[0]
    state.retain_grad()
    weights.retain_grad()
    output.logits.sum().backward()
    assert state.grad is not None
    assert weights.grad is not None


def test_dropout_differs_between_equal_pictures() -> None:
    model = segmenter(vision={"attention_dropout": 0.5})
    with torch.no_grad():
        assert close(*model(**repeated([0, 0])).pooled_output.split(1))
        torch.manual_seed(0)
        first, second = model.train()(**repeated([0, 0])).pooled_output
    assert not torch.allclose(first, second, atol=0.01)


def test_only_the_taps_are_kept_alive() -> None:
    """Of the states between layers those that nobody asked for are gone when the call is over."""
    model = segmenter()
    states: list[weakref.ref[torch.Tensor]] = []
    for layer in model.clip.vision_model.encoder.layers:
        layer.register_forward_hook(lambda _, __, output: states.append(weakref.ref(output[0])))
    alive: list[int] = []
    model.decoder.register_forward_pre_hook(lambda *_: alive.append(sum(state() is not None for state in states)))
    with torch.no_grad():
        model(pixel_values=pixels(1), **texts(1))
    assert len(states) == 4
    assert alive == [1]  # the last, which is answered


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_compiled_exported_and_traced() -> None:
    model, inputs = segmenter(), repeated([0, 1])
    with torch.no_grad():
        expected = model(**inputs).logits
        compiled = torch.compile(model, backend="eager", fullgraph=True)(**inputs)
        assert type(compiled) is CLIPSegImageSegmentationOutput
        assert close(compiled.logits, expected)
        assert close(torch.export.export(model, (), inputs).module()(**inputs).logits, expected)
        model.config.torchscript = True  # tuples, as tracing needs them
        ids, pictures = inputs["input_ids"], inputs["pixel_values"]
        traced = torch.jit.trace(model, (ids, pictures), check_trace=False)
        assert close(traced(ids.flip(0), pictures.flip(0))[0], model(ids.flip(0), pictures.flip(0))[0])
