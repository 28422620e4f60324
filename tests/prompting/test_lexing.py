import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.prompting.lexing import is_expression, phrase_of, quoted, tokens

PIECES = st.sampled_from(
    [
        "AND",
        "OR",
        "NOT",
        "and",
        "a",
        "cat",
        "(",
        ")",
        "&",
        "|",
        "!",
        '"',
        "\\",
        "{",
        "}",
        "{*",
        "{+2}",
        "{-",
        " ",
        "é",
        "\n",
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=20).map("".join))


def kinds(text):
    return [token.kind for token in tokens(text)][:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a red cup", ["word"] * 3),
        ("a AND b", ["word", "and", "word"]),
        ("a and b", ["word"] * 3),
        ("ANDROID NOTE", ["word"] * 2),
        ("a&b", ["word"]),
        ("a& b", ["word", "and", "word"]),
        ("a|b", ["word", "or", "word"]),
        ("(a)", ["open", "word", "close"]),
        ("NOT(a)AND(b)", ["not", "open", "word", "close", "and", "open", "word", "close"]),
        ("!a", ["not", "word"]),
        ("!!a", ["not", "not", "word"]),
        ("a ! b!", ["word"] * 3),
        ("a & !b", ["word", "and", "not", "word"]),
        ("a{*1.5}", ["word", "modifier"]),
        ("a {+5}{-2", ["word", "modifier", "modifier"]),
        ("a {b} {", ["word"] * 3),
        ('"a AND b"', ["quoted"]),
        ('a 24" screen', ["word"] * 3),
        ('"a \\" b"', ["quoted"]),
        ('"a', ["unclosed", "word"]),
    ],
)
def test_tokens(text, expected):
    assert kinds(text) == expected


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_every_letter_is_in_a_token(text):
    """Tokens are what they say of the text, in order, and only white space lies between them."""
    place = 0
    for token in tokens(text):
        assert text[token.start : token.end] == token.text
        assert text[place : token.start].strip() == ""
        place = token.end
    assert place == len(text)


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_what_is_quoted_is_one_phrase_again(phrase):
    text = quoted(phrase)
    found = tokens(text)[:-1]
    assert found
    assert {token.kind for token in found} <= {"word", "quoted"}
    assert phrase_of(text, found) == phrase
    together = tokens(f"({text}){{*2}} AND NOT {text}|{text}")
    assert [token.kind for token in together if token.kind not in ("word", "quoted")] == [
        "open", "close", "modifier", "and", "not", "or", "end",
    ]  # fmt: skip


def test_quotes_only_where_they_are_needed():
    assert quoted("a red cup") == "a red cup"
    assert quoted("a photo of one") == "a photo of one"
    assert quoted("bus (vehicle)") == '"bus (vehicle)"'
    assert quoted("salt AND pepper") == '"salt AND pepper"'
    assert quoted(" a ") == '" a "'
    assert quoted('"a"') == '"\\"a\\""'
    assert quoted("") == '""'


def test_is_expression():
    assert all(is_expression(tokens(text)) for text in ("a AND b", "a|b", "!a", "a{*2}", '"a"', ' "a AND b" '))
    assert not any(is_expression(tokens(text)) for text in ("", "a", "(a)", 'a "b"', "a!", "a {b}", "AT&T", '"a'))


@pytest.mark.parametrize(
    "text",
    [
        *("{" * 50_000, "{*" * 50_000, "{ " * 50_000, "{" + " " * 99_999 + "a"),
        *("!" * 100_000, "a&" * 50_000, " " * 100_000),
        *('"' * 50_001, '\\"' * 50_000, '"' + '\\"' * 50_000, '" \\' * 30_000),
    ],
)  # fmt: skip
def test_long_texts_take_no_long_time(text):
    started = time.perf_counter()
    tokens(text)
    assert time.perf_counter() - started < 5
