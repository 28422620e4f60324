import enum
import inspect
import os
import threading

import instant_clip_tokenizer
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import real_vocabulary
from clipseg.errors import CheckpointError, PromptError, UsageError
from clipseg.processing.tokenization import MANY, CLIPTokenizer, CLIPTokenizerFast
from clipseg.processing.vocabulary import train_vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = [
    *("l", "o", "w", "e", "r", "s", "t", "i", "d", "n", "lo", "l</w>", "w</w>", "r</w>", "t</w>"),
    *("low</w>", "er</w>", "lowest</w>", "newer</w>", "wider", "<unk>", "<|startoftext|>", "<|endoftext|>"),
]
MERGES = ["l o", "lo w</w>", "e r</w>"]

texts = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="aábcé ÅA\u030a'dlstrv ve1２½☆!?ſİǅ\u0085\u00a0\u200b\u3000\n\t<|>文🙂", max_size=40),
    st.lists(st.sampled_from([START, END, END.upper(), "a", " ", "'ll", "low", "LOWER", "\ufeff"]), max_size=8).map(
        "".join
    ),
)


@pytest.fixture(scope="module")
def tiny():
    return CLIPTokenizer(SYMBOLS, MERGES, unk_token="<unk>")


@pytest.fixture(scope="module")
def trained():
    """A whole (every byte has a symbol) vocabulary, and the reference over the same."""
    phrases = ["a photo of a cat", "a photo of the lower glass", "something to fill", "didn't they'll we've"] * 3
    vocabulary, merges = train_vocabulary(phrases, 540)
    return CLIPTokenizer(vocabulary, merges), transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)


@pytest.fixture(scope="module")
def real():
    """The released vocabulary."""
    return CLIPTokenizer(*real_vocabulary.real_vocabulary(), model_max_length=77)


@pytest.fixture(scope="module")
def independent():
    return instant_clip_tokenizer.Tokenizer()


# The vectors of the tiny vocabulary


def test_tokens(tiny):
    assert tiny.tokenize("lower newer") == tiny.tokenize("LOWER  newer") == ["lo", "w", "er</w>", *"new", "er</w>"]
    assert tiny.convert_tokens_to_ids([*tiny.tokenize("lower newer"), "<unk>"]) == [10, 2, 16, 9, 3, 2, 16, 20]
    assert tiny.tokenize("slow") == ["s", "low</w>"]
    assert tiny.tokenize("lowest") == ["lo", "w", "e", "s", "t</w>"]
    assert tiny.tokenize("low", "er", add_special_tokens=True) == [START, "low</w>", END, END, "er</w>", END]


def test_ids(tiny):
    assert tiny("lower newer") == {"input_ids": [21, 10, 2, 16, 9, 3, 2, 16, 22], "attention_mask": [1] * 9}
    assert tiny("low", "er").input_ids == [21, 15, 22, 22, 16, 22]
    assert tiny("").input_ids == [21, 22]
    assert tiny("x").input_ids == [21, 20, 22]
    assert tiny(f"low {END} er").input_ids == [21, 15, 22, 16, 22]
    assert tiny.encode("low er") == [21, 15, 16, 22]
    assert tiny.encode("low er", add_special_tokens=False) == [15, 16]


def test_padding_and_truncation(tiny):
    batch = tiny(["lower newer", "low"], padding=True)
    assert batch.input_ids[1] == [21, 15, 22, 22, 22, 22, 22, 22, 22]
    assert batch.attention_mask[1] == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert tiny("lower newer", truncation=True, max_length=5).input_ids == [21, 10, 2, 16, 22]
    assert tiny("lower newer", max_length=5).input_ids == [21, 10, 2, 16, 22]
    assert len(tiny("lower newer", max_length=5, truncation=False).input_ids) == 9
    assert tiny("lower newer", truncation=True).input_ids == tiny("lower newer").input_ids  # no limit, no cut
    assert tiny("low", padding="max_length", max_length=5).input_ids == [21, 15, 22, 22, 22]
    assert tiny("low", padding="max_length", max_length=5, padding_side="left").attention_mask == [0, 0, 1, 1, 1]


def test_special_tokens(tiny):
    assert tiny.get_special_tokens_mask([10, 2, 16]) == [1, 0, 0, 0, 1]
    assert tiny.get_special_tokens_mask([10], [2, 16]) == [1, 0, 1, 1, 0, 0, 1]
    assert tiny.get_special_tokens_mask([21, 10, 20, 22], already_has_special_tokens=True) == [1, 0, 1, 1]
    with pytest.raises(UsageError):
        tiny.get_special_tokens_mask([1], [2], already_has_special_tokens=True)
    assert tiny.build_inputs_with_special_tokens([15]) == tiny("low").input_ids
    assert tiny.build_inputs_with_special_tokens([15], [16]) == tiny("low", "er").input_ids
    assert tiny.create_token_type_ids_from_sequences([15]) == [0] * 3
    assert tiny.create_token_type_ids_from_sequences([15], [16]) == [0] * 6
    assert tiny.all_special_tokens == [START, END, "<unk>"]
    assert tiny.all_special_ids == [21, 22, 20]
    assert tiny.special_tokens_map == {
        "bos_token": START,
        "eos_token": END,
        "unk_token": "<unk>",
        "pad_token": END,
    }


def test_offsets(tiny):
    found = tiny("lower newer", add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    assert found == [(0, 2), (2, 3), (3, 5), (6, 7), (7, 8), (8, 9), (9, 11)]


def test_every_column(tiny):
    options = {
        "padding": True,
        "return_offsets_mapping": True,
        "return_special_tokens_mask": True,
        "return_token_type_ids": True,
        "return_length": True,
    }
    batch = tiny(["low", "er"], ["low", "er low"], **options)
    expected = transformers.CLIPTokenizer(
        vocab={s: i for i, s in enumerate(SYMBOLS)}, merges=[tuple(m.split()) for m in MERGES], unk_token="<unk>"
    )(["low", "er"], ["low", "er low"], **options)
    assert dict(batch) == dict(expected)
    assert list(batch) == list(expected)
    assert "attention_mask" not in tiny("low", return_attention_mask=False)


def test_words(tiny):
    assert tiny(["low", "er"], is_split_into_words=True).input_ids == [21, 15, 16, 22]
    assert tiny([["low", "er"], ["er"]], is_split_into_words=True).input_ids == [[21, 15, 16, 22], [21, 16, 22]]


def test_tensors(tiny):
    batch = tiny(["low er", "low"], padding=True, return_tensors="pt")
    assert batch.input_ids.dtype == torch.int64
    assert torch.equal(batch["input_ids"], torch.tensor([[21, 15, 16, 22], [21, 15, 22, 22]]))
    assert tiny("low", return_tensors="np").input_ids.shape == (1, 3)
    assert tiny([]).input_ids == []
    with pytest.raises(UsageError, match="padding=True"):
        tiny(["low er", "low"], return_tensors="pt")


def test_what_is_cut_off(tiny):
    batch = tiny(["low er low er low", "low"], truncation=True, max_length=4, stride=1, return_overflowing_tokens=True)
    assert batch.input_ids == [[21, 15, 16, 22], [21, 16, 15, 22], [21, 15, 16, 22], [21, 16, 15, 22], [21, 15, 22]]
    assert batch.overflow_to_sample_mapping == [0, 0, 0, 0, 1]
    assert [row.ids for row in batch.encodings] == batch.input_ids
    one = tiny("low er low", max_length=4, padding="max_length", truncation=True, return_overflowing_tokens=True)
    assert one.input_ids == [[21, 15, 16, 22], [21, 15, 22, 22]]
    assert one.attention_mask[1] == [1, 1, 1, 0]
    for stride in (-1, 2, 9):
        with pytest.raises(UsageError, match=f"stride={stride} must be less than the 2 tokens"):
            tiny("low er low", max_length=4, stride=stride)


class Kind(enum.Enum):
    """As some libraries have their options."""

    LONGEST = "longest"
    MAX_LENGTH = "max_length"
    ONLY_FIRST = "only_first"
    PYTORCH = "pt"


def test_options_as_members_of_enumerations(tiny):
    options = {"truncation": Kind.ONLY_FIRST, "max_length": 4, "return_tensors": Kind.PYTORCH}
    for padding in (Kind.LONGEST, Kind.MAX_LENGTH):
        batch = tiny(["low er low", "low"], padding=padding, **options)
        assert batch.input_ids.tolist() == [[21, 15, 16, 22], [21, 15, 22, 22]]


def test_former_names_of_a_call(tiny):
    assert tiny.encode_plus("low", "er", padding=True) == tiny("low", "er")
    assert tiny.batch_encode_plus(["low", "er"], False) == tiny(["low", "er"], add_special_tokens=False)
    assert tiny.batch_encode_plus([("low", "er"), ("er", "low")]) == tiny(["low", "er"], ["er", "low"])
    words = [(["low", "er"], ["er"])]
    assert tiny.batch_encode_plus(words, is_split_into_words=True).input_ids == [[21, 15, 16, 22, 22, 16, 22]]


def test_rows_cut_to_what_is_no_multiple(tiny):
    options = {"padding": True, "truncation": True, "pad_to_multiple_of": 8}
    assert len(tiny("low", **options).input_ids) == 8  # no limit, nothing to cut to
    assert len(tiny("low", max_length=16, **options).input_ids) == 8
    with pytest.raises(UsageError, match="max_length=12 cannot be padded to a multiple of 8"):
        tiny("low", max_length=12, **options)


def test_a_text_longer_than_the_model_takes_is_logged_once(caplog):
    tokenizer = CLIPTokenizer(SYMBOLS, MERGES, unk_token="<unk>", model_max_length=4)
    for quiet in ({"verbose": False}, {"truncation": True}, {"max_length": 3}):
        tokenizer("low er low", **quiet)
    tokenizer.tokenize("low er low")
    assert not caplog.records
    tokenizer(["low", "low er low"])
    tokenizer("low er low er low")
    assert [record.getMessage().split(" is")[0] for record in caplog.records] == ["a text of 5 tokens"]
    tokenizer.deprecation_warnings = {}
    tokenizer("low er low")
    assert len(caplog.records) == 2


def test_a_vocabulary_from_a_tokenizer_of_the_library(trained):
    added = CLIPTokenizer(trained[0].get_vocab(), trained[0]._merges, additional_special_tokens=["[mask]"])
    for source in (added.backend_tokenizer, trained[1].backend_tokenizer):
        tokenizer = CLIPTokenizerFast(tokenizer_object=source, model_max_length=7)
        assert tokenizer("a photo didn't") == trained[0]("a photo didn't")
        assert ("[mask]" in tokenizer.added_tokens_encoder) is (source is added.backend_tokenizer)
    with pytest.raises(UsageError, match="give one of them"):
        CLIPTokenizer(SYMBOLS, MERGES, tokenizer_object=added.backend_tokenizer)


def test_what_constructs_a_tokenizer_is_kept(tiny):
    for name, parameter in inspect.signature(CLIPTokenizer.__init__).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name not in ("extra_special_tokens",):
            assert name in tiny.init_kwargs or hasattr(tiny, name)
    sources = ("vocab", "merges", "vocab_file", "merges_file", "tokenizer_file", "tokenizer_object")
    settings = {name: value for name, value in tiny.init_kwargs.items() if name not in sources}
    again = CLIPTokenizer(SYMBOLS, MERGES, **settings)
    assert again.init_kwargs == tiny.init_kwargs
    assert again("lower x") == tiny("lower x")
    tiny.padding_side = "left"
    assert tiny.init_kwargs["padding_side"] == "left"
    tiny.padding_side = "right"


def test_one_like_it_trained_on_other_phrases(trained):
    tokenizer = CLIPTokenizer(
        trained[0].get_vocab(), trained[0]._merges, model_max_length=9, additional_special_tokens=["[a]"]
    )
    batches = [["This is the first sentence.", "This is the second one."], ["This is (#) symbols 12 3."], "This"]
    new = tokenizer.train_new_from_iterator(iter(batches), 520, 3, ["[b]"], {"[a]": "[c]", END: "[end]"})
    assert new.vocab_size == 520
    assert "this</w>" in new.get_vocab()
    assert (new.eos_token, new.additional_special_tokens) == ("[end]", ["[c]", "[b]"])
    assert (new.model_max_length, new.num_special_tokens_to_add(pair=True)) == (9, 4)
    found = new("This is the first sentence 🤗", verbose=False)
    assert found.input_ids[-1] == new.eos_token_id
    assert new.decode(found.input_ids, skip_special_tokens=True) == "this is the first sentence 🤗"
    assert tokenizer.train_new_from_iterator(batches, 100).vocab_size == 514


def test_a_process_may_fork_after_use(trained):
    """The library's own batches start threads, which a fork leaves behind; here no thread is started."""
    before = len(os.listdir("/proc/self/task"))
    trained[0](["a photo of a cat"] * 300, ["low"] * 300, padding=True, truncation=True, max_length=6)
    assert len(os.listdir("/proc/self/task")) == before
    child = os.fork()
    if child == 0:
        ids = trained[0](["a cat"] * 300, padding=True).input_ids
        os._exit(0 if len(ids) == 300 else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("text", [None, 3, b"low", ["low", 3], [["low"]], {"low": 1}])
def test_what_is_no_text(tiny, text):
    with pytest.raises(PromptError, match="text must be a string or a list of strings"):
        tiny(text)


def test_other_misuse(tiny):
    with pytest.raises(PromptError, match="no valid Unicode"):
        tiny("\ud800")
    with pytest.raises(PromptError, match="give one for each"):
        tiny(["low", "er"], ["low"])
    with pytest.raises(PromptError, match="list of words"):
        tiny("low er", is_split_into_words=True)
    with pytest.raises(UsageError, match="no room"):
        tiny("low", truncation=True, max_length=1)
    with pytest.raises(UsageError, match="'left' or 'right'"):
        tiny("low", padding=True, padding_side="top")
    with pytest.raises(UsageError, match="errors"):
        CLIPTokenizer(SYMBOLS, MERGES, errors="whatever")
    with pytest.raises(CheckpointError, match="do not fit together"):
        CLIPTokenizer(SYMBOLS, ["q z"])
    with pytest.raises(PromptError, match=r"lacks the unknown token '\[no\]'"):
        CLIPTokenizer(SYMBOLS, MERGES, unk_token="[no]")("x")


# Against the reference


@settings(max_examples=1500, deadline=None)
@given(texts)
def test_any_text_as_the_reference(trained, text):
    ours, reference = trained
    found = ours(text, return_offsets_mapping=True)
    assert dict(found) == dict(reference(text, return_offsets_mapping=True))
    assert ours.tokenize(text) == reference.tokenize(text)
    for skip in (True, False):
        assert ours.decode(found.input_ids, skip_special_tokens=skip) == reference.decode(
            found.input_ids, skip_special_tokens=skip
        )


@pytest.mark.filterwarnings("ignore:.max_length. is ignored:UserWarning")  # the reference's
@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([False, True, "max_length"]),
    st.booleans(),
    st.integers(4, 12),
    st.sampled_from(["left", "right"]),
    st.booleans(),
)
def test_any_options_as_the_reference(trained, rows, paired, padding, truncation, max_length, side, specials):
    ours, reference = trained
    arguments = [list(column) for column in zip(*rows, strict=True)][: 1 + paired]
    options = {
        "padding": padding,
        "truncation": truncation,
        "max_length": max_length,
        "padding_side": side,
        "add_special_tokens": specials,
    }
    assert dict(ours(*arguments, **options)) == dict(reference(*arguments, **options))


# The released vocabulary

REAL = {
    "a cat": "320 2368",
    "a remote": "320 9687",
    "a blanket": "320 12878",
    "a photo of a cat": "320 1125 539 320 2368",
    "a photo of a dog": "320 1125 539 320 1929",
    "hello world": "3306 1002",
    "a photo of a car": "320 1125 539 320 1615",
    "what's in the image": "768 568 530 518 2867",
    "something to fill": "2006 531 6277",
    "wood": "1704",
    "a jar": "320 10837",
    "a glass": "320 3313",
    "This is a photo of cat.": "589 533 320 1125 539 2368 269",
    "2024": "273 271 273 275",
    "café": "15304",
    "didn't": "2376 713",
    "A\n'll 11p223RF☆ho!!to?'d'd''d of a cat to-$''d.": (
        "320 1342 272 272 335 273 273 274 16368 13439 2971 748 531 13610 323 1896 8445 323 539 320 2368 531 12 3 "
        "8445 323 269"
    ),
    "xãy": "87 19339 344",
    "xa\u0303y": "87 19339 344",
}


@pytest.mark.parametrize("text", REAL)
def test_real_ids(real, text):
    assert real(text).input_ids == [49406, *map(int, REAL[text].split()), 49407]


def test_real_special_ids(real):
    assert (real.bos_token_id, real.eos_token_id, real.pad_token_id, real.unk_token_id) == (49406, 49407, 49407, 49407)
    assert real.decode(real.encode("didn't"), skip_special_tokens=True) == "didn 't"
    assert real("wood", padding="max_length", truncation=True, return_tensors="pt").input_ids.shape == (1, 77)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="&<|>\x0b\x0c\x1c\x1d\x1e\x1f"), max_size=60))
def test_real_ids_as_an_independent_implementation(real, independent, text):
    assert real.encode(text, add_special_tokens=False) == independent.encode(text)


def test_no_limit_unless_a_file_names_one(tiny):
    assert tiny.model_max_length >= 10**30
    assert tiny.model_input_names == ["input_ids", "attention_mask"]
    assert isinstance(CLIPTokenizerFast(SYMBOLS, MERGES), CLIPTokenizer)
    assert tiny


def test_threads_with_other_options_do_not_disturb_each_other(trained):
    tokenizer, _ = trained
    text = "a photo of a cat " * 5
    expected = {length: tokenizer(text, truncation=True, max_length=length).input_ids for length in (4, 9)}
    wrong = []

    def work(length):
        found = [tokenizer(text, truncation=True, max_length=length).input_ids for _ in range(200)]
        wrong.extend(ids for ids in found if ids != expected[length])

    threads = [threading.Thread(target=work, args=(length,)) for length in (4, 9, 4, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_texts_are_as_each_alone(trained):
    tokenizer = trained[0]
    texts = [f"a cat {'x' * (i % 7)} number {i}" for i in range(MANY + 1)]
    assert tokenizer(texts)["input_ids"] == [tokenizer(text)["input_ids"] for text in texts]
    pairs = tokenizer(texts, texts[::-1], add_special_tokens=False)
    assert pairs["input_ids"][3] == tokenizer(texts[3], texts[-4], add_special_tokens=False)["input_ids"]
    words = tokenizer([text.split() for text in texts], is_split_into_words=True)
    assert words["input_ids"] == tokenizer(texts)["input_ids"]
    with pytest.raises(PromptError, match="half of a surrogate pair"):
        tokenizer([*texts, "\ud800"])
