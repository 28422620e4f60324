import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import PromptError
from clipseg.prompting.expressions import DEEPEST, And, Grow, Not, Or, Strength
from clipseg.prompting.lexing import quoted
from clipseg.prompting.prompts import ImagePrompt, TextPrompt, parse

A, B, C, D = map(TextPrompt, "abcd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a AND b", And((A, B))),
        ("a OR b", Or((A, B))),
        ("NOT a", Not(A)),
        ("a & b", And((A, B))),
        ("a|b", Or((A, B))),
        ("!a", Not(A)),
        ("a AND b AND c", And((A, B, C))),
        ("a OR b AND c", Or((A, And((B, C))))),
        ("a AND b OR c AND d", Or((And((A, B)), And((C, D))))),
        ("a OR NOT b AND c", Or((A, And((Not(B), C))))),
        ("NOT a AND b", And((Not(A), B))),
        ("NOT (a AND b)", Not(And((A, B)))),
        ("(a OR b) AND c", And((Or((A, B)), C))),
        ("(a AND b) AND c", And((And((A, B)), C))),
        ("NOT NOT a", Not(Not(A))),
        ("!!a", Not(Not(A))),
        ("((a)) AND (b)", And((A, B))),
        ("a{*1.5}", Strength(A, 1.5)),
        ("a {*2}", Strength(A, 2)),
        ("a{ * .5 }{+25}", Grow(Strength(A, 0.5), 25)),
        ("a{-3}", Grow(A, -3)),
        ("NOT a{*2}", Not(Strength(A, 2))),
        ("(NOT a){*2}", Strength(Not(A), 2)),
        ("(a OR b){+2} AND c{*1e-3}", And((Grow(Or((A, B)), 2), Strength(C, 1e-3)))),
        ('"a AND b" AND "(c)"', And((TextPrompt("a AND b"), TextPrompt("(c)")))),
        (r'"a \"b\" \\" OR c', Or((TextPrompt('a "b" \\'), C))),
        ("  a red  cup   AND b ", And((TextPrompt("a red  cup"), B))),
        ("face AND NOT (bandana OR hair)",
         And((TextPrompt("face"), Not(Or((TextPrompt("bandana"), TextPrompt("hair"))))))),
        ('"a b"', TextPrompt("a b")),
    ],
)  # fmt: skip
def test_precedence(text, expected):
    assert parse(text) == expected


PLAIN = [
    "a red cup", "  a cat ", "salt and pepper", "ANDROID", "NOTE", "bus (vehicle)", "(a)", "what's this?", "a dog!",
    "a dog !",
    'a 24" screen', '"a', "AT&T", "R&B", "a {b}", "{}", "{1.5}", "a\nb", "a\\", '"a" b', "()", "a)", "(((",
]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_plain_phrases_are_left_alone(text):
    assert parse(text) == TextPrompt(text)
    assert parse(text).label == text


@given(st.text(st.characters(exclude_characters='"|&!{'), min_size=1, max_size=30))
@settings(deadline=None, max_examples=100)
def test_any_text_without_operators_is_a_phrase(text):
    if not text.strip() or {"AND", "OR", "NOT"} & set(text.replace("(", " ").replace(")", " ").split()):
        return
    assert parse(text) == TextPrompt(text)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a AND", 6, "a phrase is missing here, before the end"),
        ("AND a", 1, "a phrase is missing here, before 'AND'"),
        ("a AND OR b", 7, "a phrase is missing here, before 'OR'"),
        ("NOT", 4, "a phrase is missing here, before the end"),
        ("a NOT b", 3, "NOT cannot follow a phrase; write AND NOT"),
        ("a AND (b OR c", 7, "'(' is never closed"),
        ("(a AND (b)", 1, "'(' is never closed"),
        ("a AND b)", 8, "')' closes nothing"),
        ("a AND ()", 8, "a phrase is missing here, before ')'"),
        ("a AND b (c)", 9, "AND or OR is missing before '('"),
        ("(a AND b) c", 11, "AND or OR is missing before 'c'"),
        ("a{*2} b", 7, "AND or OR is missing before 'b'"),
        ("{*2}", 1, "a phrase is missing here, before '{*2}'"),
        ("NOT {+2} a", 5, "a phrase is missing here, before '{+2}'"),
        ("a{*}", 2, "'{*}' is no modifier; write {*1.5}, {+25} or {-25}"),
        ("a{*x}", 2, "is no modifier"),
        ("a{+2.5}", 2, "is no modifier"),
        ("a{*2", 2, "is no modifier"),
        ("a{*-2}", 2, "is no modifier"),
        ("a{*0}", 2, "a strength is a finite number above 0, got 0.0"),
        ("a{*1e999}", 2, "a strength is a finite number above 0, got inf"),
        ('a AND "b', 7, "this quote is never closed"),
        ('a AND ""', 7, "a text prompt is empty"),
        ('""', 1, "a text prompt is empty"),
        ('" "', 1, "a text prompt is empty"),
        ("|", 1, "a phrase is missing here, before '|'"),
        ("a || b", 4, "a phrase is missing here, before '|'"),
        ("a AND\n\nOR b", 8, "a phrase is missing here"),
    ],
)
def test_errors_point_at_the_column(text, column, message):
    with pytest.raises(PromptError) as caught:
        parse(text)
    told = str(caught.value)
    assert told.startswith(f"column {column}: ")
    assert message in told
    assert "\n" not in told
    shown = text.replace("\n", " ")
    assert told.endswith(f"{shown[: column - 1]}▶{shown[column - 1 :]}")


def test_errors_in_long_texts_show_what_is_around():
    with pytest.raises(PromptError, match=r"column 505: .*: …x{16} OR ▶AND y{16}…$"):
        parse("x" * 500 + " OR AND " + "y" * 500)


def test_depth():
    assert parse("(" * DEEPEST + "a" + ")" * DEEPEST + " AND b") == And((A, B))
    with pytest.raises(PromptError, match=rf"column {DEEPEST + 1}: more than 100 brackets"):
        parse("(" * 5000 + "a AND b" + ")" * 5000)
    assert parse("NOT " * DEEPEST + "a").depth == DEEPEST
    for text in ("NOT " * 5000 + "a", "a" + "{*2}" * 5000, "!" * 5000 + "a"):
        with pytest.raises(PromptError, match="more than 100 expressions are within each other"):
            parse(text)


def read(text):
    """-> what it is, or None and why it is nothing."""
    try:
        return parse(text), ""
    except PromptError as error:
        return None, str(error)


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
        "{*2}",
        "{+3}",
        "{-",
        "{*",
        "}",
        " ",
        " ",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join))


@given(TEXTS)
@settings(deadline=None, max_examples=500)
def test_any_text_is_read_or_refused_on_one_line(text):
    """And what was read is, printed, read as the same; its label is the text as it was given."""
    term, refusal = read(text)
    if term is None:
        assert refusal.isprintable()
    elif isinstance(term, TextPrompt):
        assert parse(quoted(term.text)) == TextPrompt(term.text) or quoted(term.text) == term.text
    else:
        assert term.label == text
        assert parse(str(term)) == term
        assert str(parse(str(term))) == str(term)


def terms():
    phrases = st.text(min_size=1, max_size=12).filter(str.strip).map(TextPrompt)
    factors = st.floats(1e-30, 1e30) | st.integers(1, 2**60)

    def larger(inner):
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return (
            several.map(And)
            | several.map(Or)
            | inner.map(Not)
            | st.builds(Strength, inner, factors)
            | st.builds(Grow, inner, st.integers(-999, 999))
        )

    return larger(st.recursive(phrases, larger, max_leaves=8))


@given(terms())
@settings(deadline=None, max_examples=200)
def test_what_is_printed_is_read_again(term):
    assert parse(str(term)) == term


@pytest.mark.parametrize(
    "text",
    ["(" * 100_000, "a AND " * 30_000, "a|" * 50_000 + "a", "!" * 100_000, "{*1}" * 50_000, "a" + "{*1}" * 50_000,
     '"' * 99_999 + "|", "a & " + '\\"' * 50_000, "(a)" * 30_000 + "|b", "a AND (" * 10_000],
)  # fmt: skip
def test_long_texts_take_no_long_time(text):
    started = time.perf_counter()
    _, refusal = read(text)
    assert len(refusal) < 300
    assert time.perf_counter() - started < 5


def test_prompts_with_names():
    jar = ImagePrompt("jar.jpg")
    names = {"jar": jar, "a AND b": C}
    assert parse("jar", names) is jar
    assert parse("jar AND NOT lid", names) == And((jar, Not(TextPrompt("lid"))))
    assert parse('"a AND b" | jar', names) == Or((C, jar))
    assert parse(str(parse("jar AND NOT lid", names)), names) == parse("jar AND NOT lid", names)


def test_phrases_in_templates():
    assert parse("a", templates="photo") == TextPrompt("a", templates="photo")
    assert parse("a OR b", templates="the {}") == Or(
        (TextPrompt("a", templates="the {}"), TextPrompt("b", templates="the {}"))
    )
    with pytest.raises(PromptError, match="unknown templates 'sketch'"):
        parse("a", templates="sketch")


def test_a_text_is_a_str():
    with pytest.raises(PromptError, match="got a bytes"):
        parse(b"a AND b")
