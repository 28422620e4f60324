"""CLIP's released vocabulary, taken out of a test dependency that carries its merges inside."""

from functools import cache
from pathlib import Path

import instant_clip_tokenizer

from clipseg.processing.vocabulary import Merge, vocabulary_of

MERGES, ENTRIES = 48_894, 49_408


@cache
def real_vocabulary() -> tuple[dict[str, int], list[Merge]]:
    """-> symbol to id, 49,408 of them, and 48,894 merges; not to be changed, for every test gets the same."""
    content = Path(instant_clip_tokenizer.instant_clip_tokenizer.__file__).read_bytes()
    begin = content.index(b"#version: 0.2\ni n\nt h\n")  # OpenAI's list of merges, compiled in as it is
    lines = content[begin:].split(b"\n", MERGES + 1)[1 : MERGES + 1]
    merges = [(left, right) for left, right in (line.decode().split(" ") for line in lines)]
    vocabulary = vocabulary_of(merges)
    assert len(vocabulary) == ENTRIES
    return vocabulary, merges
