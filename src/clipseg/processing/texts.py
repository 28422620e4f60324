"""What the tokeniser is given, texts and ids, in one form each."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from clipseg.errors import PromptError

Words: TypeAlias = str | Sequence[str]  # a text, or its words where it is split already


def checked_texts(text: Any, split: bool, name: str) -> tuple[Sequence[Words], bool]:
    """A text or several -> texts, and whether it was only one; `split` texts are lists of words.

    Raises PromptError, naming the argument, for what is no text.
    """
    single = _is_text(text, split)
    texts = [text] if single else text
    if not isinstance(texts, (list, tuple)) or not all(_is_text(each, split) for each in texts):
        expected = "a list of words or a list of those" if split else "a string or a list of strings"
        raise PromptError(f"{name} must be {expected}, got {text!r:.80}")
    return texts, single


def _is_text(text: Any, split: bool) -> bool:
    if not split:
        return isinstance(text, str)
    return isinstance(text, (list, tuple)) and len(text) > 0 and all(isinstance(word, str) for word in text)


def plain_ids(ids: Any) -> Any:
    """An id, ids or rows of ids, as any sequence, array or tensor -> Python ints in lists."""
    if hasattr(ids, "tolist"):
        return ids.tolist()
    return [plain_ids(i) for i in ids] if isinstance(ids, (list, tuple)) else int(ids)
