"""The text tower: where a text ends, padding of all sorts, and what is too long."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import PromptError
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection, TextTransformer
from tiny import END, START, clip_config, config, randomise, texts
from tiny import model as tiny_model


def tower(eos: int | None = END) -> CLIPSegTextModel:
    return randomise(CLIPSegTextModel(config(text={"eos_token_id": eos}).text_config)).eval()


@pytest.mark.parametrize(
    ("eos", "ids", "position"),
    [
        (2, [START, 5, END, END], 2),  # the first of the highest ids
        (2, [START, 5, 2, 7], 0),  # 2 is not looked for: the highest id is the start here
        (END, [START, 5, END, 0], 2),
        (END, [START, END, 5, END], 1),
        (7, [START, END, 7, 3], 2),
        (7, [7, 7, 7, 7], 0),
    ],
)
def test_the_end_of_a_text(eos: int, ids: list[int], position: int) -> None:
    transformer = TextTransformer(config(text={"eos_token_id": eos}).text_config)
    assert transformer.end_positions(torch.tensor([ids])).tolist() == [position]


@pytest.mark.parametrize("eos", [2, END])
def test_the_state_at_the_end_is_pooled(eos: int) -> None:
    output = tower(eos)(**texts(4))
    ends = texts(4)["input_ids"].eq(END).int().argmax(1)
    assert len(set(ends.tolist())) == 4
    assert torch.equal(output.pooler_output, output.last_hidden_state[torch.arange(4), ends])


def test_a_text_without_end_warns_and_pools_its_start() -> None:
    ids = torch.tensor([[START, 4, 5], [START, 4, END]])
    with pytest.warns(UserWarning, match="no end-of-text token"):
        output = tower()(ids)
    assert torch.equal(output.pooler_output[0], output.last_hidden_state[0, 0])
    assert torch.equal(output.pooler_output[1], output.last_hidden_state[1, 2])


def test_the_warning_comes_once_a_model() -> None:
    model, ids = tower(), torch.tensor([[START, 4, 5]])
    with pytest.warns(UserWarning, match="no end-of-text token"):
        model(ids)
    model(ids)  # warnings are errors in these tests


def test_no_end_at_all_is_a_text_without_end() -> None:
    with pytest.warns(UserWarning, match="no end-of-text token"):
        output = tower(None)(texts(2)["input_ids"])
    assert torch.equal(output.pooler_output, output.last_hidden_state[:, 0])


@settings(max_examples=25, deadline=None)
@given(
    words=st.lists(st.integers(3, START - 1), max_size=8),
    padding=st.integers(0, 10),
    pad=st.sampled_from([0, 1, END]),
    eos=st.sampled_from([2, END]),
    masked=st.booleans(),
)
def test_right_padding_never_matters(words: list[int], padding: int, pad: int, eos: int, masked: bool) -> None:
    model = tower(eos)
    text = [START, *words, END]
    ids = torch.tensor([text + [pad] * padding])
    mask = torch.tensor([[1] * len(text) + [0] * padding]) if masked else None
    with torch.no_grad():
        pooled = model(ids, mask).pooler_output
        alone = model(torch.tensor([text])).pooler_output
    assert torch.allclose(pooled, alone, rtol=0, atol=5e-6), "but for the order of sums"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_rows_that_see_nothing_stay_finite(attention: str, kind: torch.dtype) -> None:
    model = tower().to(kind)
    model.set_attn_implementation(attention)
    mask = torch.ones(3, 9).long()
    mask[0] = 0  # a text that is all padding
    mask[1, :4] = 0  # padded on the left
    with torch.no_grad():
        output = model(texts(3)["input_ids"], mask)
        full = model(texts(3)["input_ids"])
    assert output.last_hidden_state.isfinite().all()
    assert torch.allclose(output.last_hidden_state[2], full.last_hidden_state[2], rtol=0, atol=1e-5)
    assert not torch.allclose(output.last_hidden_state[1], full.last_hidden_state[1], atol=0.01)


def test_both_attentions_agree_under_padding() -> None:
    model, mask = tower(), torch.ones(2, 9).long()
    mask[0, :3] = 0
    with torch.no_grad():
        sdpa = model(texts(2)["input_ids"], mask)
        model.set_attn_implementation("eager")
        eager = model(texts(2)["input_ids"], mask)
    assert torch.allclose(sdpa.last_hidden_state, eager.last_hidden_state, rtol=0, atol=1e-5)


def test_later_tokens_are_not_seen() -> None:
    model, ids = tower(), texts(1)["input_ids"]
    changed = ids.clone()
    changed[0, 5] = 3 if ids[0, 5] != 3 else 4
    with torch.no_grad():
        before, after = model(ids).last_hidden_state, model(changed).last_hidden_state
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=0.01)


def test_a_mask_of_four_dimensions_is_used_as_it_is() -> None:
    model, ids = tower(), texts(2)["input_ids"]
    causal = torch.full((9, 9), torch.finfo(torch.float32).min).triu(1)[None, None]
    with torch.no_grad():
        assert torch.allclose(model(ids, causal)[0], model(ids)[0], rtol=0, atol=1e-6)
        assert not torch.allclose(model(ids, torch.zeros(1, 1, 9, 9))[0], model(ids)[0], atol=0.01)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_such_a_mask_may_be_of_truths(attention: str) -> None:
    model, ids = tower(), texts(2)["input_ids"]
    model.set_attn_implementation(attention)
    with torch.no_grad():
        assert torch.allclose(model(ids, torch.ones(1, 1, 9, 9).bool().tril())[0], model(ids)[0], rtol=0, atol=1e-6)


def test_leading_axes_are_flattened() -> None:
    model, ids = tower(), texts(4)["input_ids"]
    mask = torch.ones_like(ids).reshape(2, 2, 9)
    mask[0, 1, :2] = 0
    with torch.no_grad():
        assert torch.equal(model(ids.reshape(2, 2, 9))[1], model(ids)[1])
        assert torch.equal(model(ids.reshape(2, 2, 9), mask)[1], model(ids, mask.reshape(4, 9))[1])


def test_positions_may_be_given_once_or_for_each_text() -> None:
    model, ids = tower(), texts(2)["input_ids"]
    straight, reverse = torch.arange(9), torch.arange(9).flip(0)
    with torch.no_grad():
        assert torch.equal(model(ids, position_ids=straight)[0], model(ids)[0])
        assert torch.equal(model(ids, position_ids=straight[None])[0], model(ids)[0])
        both = model(ids, position_ids=torch.stack([straight, reverse]))[0]
        assert torch.equal(both[0], model(ids)[0][0])
        assert torch.equal(both[1], model(ids, position_ids=reverse)[0][1])
        assert not torch.allclose(both[1], model(ids)[0][1], atol=0.01)


def test_the_longest_text_passes_and_a_longer_one_does_not() -> None:
    model = tower()
    assert model(torch.full((1, 20), END)).last_hidden_state.shape == (1, 20, 16)
    with pytest.raises(PromptError, match=r"^Sequence length must be less than max_position_embeddings .* 21 and"):
        model(torch.full((1, 21), END))


def test_ids_are_needed() -> None:
    with pytest.raises(PromptError, match=r"^You have to specify input_ids"):
        tower()()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": torch.ones(1, 3)}, r"input_ids are torch\.float32; expected a tensor of integers"),
        ({"input_ids": torch.ones(1, 3).bool()}, r"input_ids are torch\.bool; expected"),
        ({"input_ids": [[START, END]]}, r"input_ids are list; expected a tensor"),
        ({"input_ids": torch.tensor([[START, 60, END]])}, "input_ids reach from 58 to 60, but the model knows 0 to 59"),
        ({"input_ids": torch.tensor([[START, -1, END]])}, "input_ids reach from -1 to 59"),
        ({"attention_mask": torch.ones(2, 8)}, r"attention_mask has shape \(2, 8\); expected that of .* \(2, 9\)"),
        ({"attention_mask": torch.ones(9)}, r"attention_mask has shape \(9,\)"),
        ({"position_ids": torch.arange(8)}, r"position_ids have shape \(8,\); expected \(9,\) or \(2, 9\)"),
        ({"position_ids": torch.arange(9) + 12}, "position_ids reach from 12 to 20, but the model knows 0 to 19"),
        ({"position_ids": torch.arange(9.0)}, r"position_ids are torch\.float32"),
    ],
)
def test_inputs_that_cannot_be(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        tower()(**{"input_ids": texts(2)["input_ids"], **inputs})


def test_short_integers_are_ids_too() -> None:
    model, ids = tower(), texts(2)["input_ids"]
    assert torch.equal(model(ids.int())[0], model(ids)[0])


def test_clip_s_tower_is_the_same_tower() -> None:
    model = tower()
    clip = CLIPTextModel(clip_config().text_config).eval()
    clip.load_state_dict(model.state_dict())
    assert torch.equal(clip(**texts(2))[0], model(**texts(2))[0])
    with pytest.raises(TypeError, match="hidden_states"):
        clip(**texts(1), hidden_states=True)


def test_a_projection_on_top() -> None:
    model = tiny_model(CLIPTextModelWithProjection, clip_config())
    output = model(**texts(2), output_hidden_states=True, output_attentions=True)
    tower_output = model.text_model(**texts(2), output_hidden_states=True)
    assert list(output) == ["text_embeds", "last_hidden_state", "hidden_states", "attentions"]
    assert output.text_embeds.shape == (2, 10)
    assert torch.allclose(output.text_embeds, model.text_projection(tower_output.pooler_output), atol=1e-6)
    assert torch.allclose(output.last_hidden_state, tower_output.last_hidden_state, atol=1e-5)
    as_tuple = model(**texts(2), return_dict=False)
    assert type(as_tuple) is tuple
    assert torch.allclose(as_tuple[0], output.text_embeds, atol=1e-5)


def test_states_and_attentions() -> None:
    model = tower()
    output = model(**texts(2), output_hidden_states=True, output_attentions=True)
    assert [tuple(state.shape) for state in output.hidden_states] == [(2, 9, 16)] * 3
    assert [tuple(weights.shape) for weights in output.attentions] == [(2, 2, 9, 9)] * 2
    assert torch.equal(model.text_model.final_layer_norm(output.hidden_states[-1]), output.last_hidden_state)
    assert torch.allclose(output.attentions[0].sum(-1), torch.ones(2, 2, 9))
    assert not output.attentions[0].triu(1).any()


def test_the_token_embedding_can_be_replaced() -> None:
    model = tower()
    model.set_input_embeddings(torch.nn.Embedding(100, 16))
    assert model.get_input_embeddings().num_embeddings == 100
    assert model.get_output_embeddings() is None
    assert model(torch.tensor([[99, END]])).pooler_output.shape == (1, 16)
