"""Completing and filling up ids that are there already, as data collators do."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from clipseg.errors import UsageError
from clipseg.processing.encoding import BatchEncoding
from clipseg.processing.lengths import Filling, checked_side, kept_lengths, padded_length, truncation_strategy
from clipseg.processing.tokenizer_files import TokenizerFiles


class Padding(TokenizerFiles):
    """A vocabulary with limits: how long a row may be, and at which end it is filled up or cut."""

    model_input_names: ClassVar[list[str]]
    model_max_length: int
    padding_side: str
    truncation_side: str

    @property
    def max_len_single_sentence(self) -> int:
        """How many tokens of a text a model takes, besides the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """How many tokens of a pair of texts a model takes, besides the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """A row, a batch or a list of rows, by column -> the same with ids and masks filled up to one length.

        Columns of no ids or masks come back as they are. Rows given as tensors come back as tensors, others as lists
        if `return_tensors` is None. Options are those of a call; an attention mask of ones is made where there is none.
        Raises UsageError if there are no ids, and for uneven columns.
        """
        columns = encoded_inputs
        if isinstance(columns, (list, tuple)):
            first = columns[0] if columns else {}
            columns = {name: [row[name] for row in columns] for name in first}
        ids = self.model_input_names[0]
        if not isinstance(columns, Mapping) or ids not in columns:
            raise UsageError(f"to pad takes rows or a batch with {ids}, got {list(columns)!r:.80}")
        values = {name: _plain(column) for name, column in columns.items()}
        kind = return_tensors or _kind(columns[ids])
        single = bool(values[ids]) and not isinstance(values[ids][0], list)
        rows: dict[str, list[Any]] = {name: [column] if single else column for name, column in values.items()}
        masked = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if masked and "attention_mask" not in rows:
            rows["attention_mask"] = [[1] * len(row) for row in rows[ids]]
        lengths = [len(row) for row in rows[ids]]
        if uneven := [name for name, column in rows.items() if len(column) != len(lengths)]:
            raise UsageError(f"{', '.join(uneven)} and {ids} have different numbers of rows")
        limit = self.model_max_length if max_length is None else max_length
        filling = self._filling(padded_length(lengths, padding, limit, pad_to_multiple_of), padding_side)
        filled = {
            name: filling.fill("input_ids" if name == ids else name, column) if name in (ids, *_FILLED) else column
            for name, column in rows.items()
        }
        return BatchEncoding({n: c[0] for n, c in filled.items()} if single else filled, tensor_type=kind)

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> BatchEncoding:
        """Ids of a text, or of a pair, without special tokens -> what a call makes of the text, under its options."""
        if truncation is None:
            truncation = max_length is not None and not padding
        strategy = truncation_strategy(truncation)
        parts = [ids] if pair_ids is None else [ids, pair_ids]
        if strategy != "do_not_truncate":
            limit = self.model_max_length if max_length is None else max_length
            specials = self.num_special_tokens_to_add(pair_ids is not None) if add_special_tokens else 0
            kept = kept_lengths([len(part) for part in parts], limit - specials, strategy)
            right = self.truncation_side == "right"
            pairs = zip(parts, kept, strict=True)
            parts = [part[:length] if right else part[len(part) - length :] for part, length in pairs]
        whole = self.build_inputs_with_special_tokens(*parts) if add_special_tokens else [*chain(*parts)]
        options = (padding, max_length, pad_to_multiple_of, padding_side)
        batch = self.pad({"input_ids": [whole]}, *options)  # of one row: alone, one without ids would be none
        row = BatchEncoding({name: column[0] for name, column in batch.items()})
        return row.convert_to_tensors(return_tensors, prepend_batch_axis)

    def _filling(self, length: int, side: str | None) -> Filling:
        if length and self.pad_token is None:
            raise UsageError(
                "there is no pad_token to fill up with: give one, as in tokenizer.pad_token = '<|endoftext|>'"
            )
        side = self.padding_side if side is None else checked_side(side)
        return Filling(length, side, self.pad_token_id, self.pad_token) if length else Filling()


_FILLED = ("token_type_ids", "attention_mask", "special_tokens_mask")


def _plain(column: Any) -> Any:
    """A column in tensors, arrays or lists of them -> in lists; a column of other things as it is."""
    if hasattr(column, "tolist") or (isinstance(column, (list, tuple)) and any(hasattr(c, "tolist") for c in column)):
        return column.tolist() if hasattr(column, "tolist") else [_plain(each) for each in column]
    return list(column) if isinstance(column, tuple) else column


def _kind(column: Any) -> str | None:
    """A column -> the kind of tensors that it is, or is made of; None for lists."""
    while isinstance(column, (list, tuple)) and column:
        column = column[0]
    if isinstance(column, np.ndarray):
        return "np"
    return "pt" if hasattr(column, "tolist") and not isinstance(column, np.generic) else None
