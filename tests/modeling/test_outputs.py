"""Outputs are ordered, dict-like, and do not show what is not there."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from clipseg.modeling.outputs import BaseModelOutputWithPooling, CLIPSegImageSegmentationOutput, ModelOutput

LOGITS, EMBEDDING, STATES = torch.zeros(1, 2, 2), torch.ones(1, 3), torch.full((1, 5, 4), 2.0)


@pytest.fixture
def output() -> CLIPSegImageSegmentationOutput:
    tower = BaseModelOutputWithPooling(last_hidden_state=STATES, hidden_states=(STATES, STATES))
    return CLIPSegImageSegmentationOutput(logits=LOGITS, pooled_output=EMBEDDING, vision_model_output=tower)


def test_fields_that_are_none_are_absent(output: CLIPSegImageSegmentationOutput) -> None:
    assert list(output) == list(output.keys()) == ["logits", "pooled_output", "vision_model_output"]
    assert len(output) == len(output.values()) == 3
    assert dict(output.items())["logits"] is LOGITS
    assert output.loss is None
    assert "loss" not in output
    assert "logits" in output
    assert output.get("loss") is None
    assert output.get("loss", 1) == 1
    with pytest.raises(KeyError):
        output["loss"]


def test_access_by_attribute_key_index_and_slice(output: CLIPSegImageSegmentationOutput) -> None:
    assert output.logits is output["logits"] is output[0] is output[:2][0] is LOGITS
    assert output[1] is output[:2][1] is EMBEDDING
    assert output[-1] is output.vision_model_output
    with pytest.raises(IndexError):
        output[3]


def test_fields_can_be_set(output: CLIPSegImageSegmentationOutput) -> None:
    output["loss"] = LOGITS.sum()
    assert next(iter(output)) == "loss"
    assert output[1] is LOGITS
    output.loss = None
    assert output[0] is LOGITS
    with pytest.raises(KeyError, match="has no field 'lost'"):
        output["lost"] = LOGITS


def test_tuples_are_recursive(output: CLIPSegImageSegmentationOutput) -> None:
    logits, pooled, tower = output.to_tuple()
    assert logits is LOGITS
    assert pooled is EMBEDDING
    assert type(tower) is tuple
    assert tower[0] is STATES
    assert type(tower[1]) is tuple


def test_it_can_be_spread_as_keywords(output: CLIPSegImageSegmentationOutput) -> None:
    again = CLIPSegImageSegmentationOutput(**output)
    assert again.logits is LOGITS
    assert isinstance(again.vision_model_output, ModelOutput)


def same(left: ModelOutput, right: ModelOutput) -> bool:
    """The same class with equal tensors under the same names, all the way down."""
    return (
        type(left) is type(right)
        and list(left) == list(right)
        and all(map(torch.equal, pytree.tree_leaves(left), pytree.tree_leaves(right)))
    )


def test_it_is_a_dictionary(output: CLIPSegImageSegmentationOutput) -> None:
    assert isinstance(output, dict)
    assert list(dict(output)) == list({**output}) == list(output)
    with pytest.raises(TypeError, match="can be set one by one, but not removed"):
        output.pop("logits")
    with pytest.raises(TypeError, match="not removed"):
        del output["logits"]
    assert "logits" in output


@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, lambda output: pickle.loads(pickle.dumps(output)), lambda output: output.copy()],
)
def test_copies_are_whole(output: CLIPSegImageSegmentationOutput, through: Callable[[Any], Any]) -> None:
    again = through(output)
    assert again is not output
    assert same(again, output)
    again.logits = None
    assert "logits" in output


def test_torch_s_tree_functions_go_through_it(output: CLIPSegImageSegmentationOutput) -> None:
    leaves, spec = pytree.tree_flatten(output)
    assert len(leaves) == 5
    assert same(pytree.tree_unflatten(leaves, spec), output)
    doubled = pytree.tree_map(lambda tensor: tensor * 2, output)
    assert torch.equal(doubled.vision_model_output.hidden_states[1], STATES * 2)


def test_data_parallel_gathers_it(output: CLIPSegImageSegmentationOutput) -> None:
    """`gather` makes an output of pairs of names and values, as it makes any dictionary."""
    again = type(output)((name, output[name]) for name in output)  # type: ignore[arg-type]
    assert same(again, output)
    assert again.vision_model_output is output.vision_model_output
