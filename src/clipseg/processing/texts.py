"""What the tokeniser is given, texts and ids, in one form each."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from clipseg.errors import PromptError

Words: TypeAlias = str | Sequence[str]  # a text, or its words where it is split already


def checked_texts(text: Any, pair: Any, split: bool) -> tuple[Sequence[Words], Sequence[Words | None], bool]:
    """A text or several, and what they are paired with or None -> texts, their pairs, and whether it was only one.

    `split` texts are lists of words. A list of pairs of texts stands for both. Raises PromptError, naming the
    argument, for what is no text, and for a pair too few or too many.
    """
    if pair is None and _are_pairs(text, split):
        first, second = zip(*text, strict=True)
        return first, second, False
    texts, single = _checked(text, split, "text")
    if pair is None:
        return texts, [None] * len(texts), single
    pairs, _ = _checked(pair, split, "text_pair")
    if len(pairs) != len(texts):
        raise PromptError(f"text_pair has {len(pairs)} texts, text has {len(texts)}; give one for each")
    return texts, pairs, single


def _checked(text: Any, split: bool, name: str) -> tuple[Sequence[Words], bool]:
    single = _is_text(text, split)
    texts = [text] if single else text
    if not isinstance(texts, (list, tuple)) or not all(_is_text(each, split) for each in texts):
        expected = "a list of words or a list of those" if split else "a string or a list of strings"
        raise PromptError(f"{name} must be {expected}, got {text!r:.80}")
    return texts, single


def _are_pairs(text: Any, split: bool) -> bool:
    return (
        isinstance(text, (list, tuple))
        and len(text) > 0
        and all(
            isinstance(each, (list, tuple)) and len(each) == 2 and all(_is_text(half, split) for half in each)
            for each in text
        )
    )


def _is_text(text: Any, split: bool) -> bool:
    if not split:
        return isinstance(text, str)
    return isinstance(text, (list, tuple)) and len(text) > 0 and all(isinstance(word, str) for word in text)


def plain_ids(ids: Any) -> Any:
    """An id, ids or rows of ids, as any sequence, array or tensor -> Python ints in lists."""
    if hasattr(ids, "tolist"):
        return ids.tolist()
    return [plain_ids(i) for i in ids] if isinstance(ids, (list, tuple)) else int(ids)
