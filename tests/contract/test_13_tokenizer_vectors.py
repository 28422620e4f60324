"""Section 13: tokenizer vectors."""

from typing import Any

import pytest

from clipseg import CLIPTokenizer
from real_vocabulary import real_vocabulary
from rows import row

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = [
    *"lowerstidn", "lo", "l</w>", "w</w>", "r</w>", "t</w>", "low</w>", "er</w>", "lowest</w>", "newer</w>", "wider",
    "<unk>", START, END,
]  # fmt: skip
LOWER_NEWER = [21, 10, 2, 16, 9, 3, 2, 16, 22]


@pytest.fixture(scope="module")
def tiny() -> CLIPTokenizer:
    return CLIPTokenizer(SYMBOLS, ["l o", "lo w</w>", "e r</w>"], unk_token="<unk>")


@pytest.fixture(scope="module")
def real() -> CLIPTokenizer:
    return CLIPTokenizer(*real_vocabulary())


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        pytest.param(text, symbols, marks=row("13", f"tokenize {rows}"))
        for rows, text, symbols in (
            ("lower newer", "lower newer", "lo w er</w> n e w er</w>"),
            ("lower newer", "LOWER  newer", "lo w er</w> n e w er</w>"),
            ("slow, lowest", "slow", "s low</w>"),
            ("slow, lowest", "lowest", "lo w e s t</w>"),
        )
    ],
)
def test_tokenize(tiny: CLIPTokenizer, text: str, symbols: str) -> None:
    assert tiny.tokenize(text) == symbols.split()


@row("13", "tokens to ids")
def test_tokens_to_ids(tiny: CLIPTokenizer) -> None:
    assert tiny.convert_tokens_to_ids([*tiny.tokenize("lower newer"), "<unk>"]) == [10, 2, 16, 9, 3, 2, 16, 20]
    assert (tiny.bos_token_id, tiny.eos_token_id, tiny.pad_token_id, tiny.unk_token_id) == (21, 22, 22, 20)


@pytest.mark.parametrize(
    ("arguments", "options", "ids"),
    [
        pytest.param(arguments, options, ids, marks=row("13", f"call {name}"))
        for name, arguments, options, ids in (
            ("lower newer", ("lower newer",), {}, LOWER_NEWER),
            ("with truncation", ("lower newer",), {"truncation": True, "max_length": 5}, [21, 10, 2, 16, 22]),
            ("with a pair", ("low", "er"), {}, [21, 15, 22, 22, 16, 22]),
            ("with nothing, unknown, special", ("",), {}, [21, 22]),
            ("with nothing, unknown, special", ("x",), {}, [21, 20, 22]),
            ("with nothing, unknown, special", ("low <|endoftext|> er",), {}, [21, 15, 22, 16, 22]),
        )
    ],
)
def test_calls(tiny: CLIPTokenizer, arguments: tuple[str, ...], options: dict[str, Any], ids: list[int]) -> None:
    answer = tiny(*arguments, **options)
    assert answer["input_ids"] == ids
    assert answer["attention_mask"] == [1] * len(ids)


@row("13", "call with padding")
def test_padding(tiny: CLIPTokenizer) -> None:
    answer = tiny(["lower newer", "low"], padding=True)
    assert answer["input_ids"] == [LOWER_NEWER, [21, 15, *[22] * 7]]
    assert answer["attention_mask"] == [[1] * 9, [1, 1, 1, *[0] * 6]]


@row("13", "special-tokens mask")
def test_special_tokens_mask(tiny: CLIPTokenizer) -> None:
    assert tiny.get_special_tokens_mask([10, 2, 16]) == [1, 0, 0, 0, 1]
    assert tiny.get_special_tokens_mask([10], [2, 16]) == [1, 0, 1, 1, 0, 0, 1]


@row("13", "decode", "batch_decode")
def test_decoding(tiny: CLIPTokenizer) -> None:
    assert tiny.decode(LOWER_NEWER) == f"{START}lower newer {END}"
    assert tiny.decode(LOWER_NEWER, skip_special_tokens=True) == "lower newer"
    assert tiny.batch_decode([[1, 4, 5, 8, 1, 0, 8], [3, 4, 3, 1, 1, 8, 9]]) == ["orsdold", "ereoodn"]


@row("13", "offsets")
def test_offsets(tiny: CLIPTokenizer) -> None:
    answer = tiny("lower newer", add_special_tokens=False, return_offsets_mapping=True)
    assert answer["offset_mapping"] == [(0, 2), (2, 3), (3, 5), (6, 7), (7, 8), (8, 9), (9, 11)]


REAL = {
    "a cat": "320 2368", "a remote": "320 9687", "a blanket": "320 12878", "a photo of a cat": "320 1125 539 320 2368",
    "a photo of a dog": "320 1125 539 320 1929", "a photo of a car": "320 1125 539 320 1615",
    "hello world": "3306 1002", "what's in the image": "768 568 530 518 2867", "something to fill": "2006 531 6277",
    "wood": "1704", "a jar": "320 10837", "a glass": "320 3313",
    "This is a photo of cat.": "589 533 320 1125 539 2368 269",
    "2024": "273 271 273 275", "café": "15304", "didn't": "2376 713", "xãy": "87 19339 344",
    "xa\u0303y": "87 19339 344",
    "A\n'll 11p223RF☆ho!!to?'d'd''d of a cat to-$''d.": "320 1342 272 272 335 273 273 274 16368 13439 2971 748 531 "
    "13610 323 1896 8445 323 539 320 2368 531 12 3 8445 323 269",
}  # fmt: skip


@row("13", "the real vocabulary")
@pytest.mark.parametrize("text", REAL)
def test_the_real_vocabulary(real: CLIPTokenizer, text: str) -> None:
    assert real(text)["input_ids"] == [49406, *map(int, REAL[text].split()), 49407]
