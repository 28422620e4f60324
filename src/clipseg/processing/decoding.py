"""Token ids -> symbols -> text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipseg.processing.special_tokens import SpecialTokens
from clipseg.processing.texts import plain_ids
from clipseg.processing.vocabulary import END_OF_WORD, spell

if TYPE_CHECKING:
    import torch


class Decoding(SpecialTokens):
    """The way back from ids; `errors` says what becomes of bytes that are no UTF-8."""

    errors: str

    def decode(
        self,
        token_ids: "int | Sequence[Any] | np.ndarray | torch.Tensor",
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,  # documented; neither ever applied to byte pairs
        spaces_between_special_tokens: bool | None = None,
    ) -> Any:
        """N ids -> their text; rows of ids -> a list of texts. Words come one space apart: "didn't" as "didn 't".

        Skips every token added as a special one, if asked to. Raises PromptError for an id outside the vocabulary.
        """
        ids = plain_ids(token_ids)
        ids = ids if isinstance(ids, list) else [ids]
        if ids and isinstance(ids[0], list):
            return self.batch_decode(ids, skip_special_tokens)
        if skip_special_tokens:
            special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
            ids = [i for i in ids if i not in special]
        return self.convert_tokens_to_string(self.convert_ids_to_tokens(ids)).replace(END_OF_WORD, " ").strip()

    def batch_decode(
        self,
        sequences: "Sequence[Any] | np.ndarray | torch.Tensor",
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool | None = None,
    ) -> list[str]:
        """Rows of ids -> their texts."""
        return [self.decode(row, skip_special_tokens) for row in sequences]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Symbols -> the text their bytes spell, with each `</w>` still in it."""
        return b"".join(spell(token) for token in tokens).decode("utf-8", self.errors)

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """A symbol -> its id, symbols -> their ids; the id of the unknown token for what the vocabulary lacks."""
        if isinstance(tokens, str):
            found = self._tokenizer.token_to_id(tokens)
            return self.unk_token_id if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(
        self, ids: "int | Sequence[int] | torch.Tensor", skip_special_tokens: bool = False
    ) -> Any:
        """An id -> its symbol, ids -> their symbols, without those of roles if they are to be skipped.

        Raises PromptError for an id outside the vocabulary.
        """
        plain = plain_ids(ids)
        if not isinstance(plain, list):
            return self._symbol(plain)
        special = self.all_special_ids if skip_special_tokens else ()
        return [self._symbol(i) for i in plain if i not in special]
