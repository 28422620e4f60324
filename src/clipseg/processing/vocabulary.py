"""CLIP's byte-pair vocabulary: words of bytes, the order of its entries, its files, and training a small one.

A symbol is a string over the 256 characters of the byte alphabet; the last symbol of a word ends in `</w>`. A
vocabulary lists the 256 bytes, the same 256 ending a word, one symbol per merge, and the two special tokens.
"""

import codecs
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from clipseg.checkpoints.files import read_json
from clipseg.errors import CheckpointError, CheckpointNotFoundError, ConfigurationError, UsageError
from clipseg.processing.files import FilePath

START_OF_TEXT = "<|startoftext|>"
END_OF_TEXT = "<|endoftext|>"
END_OF_WORD = "</w>"
MERGES_HEADER = "#version: 0.2"

# CLIP's split of a text into words (numerics: the alternatives are tried in this order).
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"

Merge: TypeAlias = tuple[str, str]
Vocabulary: TypeAlias = FilePath | Mapping[str, int] | Sequence[str]  # a vocab.json, symbol to id, or symbols in order
Merges: TypeAlias = FilePath | Sequence[str | Sequence[str]]  # a merges.txt, "a b" strings or pairs
Special: TypeAlias = str | AddedToken | Mapping[str, Any]  # a special token, as written or as JSON files hold it


@cache
def byte_alphabet() -> tuple[str, ...]:
    """256 bytes -> 256 visible characters, GPT-2's alphabet; index b holds the character that stands for byte b.

    Bytes that print in Latin-1 stand for themselves, the other 68 take the code points from 256 on, in order.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = iter(range(256, 512))
    return tuple(chr(byte) if byte in printable else chr(next(hidden)) for byte in range(256))


@cache
def _byte_of() -> dict[str, int]:
    return {char: byte for byte, char in enumerate(byte_alphabet())}


def spell(token: str) -> bytes:
    """A symbol -> the bytes it spells, `</w>` as it stands; an added token outside the byte alphabet is text."""
    byte_of = _byte_of()
    return bytes(byte_of[char] for char in token) if all(char in byte_of for char in token) else token.encode()


def checked_errors(errors: str) -> str:
    """How to treat bytes that are no UTF-8, by a name that `bytes.decode` knows -> itself. Raises UsageError."""
    try:
        codecs.lookup_error(errors)
    except LookupError as error:
        raise UsageError(f"errors is a name that bytes.decode knows, such as 'replace', got {errors!r}") from error
    return errors


def text_normalizer() -> normalizers.Normalizer:
    """Text -> composed (NFC), lower-case text with each run of white space as one space."""
    return normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])


def word_splitter() -> pre_tokenizers.PreTokenizer:
    """Normalised text -> words over the byte alphabet."""
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    # ByteLevel's own pattern stays on: it takes apart an upper-case "<|ENDOFTEXT|>", which is text and not a token.
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def vocabulary_of(merges: Iterable[Merge]) -> dict[str, int]:
    """Merges, in the order they were learned -> symbol to id, in CLIP's order.

    CLIP's own 48,894 merges give its 49,408 entries. Two merges that spell the same symbol share one entry.
    """
    # The alphabet lists the bytes that print first, whatever their value: that is the order of their code points.
    alphabet = sorted(byte_alphabet())
    symbols = [*alphabet, *(char + END_OF_WORD for char in alphabet), *(left + right for left, right in merges)]
    return {symbol: i for i, symbol in enumerate(dict.fromkeys([*symbols, START_OF_TEXT, END_OF_TEXT]))}


def train_vocabulary(phrases: Iterable[str], size: int) -> tuple[dict[str, int], list[Merge]]:
    """Phrases -> a vocabulary of at most `size` entries in CLIP's order, and its merges in the order learned.

    Byte-pair encoding (Sennrich et al. 2016): the most frequent adjacent pair becomes one symbol, again and again,
    while the vocabulary has room and some pair occurs at least twice. A tie goes to the alphabetically first pair, so
    the same phrases in any order give the same vocabulary. Raises ConfigurationError if `size` has no room for the
    512 byte symbols and the two special tokens.
    """
    room = size - len(vocabulary_of([]))
    if room < 0:
        raise ConfigurationError(
            f"a vocabulary needs at least {size - room} entries (512 byte symbols, 2 special tokens), got size={size}"
        )
    normalizer, splitter = text_normalizer(), word_splitter()
    counted = Counter(
        word for phrase in phrases for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(phrase))
    )
    words = [[*word[:-1], word[-1] + END_OF_WORD] for word in counted]
    frequencies = list(counted.values())

    counts: Counter[Merge] = Counter()
    places: defaultdict[Merge, set[int]] = defaultdict(set)  # the words in which a pair has been seen
    for place, symbols in enumerate(words):
        for pair in pairwise(symbols):
            counts[pair] += frequencies[place]
            places[pair].add(place)

    merges: list[Merge] = []
    learned: set[str] = set()
    while len(learned) < room and counts:
        best, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        if count < 2:
            break
        merges.append(best)
        learned.add(best[0] + best[1])
        for place in places.pop(best):
            before, after = words[place], merge_pair(words[place], best)
            for pair in pairwise(before):
                counts[pair] -= frequencies[place]
                if not counts[pair]:
                    del counts[pair]
            for pair in pairwise(after):
                counts[pair] += frequencies[place]
                places[pair].add(place)
            words[place] = after
    return vocabulary_of(merges), merges


def merge_pair(symbols: Sequence[str], pair: Merge) -> list[str]:
    """A word's symbols -> the same word with each occurrence of `pair`, from the left, joined to one symbol."""
    merged: list[str] = []
    for symbol in symbols:
        # An occurrence just joined is no half of the next one: "a a a" is "aa a".
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def load_vocabulary(
    vocab: Vocabulary | None,
    merges: Merges | None,
    tokenizer_file: FilePath | None = None,
    tokenizer_object: Tokenizer | None = None,
) -> tuple[models.BPE, list[AddedToken]]:
    """Any documented way to give a vocabulary -> its model, and added tokens in the order of their ids.

    A `tokenizer_file` (tokenizer.json) or a tokenizer of the `tokenizers` library holds all of it. Raises UsageError
    for a vocabulary given twice, and CheckpointError for files that hold none or do not fit together.
    """
    if sum(source is not None for source in (vocab or merges, tokenizer_file, tokenizer_object)) > 1:
        raise UsageError(
            "vocab and merges, tokenizer_file and tokenizer_object each hold a whole vocabulary: give one of them"
        )
    if tokenizer_file is not None:
        symbols, pairs, added = _parse_tokenizer(read_json(tokenizer_file), str(tokenizer_file))
        return _byte_pairs(symbols, pairs), added
    if tokenizer_object is not None:
        symbols, pairs, added = _parse_tokenizer(json.loads(tokenizer_object.to_str()), "tokenizer_object")
        return _byte_pairs(symbols, pairs), added
    if isinstance(vocab, (str, PathLike)) and isinstance(merges, (str, PathLike)):
        # The library reads a pair of sound files faster than they can be handed to it. What is wrong with others, if
        # anything is, comes out below.
        with suppress(Exception):  # it raises bare Exception
            return models.BPE.from_file(str(vocab), str(merges), end_of_word_suffix=END_OF_WORD), []
    if isinstance(vocab, (str, PathLike)):
        symbols = read_json(vocab)
    else:
        symbols = dict(vocab) if isinstance(vocab, Mapping) else {symbol: i for i, symbol in enumerate(vocab or ())}
    if set(map(type, symbols.values())) - {int}:
        raise CheckpointError(f"{vocab!r:.80} is no vocabulary: expected each symbol with an integer id")
    pairs = read_merges(merges) if isinstance(merges, (str, PathLike)) else parse_merges(merges or (), "merges")
    return _byte_pairs(symbols, pairs), []


def _byte_pairs(symbols: dict[str, int], merges: list[Merge]) -> models.BPE:
    try:
        return models.BPE(symbols, merges, end_of_word_suffix=END_OF_WORD)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"vocabulary and merges do not fit together: {error}") from error


def _parse_tokenizer(content: Mapping[str, Any], origin: str) -> tuple[dict[str, int], list[Merge], list[AddedToken]]:
    # Vocabulary, merges and added tokens only: how a text is split and completed is the same for every CLIP.
    try:
        symbols, merges = content["model"]["vocab"], content["model"]["merges"]
        added = sorted(content.get("added_tokens") or (), key=lambda token: int(token["id"]))
        return dict(symbols), parse_merges(merges, origin), [added_token(token) for token in added]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{origin} holds no byte-pair vocabulary ({error!r}), expected a tokenizer.json"
        ) from error


def added_token(token: Special) -> AddedToken:
    """A special token in any form -> the library's type; one given as text is found only as it is written."""
    if isinstance(token, AddedToken):
        return token
    if isinstance(token, str):
        return AddedToken(token, special=True, normalized=False)
    flags = {name: token[name] for name in ("single_word", "lstrip", "rstrip", "normalized") if name in token}
    return AddedToken(token["content"], special=token.get("special", True), **flags)


def read_merges(path: FilePath) -> list[Merge]:
    """merges.txt -> merges in the order learned. Raises CheckpointError if it is missing or a line is no merge."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is no readable list of merges ({error})") from error
    # A line ends at a line feed and nowhere else, which splitlines() sees differently.
    lines = [line for line in text.split("\n") if line and not line.isspace() and not line.startswith("#version")]
    return parse_merges(lines, str(path))


def parse_merges(merges: Iterable[str | Sequence[str]], origin: str) -> list[Merge]:
    """Merges as "a b" strings or as pairs -> pairs. Raises CheckpointError, naming `origin`, if one is neither."""
    pairs: list[Any] = [tuple(merge.split() if isinstance(merge, str) else merge) for merge in merges]
    if set(map(len, pairs)) - {2}:  # half of the time it takes to load a tokeniser is spent here
        wrong = next(pair for pair in pairs if len(pair) != 2)
        raise CheckpointError(f"{origin}: a merge is two symbols, got {' '.join(wrong)!r}")
    return pairs


def merges_text(merges: Iterable[Merge]) -> str:
    """Merges -> the text of a merges.txt."""
    return "".join(f"{line}\n" for line in (MERGES_HEADER, *(f"{left} {right}" for left, right in merges)))
