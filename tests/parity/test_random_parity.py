"""Every model class against the reference implementation, on random configurations, inputs and flags."""

import dataclasses
from typing import Any

import pytest
import torch

from cases import ACTIVATIONS, CLASSES, COMPARING, FLAGS, PROBLEMS, READING, Case, case, topics
from clipseg.modeling.outputs import ModelOutput
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from tiny import END, clip_config, config, model, pixels, randomise, texts
from twins import Twin, difference

TOLERANCE = 1e-5
CASES = range(360)


def reference_inputs(drawn: Case) -> dict[str, Any]:
    """The reference takes masks as floats alone."""
    masks = drawn.cls is CLIPSegForImageSegmentation and "labels" in drawn.inputs
    return {**drawn.inputs, **({"labels": drawn.inputs["labels"].float()} if masks else {})}


def only_seen(answer: Any, seen: torch.Tensor | None) -> Any:
    """An answer with zeros for the tokens (B, S) of texts that see nothing: anything finite may stand there."""
    if seen is None:
        return answer
    if hasattr(answer, "text_model_output"):
        return dataclasses.replace(answer, text_model_output=only_seen(answer.text_model_output, seen))

    def blank(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(blank, value))
        shapes = {3: seen[:, :, None], 4: seen[:, None, :, None]}  # states (B, S, D), attentions (B, h, S, S)
        return torch.where(shapes[value.dim()], value, 0) if value.dim() in shapes else value

    return type(answer)(**{name: blank(value) for name, value in answer.items()})


@pytest.mark.parametrize("number", CASES)
def test_everything_is_the_reference_s(number: int) -> None:
    drawn = case(number)
    ours = randomise(drawn.cls(drawn.config), number).eval()
    wants_object = drawn.wants("return_dict")
    with torch.no_grad():
        answer = ours(**drawn.inputs, **drawn.flags)
        other = ours(**drawn.inputs, **{**drawn.flags, "return_dict": not wants_object})
    whole, plain = (answer, other) if wants_object else (other, answer)
    assert isinstance(whole, ModelOutput)
    assert difference(plain, whole.to_tuple()) == 0  # never so if anything is not a number

    twin = Twin(ours, str(drawn.config.attn_implementation))
    theirs = twin(drawn.wants("output_hidden_states"), drawn.wants("output_attentions"), **reference_inputs(drawn))
    assert difference(only_seen(whole, drawn.seen), only_seen(theirs, drawn.seen)) <= TOLERANCE


def test_the_draw_covers_what_it_should() -> None:
    cases = [case(number) for number in CASES]
    assert len(cases) >= 220
    found = topics(cases)
    assert found["activation"] == set(ACTIVATIONS)
    assert found["patch"] == {2, 4, 8, 16, 32}
    assert found["eos"] == {2, END}
    assert found["conditional layer"] == {0, 1, 2}
    assert found["refined"] == {True, False}
    assert found["classes"] == {0, 1, 2, 3}
    assert found["problem"] == set(PROBLEMS)
    assert found["condition"] == {"text", "picture", "embedding", "text and picture", "all"}
    for cls in CLASSES:
        own = [drawn for drawn in cases if drawn.cls is cls]
        found = topics(own)
        assert len(own) >= 20
        assert found["attention"] == {"eager", "sdpa"}
        for flag in FLAGS:
            assert found[flag] == {None, True, False}
            assert found[f"configured {flag}"] == {True, False}
            assert {drawn.wants(flag) for drawn in own if flag not in drawn.flags} == {True, False}
        if cls in (*COMPARING, *READING):
            assert found["padding"] == {"right", "left", "none"}
            assert found["mask"] == {None, "long", "bool", "square"}
            assert found["positions"] == {None, "of each", "of all"}
        if cls not in READING:
            assert found["repeated"] == {"no", "some", "all", "one in memory"}
        if cls in COMPARING:
            assert found["return_loss"] == {None, True, False}
        if cls is CLIPSegForImageSegmentation:
            assert found["size"] == {"table", "square", "nearly square"}
            assert found["labels"] == {None, "float", "bool", "long"}
        elif cls not in READING:
            assert found["interpolate_pos_encoding"] == {None, True, False}
            assert found["size"] == {"table", "square", "nearly square", "oblong", "as many"}


UNUSED = {
    "CLIPForImageClassification": "vision_model.post_layernorm",
    "CLIPSegForImageSegmentation": "clip.logit_scale",
}
"""Parameters that a class holds because its files do."""


@pytest.mark.parametrize("cls", CLASSES)
def test_the_comparison_would_notice_one_percent_of_any_parameter(cls: type[PreTrainedModel]) -> None:
    torch.manual_seed(0)
    text, vision = {"num_hidden_layers": 1}, {"num_hidden_layers": 2}
    whole = config(text, vision, extract_layers=[0, 1]) if "Seg" in cls.__name__ else clip_config(text, vision)
    ours = model(cls, whole)
    inputs: dict[str, Any] = texts(2) if cls in READING else {"pixel_values": pixels(2)}
    if cls in (*COMPARING, CLIPSegForImageSegmentation):
        inputs |= texts(2)
    theirs = Twin(model(cls, whole), "sdpa")(True, **inputs)
    with torch.no_grad():
        assert difference(ours(**inputs, output_hidden_states=True), theirs) <= TOLERANCE
        for name, parameter in ours.named_parameters():
            if name.endswith("k_proj.bias") or name.startswith(UNUSED.get(cls.__name__, "-")):
                continue  # a bias of keys adds the same to all scores of a query, so attention is blind to it
            kept = parameter.clone()
            parameter.mul_(1 + 0.01 * torch.rand(parameter.shape))  # not evenly: normalised embeddings would not change
            assert difference(ours(**inputs, output_hidden_states=True), theirs) > 10 * TOLERANCE, name
            parameter.copy_(kept)
