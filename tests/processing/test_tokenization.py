import json
import pickle
import threading

import instant_clip_tokenizer
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import CheckpointError, CheckpointNotFoundError, PromptError, UsageError
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
from clipseg.processing.vocabulary import train_vocabulary, vocabulary_of

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
    """The released vocabulary, built from the merges inside a test dependency."""
    module = instant_clip_tokenizer.instant_clip_tokenizer
    with open(module.__file__, "rb") as file:
        content = file.read()
    begin = content.index(b"#version: 0.2\ni n\nt h\n")
    lines = content[begin:].split(b"\n", 48_895)[1:48_895]
    merges = [tuple(line.decode().split(" ")) for line in lines]
    vocabulary = vocabulary_of(merges)
    assert (len(merges), len(vocabulary)) == (48_894, 49_408)
    return CLIPTokenizer(vocabulary, merges, model_max_length=77)


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


def test_decoding(tiny):
    ids = tiny.encode("lower newer")
    assert tiny.decode(ids) == f"{START}lower newer {END}"
    for form in (ids, tuple(ids), np.array(ids), torch.tensor(ids)):
        assert tiny.decode(form, skip_special_tokens=True) == "lower newer"
    assert tiny.decode(15) == "low"
    rows = [[1, 4, 5, 8, 1, 0, 8], [3, 4, 3, 1, 1, 8, 9]]
    for form in (rows, np.array(rows), torch.tensor(rows)):
        assert tiny.batch_decode(form) == tiny.decode(form) == ["orsdold", "ereoodn"]
    assert tiny.decode([]) == ""
    assert tiny.convert_tokens_to_string(["lo", "w</w>"]) == "low</w>"


def test_conversions(tiny):
    assert tiny.convert_tokens_to_ids("er</w>") == 16
    assert tiny.convert_tokens_to_ids("nowhere") == 20
    assert tiny.convert_ids_to_tokens(16) == "er</w>"
    assert tiny.convert_ids_to_tokens(torch.tensor([21, 16]), skip_special_tokens=True) == ["er</w>"]
    for wrong in (23, -1, 2**40):
        with pytest.raises(PromptError, match="outside this vocabulary of 23"):
            tiny.convert_ids_to_tokens(wrong)


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


@settings(max_examples=400, deadline=None)
@given(st.lists(st.integers(0, 539), max_size=12))
def test_any_ids_as_the_reference(trained, ids):
    ours, reference = trained
    assert ours.decode(ids) == reference.decode(ids)


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


def test_errors_of_decoding(trained):
    tokenizer, _ = trained
    half = tokenizer.encode("é", add_special_tokens=False)[:1]
    assert tokenizer.decode(half) == "\ufffd"
    assert CLIPTokenizer(tokenizer.get_vocab(), tokenizer._merges, errors="ignore").decode(half) == ""


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


# Files


def assert_same(first, second):
    assert first.get_vocab() == second.get_vocab()
    text = f"Lower newer didn't 12 {END} é ☆"
    assert first(text) == second(text)
    assert first.special_tokens_map == second.special_tokens_map
    assert (first.model_max_length, first.padding_side) == (second.model_max_length, second.padding_side)


def test_saved_and_loaded(trained, tmp_path):
    tokenizer = CLIPTokenizer(trained[0].get_vocab(), trained[0]._merges, model_max_length=77, padding_side="left")
    written = tokenizer.save_pretrained(tmp_path)
    names = ["tokenizer_config.json", "special_tokens_map.json", "tokenizer.json", "vocab.json", "merges.txt"]
    assert [path.removeprefix(f"{tmp_path}/") for path in written] == names
    assert_same(CLIPTokenizerFast.from_pretrained(tmp_path), tokenizer)
    (tmp_path / "tokenizer.json").unlink()
    again = CLIPTokenizer.from_pretrained(str(tmp_path))
    assert_same(again, tokenizer)
    assert_same(pickle.loads(pickle.dumps(again)), tokenizer)


def test_saved_vocabulary(tiny, tmp_path):
    vocab, merges = tiny.save_vocabulary(tmp_path, "old")
    assert (vocab, merges) == (str(tmp_path / "old-vocab.json"), str(tmp_path / "old-merges.txt"))
    assert (tmp_path / "old-merges.txt").read_text() == "#version: 0.2\nl o\nlo w</w>\ne r</w>\n"
    for again in (
        CLIPTokenizer(vocab, merges, unk_token="<unk>"),
        CLIPTokenizer(vocab_file=vocab, merges_file=merges, errors="replace", unk_token="<unk>"),
    ):
        assert_same(again, tiny)


def test_the_reference_reads_ours_and_we_read_it(trained, tmp_path):
    ours, reference = trained
    text = f"Lower newer didn't 12 {END} é ☆"
    ours.save_pretrained(tmp_path / "ours")
    assert transformers.CLIPTokenizer.from_pretrained(tmp_path / "ours")(text).input_ids == ours(text).input_ids
    reference.save_pretrained(tmp_path / "reference")
    assert CLIPTokenizer.from_pretrained(tmp_path / "reference")(text) == ours(text)


def test_overrides_and_added_tokens(trained, tmp_path):
    trained[0].save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path, bos_token="(BOS)", use_fast=True, anything="kept")
    assert (tokenizer.vocab_size, len(tokenizer), tokenizer.bos_token_id) == (540, 541, 540)
    assert tokenizer("low (BOS)").input_ids[0] == tokenizer("low (BOS)").input_ids[-2] == 540
    tokenizer.save_pretrained(tmp_path / "again")
    again = CLIPTokenizer.from_pretrained(tmp_path / "again")
    assert_same(again, tokenizer)
    assert again.init_kwargs["anything"] == "kept"
    assert again("low (BOS)") == tokenizer("low (BOS)")


def test_additional_special_tokens(trained):
    tokenizer = CLIPTokenizer(trained[0].get_vocab(), trained[0]._merges, additional_special_tokens=["[mask]"])
    assert tokenizer.encode("a [mask]", add_special_tokens=False)[-1] == 540
    assert tokenizer.decode(tokenizer.encode("a [mask]"), skip_special_tokens=True) == "a"
    assert tokenizer.special_tokens_map["additional_special_tokens"] == ["[mask]"]


def test_tokens_as_old_files_hold_them(trained, tmp_path):
    """Dicts for special tokens, a map that names files of another machine, an id written as text."""
    trained[0].save_vocabulary(tmp_path)
    token = {"content": END, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    config = {
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": END,
        "unk_token": {"__type": "AddedToken", **token},
        "added_tokens_decoder": {"540": {**token, "content": "[new]", "normalized": False, "special": True}},
        "special_tokens_map_file": "somewhere/special_tokens_map.json",
        "name_or_path": "someone/clip",
        "do_lower_case": True,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": {**token, "content": START}, "eos_token": token, "pad_token": END})
    )
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.model_max_length, tokenizer.eos_token, tokenizer.unk_token) == (77, END, END)
    assert tokenizer.init_kwargs == {"do_lower_case": True}
    assert tokenizer("a [new]").input_ids[-2] == 540


def test_a_file_says_how_its_tokens_are_found(trained, tmp_path):
    """Some released files have a start token that is found in any case."""
    trained[0].save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["normalized"] = token["content"] == START
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    text = f"A {START.upper()} {END.upper()} cat"
    ours, reference = (each.from_pretrained(tmp_path) for each in (CLIPTokenizer, transformers.CLIPTokenizer))
    assert ours.encode(text) == reference.encode(text) != trained[0].encode(text)


def test_no_limit_unless_a_file_names_one(tiny):
    assert tiny.model_max_length >= 10**30
    assert tiny.model_input_names == ["input_ids", "attention_mask"]
    assert isinstance(CLIPTokenizerFast(SYMBOLS, MERGES), CLIPTokenizer)
    assert tiny


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        CLIPTokenizer.from_pretrained(tmp_path)


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
