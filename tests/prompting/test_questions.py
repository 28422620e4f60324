import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ready
from clipseg.errors import PromptError
from clipseg.prompting.expressions import Grow, Not
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, TextPrompt, parse
from clipseg.prompting.questions import Question, distinct_prompts

FACE, HAIR, HAT = map(TextPrompt, ("face", "hair", "a hat"))


def test_each_prompt_once_in_order_of_appearance():
    question = Question.of(["face AND NOT hair", "hair", "a hat | face"], negative="hair")
    assert question.prompts == (FACE, HAIR, HAT)
    assert question.labels == ("face AND NOT hair", "hair", "a hat | face")
    assert question.negatives == (HAIR,)
    assert distinct_prompts(["face AND NOT hair", "face"], ["a hat OR hair"]) == (FACE, HAIR, HAT)
    assert distinct_prompts("face") == (FACE,)


def test_pictures_are_one_prompt_only_where_they_are_one_object():
    jar, other = ImagePrompt("jar.jpg"), ImagePrompt("jar.jpg")
    assert distinct_prompts([jar & FACE, ~jar, other]) == (jar, FACE, other)
    ready_made = EmbeddingPrompt(torch.ones(3))
    assert distinct_prompts([ready_made & FACE, ready_made]) == (ready_made, FACE)
    mixed = 0.5 * jar + 0.5 * FACE
    assert distinct_prompts([mixed, mixed & FACE]) == (mixed, FACE), "a mix is decoded as one"


@pytest.mark.parametrize("nothing", [(), [], iter([])])
def test_nothing_asked(nothing):
    with pytest.raises(PromptError, match="no prompts given"):
        Question.of(nothing)
    with pytest.raises(PromptError, match="a prompt is a phrase or a prompt"):
        Question.of("face", [7])


def test_plain_prompts_are_answered_without_a_copy():
    logits = torch.randn(3, 4, 5)
    terms, negatives = Question.of(["face", "hair"], "a hat").answers(logits, (40, 50))
    assert terms.data_ptr() == logits.data_ptr()
    assert torch.equal(terms, logits[:2])
    assert torch.equal(negatives, logits[2:])
    assert Question.of(["face"]).answers(logits[:1], (40, 50))[1] is None


TEXTS = st.sampled_from(["a", "b", "c", "a AND b", "a OR NOT c", "NOT b", "(a | b) & c{*2}", "a{+10}"])


@given(st.lists(TEXTS, min_size=1, max_size=5), st.lists(TEXTS, max_size=3), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_answers_do_not_depend_on_company_or_order(texts, negatives, random):
    single = {name: torch.randn(6, 8, generator=torch.Generator().manual_seed(ord(name))) for name in "abc"}

    def answers(texts, negatives=()):
        question = Question.of(texts, negatives)
        logits = torch.stack([single[prompt.label] for prompt in question.prompts])
        return question.answers(logits, (30, 40))

    together, unwanted = answers(texts, negatives)
    assert together.shape == (len(texts), 6, 8)
    for text, logits in zip(texts, together, strict=True):
        assert torch.equal(logits, answers([text])[0][0])
    for text, logits in zip(negatives, () if unwanted is None else unwanted, strict=True):
        assert torch.equal(logits, answers([text])[0][0])
    order = random.sample(range(len(texts)), len(texts))
    assert torch.equal(answers([texts[place] for place in order], negatives)[0], together[order])


def test_pixels_are_those_of_the_picture():
    """The same radius reaches over more cells where a cell is smaller in the picture."""
    point = torch.full((1, 9, 9), -5.0)
    point[0, 4, 4] = 5
    question = Question.of(Grow(FACE, 20))
    high = question.answers(point, (90, 180))[0][0] > 0  # a cell is 10 high and 20 wide
    assert high[:, 4].sum() == 5
    assert high[4].sum() == 3
    assert not (question.answers(point, (900, 900))[0][0] > 0).sum() > 1


def test_a_segmenter_encodes_and_decodes_each_once(monkeypatch):
    segmenter = ready.segmenter()
    texts, decoded = [], []
    segmenter.model.clip.text_model.register_forward_pre_hook(
        lambda _, args, kwargs: texts.append(len(args[0])), with_kwargs=True
    )
    decode = segmenter.model.decode
    monkeypatch.setattr(
        segmenter.model,
        "decode",
        lambda encoded, conditions: decoded.append(len(conditions)) or decode(encoded, conditions),
    )
    asked = ["a cat AND NOT wood", "wood | a cat", "a cat", parse("jar AND wood", {"jar": 0.5 * TextPrompt("a cat")})]
    masks = segmenter.segment(ready.picture(), asked, negative="wood")
    assert sum(texts) == 2
    assert sum(decoded) == 3
    assert tuple(masks.labels) == ("a cat AND NOT wood", "wood | a cat", "a cat", "jar AND wood")


def test_a_segmenter_means_by_an_expression_what_its_masks_do():
    segmenter, picture = ready.segmenter(), ready.picture()
    single = segmenter.segment(picture, ["a cat", "wood"]).logits
    both = segmenter.segment(picture, ["a cat AND NOT wood", "a cat OR wood", Not(TextPrompt("wood"))]).logits
    torch.testing.assert_close(both[0], torch.minimum(single[0], -single[1]))
    torch.testing.assert_close(both[1], torch.maximum(single[0], single[1]))
    torch.testing.assert_close(both[2], -single[1])
