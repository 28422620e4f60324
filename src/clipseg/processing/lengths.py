"""Cutting and filling rows of tokens to a length: the documented options, as functions of numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipseg.errors import UsageError

if TYPE_CHECKING:
    import torch

UNLIMITED = int(1e30)  # the documented value of `model_max_length` where a checkpoint names none
STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")


def checked_side(side: str) -> str:
    """The end of a row at which to pad or cut -> itself. Raises UsageError."""
    if side not in ("left", "right"):
        raise UsageError(f"a side to pad or cut is 'left' or 'right', got {side!r}")
    return side


def truncation_strategy(truncation: bool | str) -> str:
    """The documented values of `truncation` -> one of STRATEGIES. Raises UsageError for any other."""
    if isinstance(truncation, bool):
        return "longest_first" if truncation else "do_not_truncate"
    if truncation not in STRATEGIES:
        raise UsageError(f"truncation is True, False or one of {', '.join(STRATEGIES)}, got {truncation!r}")
    return truncation


def kept_lengths(lengths: Sequence[int], room: int, strategy: str) -> list[int]:
    """Lengths of a text or of a pair, and the room for all of it -> the lengths to keep.

    "longest_first" takes from the longer of a pair until both are equal; a token left over goes to the longer one, or
    to the second if they are equally long. Raises UsageError where a strategy cannot make the room.
    """
    excess = sum(lengths) - room
    if room < 0:
        raise UsageError(f"max_length has no room for the special tokens; it needs to be {-room} larger")
    if excess <= 0 or strategy == "do_not_truncate":
        return list(lengths)
    if strategy == "longest_first":
        if len(lengths) == 1:
            return [room]
        first, second = lengths
        short = min(first, second, room // 2)
        return [short, room - short] if first <= second else [room - short, short]
    cut = STRATEGIES.index(strategy) - 1
    if cut >= len(lengths) or lengths[cut] < excess:
        raise UsageError(f"truncation={strategy!r} cannot take {excess} tokens off texts of {list(lengths)} tokens")
    return [length - excess if i == cut else length for i, length in enumerate(lengths)]


def padded_length(lengths: Sequence[int], padding: bool | str, limit: int, multiple: int | None) -> int:
    """Lengths of rows, the documented values of `padding` and the longest length -> the length to fill up to.

    0 fills nothing. Raises UsageError for another `padding`, or "max_length" without a limit.
    """
    if padding in (False, "do_not_pad") or not lengths:
        return 0
    if padding not in (True, "longest", "max_length"):
        raise UsageError(f"padding is True, False, 'longest' or 'max_length', got {padding!r}")
    if padding == "max_length" and limit >= UNLIMITED:
        raise UsageError("padding='max_length' needs a max_length: this tokenizer has no model_max_length of its own")
    length = limit if padding == "max_length" else max(lengths)
    return -(-length // multiple) * multiple if multiple else length


def stacked(rows: list[Any], kind: str) -> "np.ndarray | torch.Tensor":
    """B equally long rows -> int64 (B, N) of numpy ("np") or torch ("pt"). Raises UsageError for uneven rows."""
    if kind not in ("np", "pt"):
        raise UsageError(f"return_tensors is 'np', 'pt' or None, got {kind!r}")
    try:
        array = np.array(rows, dtype=np.int64)
    except ValueError as error:
        raise UsageError("texts of different lengths make no tensor: pass padding=True or another padding") from error
    if kind == "np":
        return array
    import torch

    return torch.from_numpy(array)
