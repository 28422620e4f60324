"""Saving and loading, here and in the reference."""

import copy
import json
import pickle

import pytest
import transformers

from clipseg.errors import CheckpointError, CheckpointNotFoundError, UsageError
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
from clipseg.processing.vocabulary import train_vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = ["l", "o", "w", "lo", "w</w>", "low</w>", "er</w>", "e", "r</w>", "<unk>", START, END]
MERGES = ["l o", "lo w</w>", "e r</w>"]


@pytest.fixture(scope="module")
def tiny():
    return CLIPTokenizer(SYMBOLS, MERGES, unk_token="<unk>")


@pytest.fixture(scope="module")
def trained():
    """A whole (every byte has a symbol) vocabulary, and the reference over the same."""
    phrases = ["a photo of a cat", "a photo of the lower glass", "something to fill", "didn't they'll we've"] * 3
    vocabulary, merges = train_vocabulary(phrases, 540)
    return CLIPTokenizer(vocabulary, merges), transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)


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
    assert tokenizer.init_kwargs["do_lower_case"] is True
    assert tokenizer.name_or_path == str(tmp_path)
    assert "special_tokens_map_file" not in tokenizer.init_kwargs
    assert tokenizer("a [new]").input_ids[-2] == 540


@pytest.mark.parametrize("listed", [False, True])
def test_a_file_says_how_its_tokens_are_found(trained, tmp_path, listed):
    """Some released files have a start token that is found in any case; a list in tokenizer_config.json comes first."""
    trained[0].save_pretrained(tmp_path)
    whole = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in whole["added_tokens"]:
        token["normalized"] = token["content"] == START
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    if not listed:
        del config["added_tokens_decoder"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = f"A {START.upper()} {END.upper()} cat"
    ours, reference = (each.from_pretrained(tmp_path) for each in (CLIPTokenizer, transformers.CLIPTokenizer))
    assert ours.encode(text) == reference.encode(text)
    assert (ours.encode(text) == trained[0].encode(text)) is listed


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        CLIPTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("legacy_format", "names"),
    [
        (None, ["tokenizer.json", "vocab.json", "merges.txt"]),
        (True, ["vocab.json", "merges.txt"]),
        (False, ["tokenizer.json"]),
    ],
)
def test_either_layout_holds_everything(trained, tmp_path, legacy_format, names):
    tokenizer = CLIPTokenizer(trained[0].get_vocab(), trained[0]._merges, model_max_length=42, cls_token="[CLS]")
    tokenizer.add_tokens(["bim", "bam bam"])
    tokenizer.add_special_tokens({"additional_special_tokens": [transformers.AddedToken("[new]", lstrip=True)]})
    tokenizer.pad_token = "bim"
    written = tokenizer.save_pretrained(str(tmp_path), legacy_format)
    assert [path.removeprefix(f"{tmp_path}/") for path in written[2:]] == names
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert_same(again, tokenizer)
    assert again.added_tokens_encoder == tokenizer.added_tokens_encoder
    text = "low bim bam bam   [new][CLS]"
    assert again(text) == tokenizer(text)
    assert again.additional_special_tokens == ["[new]"]
    assert again.name_or_path == str(tmp_path)
    other = CLIPTokenizer.from_pretrained(
        tmp_path, model_max_length=43, additional_special_tokens=[transformers.AddedToken("[more]", lstrip=True)]
    )
    assert (other.model_max_length, other.additional_special_tokens) == (43, ["[more]"])
    assert other.tokenize("[new]") == ["[new]"]


def test_prefixes_and_what_saving_does_not_do(tiny, tmp_path):
    written = tiny.save_pretrained(tmp_path, filename_prefix="old")
    assert all(path.startswith(f"{tmp_path}/old-") for path in written)
    with pytest.raises(UsageError, match=r"push_to_hub\(repo_id\)"):
        tiny.save_pretrained(tmp_path, push_to_hub=True)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies(trained, copied):
    tokenizer = CLIPTokenizer(trained[0].get_vocab(), trained[0]._merges, split_special_tokens=True, anything=[1])
    tokenizer.pad_token_id = 5
    again = copied(tokenizer)
    assert_same(again, tokenizer)
    assert again.init_kwargs == tokenizer.init_kwargs
    assert again.tokenize(END) == tokenizer.tokenize(END) != [END]


def test_a_copy_is_on_its_own(trained):
    tokenizer = copy.deepcopy(trained[0])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert len(tokenizer) == len(trained[0]) + 1
    assert trained[0].pad_token == END


def test_added_tokens_of_an_older_folder(trained, tmp_path):
    trained[0].save_pretrained(tmp_path, legacy_format=True)
    whole = len(trained[0])
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}))
    roles = {"bos_token": START, "eos_token": {"content": END}, "additional_special_tokens": ["<extra>"]}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(roles))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<extra>": whole + 1, "Zebra": whole}))
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    reference = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    text = "a Zebra<extra> ZEBRA photo"
    assert tokenizer(text)["input_ids"] == reference(text)["input_ids"]
    assert tokenizer.convert_tokens_to_ids(["Zebra", "<extra>"]) == [whole, whole + 1]
    assert [token.special for token in tokenizer.added_tokens_decoder.values()][-2:] == [False, True]
    tokenizer.save_pretrained(tmp_path)  # what is newer is believed
    (tmp_path / "added_tokens.json").write_text("{}")
    assert_same(CLIPTokenizer.from_pretrained(tmp_path), tokenizer)
    (tmp_path / "tokenizer.json").unlink()
    assert_same(CLIPTokenizer.from_pretrained(tmp_path), tokenizer)


def test_a_file_of_added_tokens_that_is_none(trained, tmp_path):
    trained[0].save_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<extra>": "540"}))
    with pytest.raises(CheckpointError, match=r"added_tokens\.json lists no added tokens: expected each token with an"):
        CLIPTokenizer.from_pretrained(tmp_path)
