"""What the tokeniser returns: a batch that knows, token by token, where in the texts it came from.

Legend: a batch has B rows of N tokens. Methods that ask about one token, word or character take the row first, or
leave it out where there is one row: `batch.token_to_word(3)` is `batch.token_to_word(0, 3)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokenizers import Encoding

from clipseg.errors import UsageError
from clipseg.processing.batch import BatchFeature
from clipseg.processing.lengths import Filling


class CharSpan(NamedTuple):
    """From the character at `start` up to the one before `end`."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """From the token at `start` up to the one before `end`."""

    start: int
    end: int


class BatchEncoding(BatchFeature):
    """Model inputs by name, as in any batch; by number, `batch[0]`, how its first row came about.

    `encoding` are the rows of the `tokenizers` library behind the columns, which `filling` completes when they are
    asked for. Raises UsageError for a question about rows in a batch that has none.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encoding: Encoding | Sequence[Encoding] | None = None,
        tensor_type: str | None = None,
        *,
        filling: Filling | None = None,
    ) -> None:
        super().__init__(data, tensor_type)
        self._rows = [encoding] if isinstance(encoding, Encoding) else encoding
        self._filling = filling

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return super().__getitem__(item)
        if isinstance(item, slice):
            return {name: column[item] for name, column in self.items()}
        return self._row(item)

    @property
    def is_fast(self) -> bool:
        """Whether the batch knows its rows."""
        return self._rows is not None

    @property
    def encodings(self) -> list[Encoding] | None:
        """B rows of the `tokenizers` library, or None."""
        filling = self._filling
        if filling and self._rows is not None:
            # Here and not before: this may start threads of that library, which do not survive a fork.
            for row in self._rows:
                row.pad(filling.length, direction=filling.side, pad_id=filling.pad_id, pad_token=filling.pad_token)
            self._filling = None
        return None if self._rows is None else list(self._rows)

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs of texts, None if unknown."""
        return self._rows[0].n_sequences if self._rows else None

    # -- rows ----------------------------------------------------------------------------------------------------

    def tokens(self, batch_index: int = 0) -> list[str]:
        """A row -> its N symbols."""
        return list(self._row(batch_index).tokens)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """A row -> for each token 0 or 1, the text of a pair it is of, None for special tokens."""
        return list(self._row(batch_index).sequence_ids)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """A row -> for each token the number of its word in its text, None for special tokens."""
        return list(self._row(batch_index).word_ids)

    # -- one token, word or character ----------------------------------------------------------------------------

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """A token -> the text of a pair it is of, 0 or 1; None for a special token."""
        row, token = self._place(batch_or_token_index, token_index)
        found: int | None = row.token_to_sequence(_from_start(token, len(row)))
        return found

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """A token -> the number of its word in its text; None for a special token."""
        row, token = self._place(batch_or_token_index, token_index)
        found: int | None = row.token_to_word(_from_start(token, len(row)))
        return found

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """A token -> its characters in its text; None for a special token."""
        row, token = self._place(batch_or_token_index, token_index)
        found = row.token_to_chars(_from_start(token, len(row)))
        return None if found is None else CharSpan(*found)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """A word of a text -> its tokens; None if it has none."""
        row, word = self._place(batch_or_word_index, word_index)
        found = row.word_to_tokens(word, sequence_index)
        return None if found is None else TokenSpan(*found)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """A word of a text -> its characters; None if there is no such word."""
        row, word = self._place(batch_or_word_index, word_index)
        found = row.word_to_chars(word, sequence_index)
        return None if found is None else CharSpan(*found)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """A character of a text -> its token; None if it is in none."""
        row, char = self._place(batch_or_char_index, char_index)
        found: int | None = row.char_to_token(char, sequence_index)
        return found

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """A character of a text -> the number of its word; None if it is in none."""
        row, char = self._place(batch_or_char_index, char_index)
        found: int | None = row.char_to_word(char, sequence_index)
        return found

    def _place(self, row_or_index: int, index: int | None) -> tuple[Encoding, int]:
        return (self._row(0), row_or_index) if index is None else (self._row(row_or_index), index)

    def _row(self, index: int) -> Encoding:
        rows = self.encodings
        if rows is None:
            raise UsageError("this batch was not made from texts and does not know where its tokens came from")
        if not -len(rows) <= index < len(rows):
            raise IndexError(f"row {index} of a batch of {len(rows)}")
        return rows[index]


def _from_start(index: int, length: int) -> int:
    return index + length if index < 0 else index
