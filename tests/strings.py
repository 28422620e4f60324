"""Texts of every kind that a tokeniser may meet, the same in every run."""

import random

START, END = "<|startoftext|>", "<|endoftext|>"

SCRIPTS = (
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "àéîõüçñßøåæœþðłşğıİ", "абвгдежзийклмнопрстАБВЁҐ",
    "αβγδεζηθικλμνξοΣςΑΒ", "אבגדהוזחטיכלמ", "ابتثجحخدذرزسش\u064b\u064e\u0651", "अआइईउकखगघच\u093e\u093f\u0940\u094d",
    "กขคงจฉชซ\u0e31\u0e34\u0e48", "漢字仮名交文的是不了人我在", "ひらがなカタカナー゛",
    "한국어조선말\u1112\u1161\u11ab", "აბგდევზ", "አበገደ", "ԱԲԳաբգ", "ǅǈﬁﬃſKÅΩ", "a\u0301e\u0308o\u0327\u0303n\u0303",
)  # fmt: skip
NUMBERS = ("2024", "3.14", "1,000", "½", "２０２４", "Ⅻ", "①", "१२३", "x²", "1st", "10%", "0x1F", "-5")
EMOJI = ("🙂", "👩\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "👍🏽", "🇫🇷", "❤\ufe0f", "1\ufe0f\u20e3", "🧑\u200d🚀")
CONTROLS = (
    *map(chr, range(32)),
    *map(chr, range(0x7F, 0xA0)),
    "\u200b",
    "\u200e",
    "\u202e",
    "\u2060",
    "\ufeff",
    "\ue000",
)
SPACES = (" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u2028", "\u3000", "\u0085", "\x0b", "\x0c", " \n \t")
PUNCTUATION = (
    "!",
    "...",
    "?!",
    "—",
    "«»",
    "“a”",
    "¿",
    "_",
    "a_b",
    "#tag",
    "@me",
    "$5",
    "(x)",
    "[y]",
    "{z}",
    "\\",
    "a/b",
    "☆",
)
CONTRACTIONS = (
    "didn't",
    "They'LL",
    "we've",
    "I'm",
    "he'd",
    "it's",
    "you're",
    "rock'n'roll",
    "d'd''d",
    "'t",
    "’s",
    "O'Neil",
)
MARKUP = ("&amp;", "&lt;b&gt;", "&#39;", "&nbsp;", "<br/>", "<a href='x'>y</a>", "<p>", "<|x|>", "&amp;amp;")
SPECIAL = (
    START,
    END,
    START.upper(),
    END.upper(),
    "<|endoftext",
    "endoftext|>",
    f"a{END}b",
    f"{START} ",
    "</w>",
    "a</w>",
)
WORDS = (
    "a",
    "photo",
    "of",
    "the",
    "cat",
    "Remote",
    "blanket",
    "something",
    "to",
    "fill",
    "GLASS",
    "wood",
    "jar",
    "pneumonoultra",
)
KINDS = (NUMBERS, EMOJI, CONTROLS, SPACES, PUNCTUATION, CONTRACTIONS, MARKUP, SPECIAL, WORDS, WORDS)


def strings(count: int, seed: int = 0) -> list[str]:
    """-> this many texts: of one script, of one kind, of all kinds mixed, of any code points, empty and very long."""
    draw = random.Random(seed)

    def word(script: str) -> str:
        return "".join(draw.choices(script, k=draw.randint(1, 9)))

    def one_script() -> str:
        script = draw.choice(SCRIPTS)
        return " ".join(word(script) for _ in range(draw.randint(1, 5)))

    def one_kind() -> str:
        return draw.choice(("", " ")).join(draw.choices(draw.choice(KINDS), k=draw.randint(0, 6)))

    def mixed() -> str:
        pieces = [draw.choice((*draw.choice(KINDS), word(draw.choice(SCRIPTS)))) for _ in range(draw.randint(1, 12))]
        return draw.choice(("", " ", "  ")).join(pieces)

    def any_code_points() -> str:
        codes = (draw.choice((draw.randrange(0x3000), draw.randrange(0x110000))) for _ in range(draw.randint(1, 20)))
        return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS + CONTRACTIONS, k=draw.randint(1, 14)))

    makers = (one_script, one_kind, mixed, any_code_points, sentence)
    long = ["a photo of a cat " * 500, "x" * 3000, "é" * 1000, " " * 2000, "🙂" * 500]
    return ["", *long, *(makers[i % len(makers)]() for i in range(count - len(long) - 1))]
