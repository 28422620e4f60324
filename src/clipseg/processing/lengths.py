"""Cutting and filling rows of tokens to a length: the documented options, as functions of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
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


def plain_name(option: Any) -> Any:
    """An option's name -> itself; a member of an enumeration of such names, as other libraries have -> its name."""
    return getattr(option, "value", option)


def truncation_strategy(truncation: bool | str | None) -> str:
    """The documented values of `truncation` -> one of STRATEGIES. Raises UsageError for any other."""
    truncation = plain_name(truncation)
    if isinstance(truncation, bool) or truncation is None:
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


def padding_strategy(padding: bool | str | None) -> str:
    """The documented values of `padding` -> "longest", "max_length" or "do_not_pad". Raises UsageError."""
    padding = plain_name(padding)
    if isinstance(padding, bool) or padding is None:
        return "longest" if padding else "do_not_pad"
    if padding not in ("longest", "max_length", "do_not_pad"):
        raise UsageError(f"padding is True, False, 'longest' or 'max_length', got {padding!r}")
    return padding


def padded_length(lengths: Sequence[int], padding: bool | str | None, limit: int, multiple: int | None) -> int:
    """Lengths of rows, the documented values of `padding` and the longest length -> the length to fill up to.

    0 fills nothing. Raises UsageError for another `padding`, or "max_length" without a limit.
    """
    strategy = padding_strategy(padding)
    if strategy == "do_not_pad" or not lengths:
        return 0
    if strategy == "max_length" and limit >= UNLIMITED:
        raise UsageError("padding='max_length' needs a max_length: this tokenizer has no model_max_length of its own")
    length = limit if strategy == "max_length" else max(lengths)
    return -(-length // multiple) * multiple if multiple else length


@dataclass(frozen=True)
class Filling:
    """What rows of tokens are filled up with: to a length, on a side, by the pad token."""

    length: int = 0
    side: str = "right"
    pad_id: int = 0
    pad_token: str = ""

    def fill(self, column: str, rows: Sequence[list[Any]]) -> list[list[Any]]:
        """B rows of a column, by its name -> B rows of `length` at least; rows of other columns as they are."""
        value = self.pad_id if column == "input_ids" else FILLED_WITH.get(column)
        if not self.length or value is None:
            return list(rows)
        if self.side == "right":
            return [row + [value] * (self.length - len(row)) for row in rows]
        return [[value] * (self.length - len(row)) + row for row in rows]


FILLED_WITH = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "offset_mapping": (0, 0)}


def stacked(rows: Any, kind: str) -> "np.ndarray | torch.Tensor":
    """Equally long rows -> an array of numpy ("np") or torch ("pt"): int64 of whole numbers, else float32 or bool.

    Raises UsageError for uneven rows and for what is no number.
    """
    kind = plain_name(kind)
    if kind not in ("np", "pt"):
        raise UsageError(f"return_tensors is 'np', 'pt' or None, got {kind!r}")
    try:
        array = np.array(rows)
    except ValueError as error:
        raise UsageError(
            "texts of different lengths make no tensor: pass padding=True or another padding; "
            "pictures of different sizes make none either: resize or crop them"
        ) from error
    if array.dtype.kind not in "iufb":
        raise UsageError(f"only numbers make a tensor, got {rows!r:.80}")
    if array.dtype.kind != "b":
        array = array.astype(np.float32 if array.dtype.kind == "f" and array.size else np.int64)
    if kind == "np":
        return array
    import torch

    return torch.from_numpy(array)
