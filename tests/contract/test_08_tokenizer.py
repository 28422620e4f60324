"""Section 8: the tokenizer's constructor and members; its numbers are in section 13."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ready
from clipseg import AutoTokenizer, CLIPTokenizer, CLIPTokenizerFast
from rows import row

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = [*"lowerstidn", "w</w>", "r</w>", "lo", "low</w>", "er</w>", START, END]
MERGES = ["l o", "lo w</w>", "e r</w>"]


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return ready.tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer: CLIPTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(path)
    return path


@row("8", "constructor")
def test_special_tokens_by_default_and_by_keyword() -> None:
    usual = CLIPTokenizer(SYMBOLS, MERGES)
    assert (usual.bos_token, usual.eos_token, usual.unk_token, usual.pad_token) == (START, END, END, END)
    other = CLIPTokenizer(SYMBOLS, MERGES, unk_token="l", bos_token="o", eos_token="w", pad_token="e", more=1)
    assert (other.bos_token, other.eos_token, other.unk_token, other.pad_token) == ("o", "w", "l", "e")


@row("8", "constructor")
@pytest.mark.parametrize("cls", [CLIPTokenizer, CLIPTokenizerFast])
def test_forms_of_a_vocabulary(cls: type[CLIPTokenizer], folder: Path, tokenizer: CLIPTokenizer) -> None:
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    lines = merges.read_text(encoding="utf-8").splitlines()[1:]
    numbers = json.loads(vocab.read_text(encoding="utf-8"))
    for made in (
        cls(vocab, merges),
        cls(str(vocab), lines),
        cls(numbers, lines),
        cls(list(numbers), lines),
        cls(vocab_file=str(vocab), merges_file=str(merges), errors="replace"),
        cls(tokenizer_file=str(folder / "tokenizer.json")),
    ):
        assert made.get_vocab() == tokenizer.get_vocab()
        assert made.encode("a red cup") == tokenizer.encode("a red cup")


@row("8", "__call__")
def test_call(tokenizer: CLIPTokenizer) -> None:
    alone = tokenizer("a red cup")
    assert list(alone) == ["input_ids", "attention_mask"]
    ids = alone["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer("a red cup", add_special_tokens=False)["input_ids"] == ids[1:-1]
    assert tokenizer(["a", "red", "cup"], is_split_into_words=True)["input_ids"] == ids
    assert tokenizer("a red cup", truncation=True, max_length=4)["input_ids"] == [*ids[:3], ids[-1]]
    assert tokenizer("a", "cup")["input_ids"] == tokenizer(text="a", text_pair="cup")["input_ids"]
    assert list(tokenizer("a", return_attention_mask=False)) == ["input_ids"]
    assert len(tokenizer("a", return_offsets_mapping=True)["offset_mapping"]) == len(tokenizer("a")["input_ids"])
    padded = tokenizer(["a red cup", "a"], padding=True, return_tensors="pt")
    assert padded["input_ids"].dtype is torch.long
    assert padded["input_ids"].shape == padded["attention_mask"].shape == (2, len(ids))
    assert padded["attention_mask"][1].sum() == len(tokenizer("a")["input_ids"])
    full = tokenizer("a", padding="max_length", return_tensors="np")["input_ids"]
    assert full.shape == (1, tokenizer.model_max_length)


@row("8", "encode, decode, batch_decode, tokenize")
def test_text_to_ids_and_back(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer.encode("A  red cup")
    assert ids == tokenizer("a red cup")["input_ids"]
    assert tokenizer.decode(ids) == f"{START}a red cup {END}"
    assert tokenizer.decode(torch.tensor(ids), skip_special_tokens=True) == "a red cup"
    assert tokenizer.batch_decode([ids, ids], skip_special_tokens=True) == ["a red cup"] * 2
    assert tokenizer.convert_tokens_to_ids(tokenizer.tokenize("a red cup")) == ids[1:-1]


@row("8", "convert_tokens_to_ids, convert_ids_to_tokens, convert_tokens_to_string")
def test_conversions(tokenizer: CLIPTokenizer) -> None:
    tokens = tokenizer.tokenize("a red cup")
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert tokenizer.convert_ids_to_tokens(ids) == tokens
    assert tokenizer.convert_ids_to_tokens(ids[0]) == tokens[0]
    assert tokenizer.convert_tokens_to_ids(tokens[0]) == ids[0]
    assert tokenizer.convert_tokens_to_ids("no such token") == tokenizer.unk_token_id
    assert tokenizer.convert_tokens_to_string(tokens).replace("</w>", " ").split() == ["a", "red", "cup"]


@row("8", "build_inputs_with_special_tokens", "create_token_type_ids_from_sequences", "get_special_tokens_mask")
def test_special_tokens(tokenizer: CLIPTokenizer) -> None:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert tokenizer.build_inputs_with_special_tokens([5, 6]) == [bos, 5, 6, eos]
    assert tokenizer.build_inputs_with_special_tokens([5, 6], [7]) == [bos, 5, 6, eos, eos, 7, eos]
    assert tokenizer.create_token_type_ids_from_sequences([5, 6]) == [0] * 4
    assert tokenizer.create_token_type_ids_from_sequences([5, 6], [7]) == [0] * 7
    assert tokenizer.get_special_tokens_mask([5, 6]) == [1, 0, 0, 1]
    assert tokenizer.get_special_tokens_mask([5, 6], [7]) == [1, 0, 0, 1, 1, 0, 1]
    assert tokenizer.get_special_tokens_mask([bos, 5, eos, eos], already_has_special_tokens=True) == [1, 0, 1, 1]
    with pytest.raises(ValueError, match="special tokens"):
        tokenizer.get_special_tokens_mask([5], [6], already_has_special_tokens=True)


@row("8", "save_vocabulary")
@pytest.mark.parametrize(
    ("prefix", "names"), [(None, ("vocab.json", "merges.txt")), ("my", ("my-vocab.json", "my-merges.txt"))]
)
def test_save_vocabulary(tokenizer: CLIPTokenizer, tmp_path: Path, prefix: str | None, names: tuple[str, str]) -> None:
    vocab, merges = tokenizer.save_vocabulary(tmp_path, filename_prefix=prefix)
    assert (vocab, merges) == tuple(str(tmp_path / name) for name in names)
    assert Path(merges).read_text(encoding="utf-8").startswith("#version: 0.2\n")
    assert json.loads(Path(vocab).read_text(encoding="utf-8")) == tokenizer.get_vocab()


@row("8", "get_vocab, vocab_size, len, special ids, sides, input names, model_max_length")
def test_what_a_tokenizer_knows_of_itself(tokenizer: CLIPTokenizer) -> None:
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.vocab_size == len(tokenizer) == tokenizer.eos_token_id + 1
    assert tokenizer.all_special_ids == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "right")
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]
    unlimited = CLIPTokenizer(SYMBOLS, MERGES)
    assert unlimited.model_max_length > 10**20
    assert len(unlimited("low " * 200, truncation=True)["input_ids"]) == 202


@row("8", "get_vocab, vocab_size, len, special ids, sides, input names, model_max_length")
@pytest.mark.parametrize("name", ["padding_side", "truncation_side"])
def test_the_other_side(name: str) -> None:
    tokenizer = CLIPTokenizer(SYMBOLS, MERGES, **{name: "left"})
    words, bos, eos = tokenizer("low er"), tokenizer.bos_token_id, tokenizer.eos_token_id
    if name == "padding_side":
        assert tokenizer("low er", padding="max_length", max_length=5)["input_ids"] == [eos, *words["input_ids"]]
    else:
        cut = tokenizer("low er", truncation=True, max_length=3)["input_ids"]
        assert cut == [bos, words["input_ids"][2], eos]


@row(
    "8",
    "from_pretrained, save_pretrained",
    "get_vocab, vocab_size, len, special ids, sides, input names, model_max_length",
)
@pytest.mark.parametrize("cls", [CLIPTokenizer, CLIPTokenizerFast])
def test_files(cls: type[CLIPTokenizer], folder: Path, tokenizer: CLIPTokenizer) -> None:
    same = cls.from_pretrained(folder)
    assert same.get_vocab() == tokenizer.get_vocab()
    assert same.model_max_length == tokenizer.model_max_length == ready.LONGEST
    other: Any = cls.from_pretrained(folder, bos_token="(BOS)", model_max_length=9)
    assert (other.bos_token, other.model_max_length) == ("(BOS)", 9)
    assert other.convert_ids_to_tokens(other("a cat")["input_ids"])[0] == "(BOS)"


@row("8", "CLIPTokenizerFast is the same class or a subclass")
def test_fast_is_a_tokenizer(folder: Path) -> None:
    assert issubclass(CLIPTokenizerFast, CLIPTokenizer)
    assert isinstance(AutoTokenizer.from_pretrained(folder), (CLIPTokenizer, CLIPTokenizerFast))
    assert isinstance(CLIPTokenizerFast.from_pretrained(folder), CLIPTokenizer)
