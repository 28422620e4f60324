import pytest
from tokenizers import AddedToken

from clipseg.errors import PromptError, UsageError
from clipseg.processing.special_tokens import ROLES
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"


@pytest.fixture
def tokenizer():
    return CLIPTokenizer(*train_vocabulary(["low low lower"], 520))


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_be_set_and_unset(tokenizer, role):
    setattr(tokenizer, f"{role}_id", None)
    assert getattr(tokenizer, role) is getattr(tokenizer, f"{role}_id") is None
    assert role not in tokenizer.special_tokens_map
    setattr(tokenizer, f"{role}_id", 7)
    assert getattr(tokenizer, role) == tokenizer.convert_ids_to_tokens(7)
    setattr(tokenizer, role, END)
    assert getattr(tokenizer, f"{role}_id") == tokenizer.eos_token_id or role == "eos_token"
    assert tokenizer.special_tokens_map[role] == tokenizer.init_kwargs[role] == END


def test_roles_are_of_one_tokenizer(tokenizer):
    other = CLIPTokenizer(tokenizer.get_vocab(), tokenizer._merges)
    tokenizer.pad_token = "l"
    assert other.pad_token == END


def test_a_token_of_a_role_is_in_the_vocabulary(tokenizer):
    with pytest.raises(UsageError, match="add_special_tokens adds it"):
        tokenizer.pad_token = "[PAD]"
    with pytest.raises(UsageError, match="add_special_tokens adds it"):
        tokenizer.additional_special_tokens = ["[PAD]"]
    with pytest.raises(PromptError, match="outside"):
        tokenizer.pad_token_id = 10**6
    with pytest.raises(UsageError, match="a string or an AddedToken"):
        tokenizer.pad_token = 3
    assert tokenizer.pad_token == END


def test_calls_and_completed_ids_follow_the_roles(tokenizer):
    (low,) = tokenizer.encode("low", add_special_tokens=False)
    for bos, eos in (("l", "o"), (None, "o"), ("l", None), (None, None), (START, END)):
        tokenizer.bos_token, tokenizer.eos_token = bos, eos
        start, end = ([] if token is None else [tokenizer.convert_tokens_to_ids(token)] for token in (bos, eos))
        assert tokenizer.encode("low") == tokenizer.build_inputs_with_special_tokens([low]) == [*start, low, *end]
        pair = tokenizer("low", "low", return_special_tokens_mask=True)
        assert pair.input_ids == [*start, low, *end, *end, low, *end]
        assert pair.special_tokens_mask == tokenizer.get_special_tokens_mask([low], [low])
        assert tokenizer.num_special_tokens_to_add(pair=True) == len(pair.input_ids) - 2
        assert tokenizer("low low low", truncation=True, max_length=3).input_ids == tokenizer.encode(
            " ".join(["low"] * (3 - len(start + end)))
        )


def test_added_tokens(tokenizer):
    size, whole = tokenizer.vocab_size, len(tokenizer)
    assert tokenizer.add_tokens(["low lower", AddedToken("xy", lstrip=True)]) == 2
    assert tokenizer.add_tokens("low lower") == tokenizer.add_tokens([]) == 0
    assert (tokenizer.vocab_size, len(tokenizer)) == (size, whole + 2)
    assert tokenizer.encode("a low lower xy", add_special_tokens=False)[1:] == [whole, whole + 1]
    assert tokenizer.added_tokens_encoder["xy"] == tokenizer.get_vocab()["xy"] == tokenizer.vocab["xy"] == whole + 1
    assert tokenizer.added_tokens_decoder[whole + 1].lstrip
    assert "xy" not in tokenizer.all_special_tokens
    assert tokenizer.tokenize("xy") == ["xy"]
    with pytest.raises(UsageError, match="got 3"):
        tokenizer.add_tokens([3])


def test_added_special_tokens(tokenizer):
    assert tokenizer.add_special_tokens({"pad_token": "[PAD]", "cls_token": AddedToken("[CLS]", rstrip=True)}) == 2
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[PAD]", len(tokenizer) - 2)
    assert tokenizer.special_tokens_map_extended["cls_token"].rstrip
    assert tokenizer("low", padding="max_length", max_length=4).input_ids[-1] == tokenizer.pad_token_id
    more = tokenizer.additional_special_tokens
    assert more == []
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["[A]", "[B]"]}) == 2
    assert tokenizer.additional_special_tokens == tokenizer.extra_special_tokens == ["[A]", "[B]"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["[B]", "[C]"]}, replace_additional_special_tokens=False)
    assert tokenizer.additional_special_tokens == ["[A]", "[B]", "[C]"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["[C]"]})
    assert tokenizer.additional_special_tokens == tokenizer.special_tokens_map["additional_special_tokens"] == ["[C]"]
    assert tokenizer.decode(tokenizer.encode("low [A][PAD]"), skip_special_tokens=True) == "low"
    assert tokenizer.all_special_tokens == [START, END, "[PAD]", "[CLS]", "[C]"]
    for wrong in ({"end_token": "x"}, {"additional_special_tokens": "x"}, {"pad_token": 3}):
        with pytest.raises(UsageError):
            tokenizer.add_special_tokens(wrong)


def test_ids_of_additional_tokens(tokenizer):
    tokenizer.additional_special_tokens_ids = [5]
    assert tokenizer.additional_special_tokens == [tokenizer.convert_ids_to_tokens(5)]
    tokenizer.additional_special_tokens_ids = []
    assert tokenizer.additional_special_tokens == tokenizer.additional_special_tokens_ids == []
    tokenizer.additional_special_tokens = None
    assert tokenizer.additional_special_tokens is None
    assert tokenizer.all_special_tokens == [START, END]


def test_special_tokens_as_objects():
    end = AddedToken("[END]", lstrip=True, special=False)
    tokenizer = CLIPTokenizer(*train_vocabulary(["low"], 514), eos_token=end, extra_special_tokens={"a": "[A]"})
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("[END]", 514)
    assert tokenizer.special_tokens_map_extended["eos_token"].lstrip
    assert tokenizer.added_tokens_decoder[514].special
    assert not end.special
    assert tokenizer.encode("l  [END]", add_special_tokens=False)[1:] == [514]
    assert tokenizer.additional_special_tokens == ["[A]"]


def test_a_text_may_not_spell_special_tokens(tokenizer):
    plain = CLIPTokenizer(tokenizer.get_vocab(), tokenizer._merges, split_special_tokens=True)
    assert tokenizer.eos_token_id in tokenizer.encode(END, add_special_tokens=False)
    assert plain.eos_token_id not in plain.encode(END, add_special_tokens=False)
    assert plain.encode("low")[-1] == plain.eos_token_id
