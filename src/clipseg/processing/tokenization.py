"""Text -> token ids and back, as CLIP does it, over the `tokenizers` library.

Legend: B texts, N tokens per text (bos and eos included).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from typing import Any, ClassVar, TypeVar

from tokenizers import Encoding, Tokenizer, decoders

from clipseg.errors import PromptError, UsageError
from clipseg.processing.encoding import BatchEncoding
from clipseg.processing.files import FilePath
from clipseg.processing.lengths import (
    UNLIMITED,
    checked_side,
    kept_lengths,
    padded_length,
    padding_strategy,
    truncation_strategy,
)
from clipseg.processing.padding import Padding
from clipseg.processing.special_tokens import ADDITIONAL, ROLES, special_token
from clipseg.processing.texts import Words, checked_texts
from clipseg.processing.tokenizer_files import SOURCES
from clipseg.processing.vocabulary import (
    END_OF_TEXT,
    START_OF_TEXT,
    Merges,
    Special,
    Vocabulary,
    added_token,
    checked_errors,
    load_vocabulary,
    text_normalizer,
    train_vocabulary,
    vocabulary_of,
    word_splitter,
)

logger = logging.getLogger(__name__)

MANY = 256
"""Texts from which on they are split into tokens on all cores, as the library does it."""

Self = TypeVar("Self", bound="CLIPTokenizer")


class CLIPTokenizer(Padding):
    """Text -> token ids `bos … eos`, lower-cased, never cut unless asked.

    `vocab` is a path to a vocab.json, a dict or a list; `merges` is a path to a merges.txt, "a b" strings or pairs.
    `vocab_file` and `merges_file` are other names for them; `tokenizer_file` (a tokenizer.json) and `tokenizer_object`
    (of the `tokenizers` library) hold both. Special tokens that the vocabulary lacks are added after it. `errors` says
    how `decode` treats bytes that are no UTF-8 (the names of `bytes.decode`), `split_special_tokens` that special
    tokens in a text are words like any other. Keywords unknown here are kept in `init_kwargs` and saved again.
    Raises CheckpointError for files that hold no vocabulary, and UsageError for a contradiction.
    """

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]
    init_inputs: ClassVar[tuple[()]] = ()
    is_fast = True

    def __init__(
        self,
        vocab: Vocabulary | None = None,
        merges: Merges | None = None,
        unk_token: Special | None = END_OF_TEXT,
        bos_token: Special | None = START_OF_TEXT,
        eos_token: Special | None = END_OF_TEXT,
        pad_token: Special | None = END_OF_TEXT,
        *,
        vocab_file: FilePath | None = None,
        merges_file: FilePath | None = None,
        tokenizer_file: FilePath | None = None,
        tokenizer_object: Tokenizer | None = None,
        errors: str = "replace",
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        split_special_tokens: bool = False,
        sep_token: Special | None = None,
        cls_token: Special | None = None,
        mask_token: Special | None = None,
        additional_special_tokens: Sequence[Special] | None = None,
        extra_special_tokens: Sequence[Special] | Mapping[str, Special] | None = None,
        added_tokens_decoder: Mapping[Any, Special] | None = None,
        name_or_path: str = "",
        **kwargs: Any,
    ) -> None:
        sources = dict(
            zip(SOURCES, (vocab, merges, vocab_file, merges_file, tokenizer_file, tokenizer_object), strict=True)
        )
        model, added = load_vocabulary(
            vocab_file if vocab is None else vocab,
            merges_file if merges is None else merges,
            tokenizer_file,
            tokenizer_object,
        )
        named = [
            added_token(token) for _, token in sorted((added_tokens_decoder or {}).items(), key=lambda it: int(it[0]))
        ]
        if not additional_special_tokens:
            extra = extra_special_tokens or ()
            additional_special_tokens = list(extra.values() if isinstance(extra, Mapping) else extra)
        given = (bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token)
        roles = {
            role: None if token is None else special_token(token) for role, token in zip(ROLES, given, strict=True)
        }
        more = [special_token(token) for token in additional_special_tokens]
        self.errors = checked_errors(errors)
        self.model_max_length = UNLIMITED if model_max_length is None else model_max_length
        self.padding_side, self.truncation_side = checked_side(padding_side), checked_side(truncation_side)
        self.split_special_tokens = split_special_tokens
        self.name_or_path = name_or_path
        self.deprecation_warnings: dict[str, bool] = {}  # what was warned of already
        # Of where the vocabulary came from only paths are kept: they are for the reader, never read again.
        self._kept = {name: str(it) if isinstance(it, (str, PathLike)) else None for name, it in sources.items()}
        self._kept |= kwargs

        if unknown := roles["unk_token"]:
            model.unk_token = unknown.content
        self._tokenizer = Tokenizer(model)
        self._tokenizer.normalizer = text_normalizer()
        self._tokenizer.pre_tokenizer = word_splitter()
        self._tokenizer.decoder = decoders.ByteLevel()
        self._tokenizer.encode_special_tokens = split_special_tokens
        # New ones in the order of their ids. How one is found is said best where they are listed by id, then in the
        # file of the whole vocabulary, then where it is given a role.
        tokens = {token.content: token for token in added} | {token.content: token for token in named}
        for token in (*(token for token in roles.values() if token), *more):
            tokens.setdefault(token.content, token)
        for token in tokens.values():
            (self._tokenizer.add_special_tokens if token.special else self._tokenizer.add_tokens)([token])
        self._special_tokens_map = {}
        self._give_roles(roles)
        self._additional = more

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._tokenizer.encode_special_tokens = self.split_special_tokens  # the library's own state lacks it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} entries, model_max_length={self.model_max_length})"

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The tokeniser of the `tokenizers` library underneath."""
        return self._tokenizer

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """The keywords that construct this tokeniser as it is now, but for its vocabulary."""
        own = ("errors", "model_max_length", "padding_side", "truncation_side", "split_special_tokens", "name_or_path")
        return {
            **self._kept,
            **{name: getattr(self, name) for name in own},
            **{role: getattr(self, role) for role in (*ROLES, ADDITIONAL)},
        }

    # -- text to ids ---------------------------------------------------------------------------------------------

    def __call__(
        self,
        text: Words | Sequence[Words],
        text_pair: Words | Sequence[Words] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
    ) -> BatchEncoding:
        """B texts, or pairs of texts -> `input_ids` and `attention_mask`, each B lists of N ints.

        One text gives flat lists, or B = 1 with `return_tensors` ("np" or "pt", int64 (B, N)). `padding`: True or
        "longest" fills up to the longest of the batch, "max_length" to `max_length`. `truncation`: True or
        "longest_first", "only_first", "only_second"; bos and a final eos stay, `max_length` counts them. `max_length`
        stands for `model_max_length` if not given; given alone it asks for truncation. What is cut off comes back as
        further rows with `return_overflowing_tokens`, each beginning with the last `stride` tokens of the one before;
        `overflow_to_sample_mapping` then says which text a row is of. A text longer than the model takes is logged,
        once, if `verbose`.
        Raises PromptError for what is no text, and UsageError for options that contradict each other.
        """
        firsts, seconds, single = checked_texts(text, text_pair, is_split_into_words)
        if truncation is None:
            truncation = max_length is not None and not padding
        strategy = truncation_strategy(truncation)
        limit = self.model_max_length if max_length is None else max_length
        cut_to = UNLIMITED if strategy == "do_not_truncate" else limit
        filled = padding_strategy(padding) != "do_not_pad"
        if filled and cut_to < UNLIMITED and pad_to_multiple_of and limit % pad_to_multiple_of:
            raise UsageError(
                f"rows cut to max_length={limit} cannot be padded to a multiple of {pad_to_multiple_of}: "
                "choose a max_length that is one"
            )

        rows: list[Encoding] = []
        of_text: list[int] = []
        encoded = self._encode_all(firsts, seconds, add_special_tokens, is_split_into_words)
        for index, (first, second, row) in enumerate(zip(firsts, seconds, encoded, strict=True)):
            if len(row) > cut_to:
                row = self._cut(first, second, add_special_tokens, is_split_into_words, strategy, cut_to, stride)
            pieces = [row, *row.overflowing] if return_overflowing_tokens else [row]
            rows += pieces
            of_text += [index] * len(pieces)
        lengths = [len(row) for row in rows]
        if max_length is None and verbose:
            self._warn_of_length(max(lengths, default=0))

        columns: dict[str, list[Any]] = {"input_ids": [row.ids for row in rows]}
        if self._wanted("token_type_ids", return_token_type_ids):
            columns["token_type_ids"] = [row.type_ids for row in rows]
        if self._wanted("attention_mask", return_attention_mask):
            columns["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            columns["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if return_offsets_mapping:
            columns["offset_mapping"] = [row.offsets for row in rows]
        filling = self._filling(padded_length(lengths, padding, limit, pad_to_multiple_of), padding_side)
        columns = {name: filling.fill(name, column) for name, column in columns.items()}
        if return_length:
            columns["length"] = [max(length, filling.length) for length in lengths]
        if return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = of_text
        elif single and return_tensors is None:
            # Like the documented class, which leaves `length` a list.
            columns = {name: column if name == "length" else column[0] for name, column in columns.items()}
        return BatchEncoding(columns, rows, return_tensors, filling=filling)

    def _wanted(self, column: str, asked: bool | None) -> bool:
        return column in self.model_input_names if asked is None else asked

    # Cut and filled up here: the library's own truncation and padding are settings of the shared tokenizer, so two
    # threads would disturb each other. Its batches start threads that do not survive a fork, as workers that load data
    # are made by, so few texts go one by one.

    def _encode_all(
        self, firsts: Sequence[Words], seconds: Sequence[Words | None], add_special_tokens: bool, split: bool
    ) -> Iterable[Encoding]:
        if len(firsts) >= MANY:
            texts = [one if two is None else (one, two) for one, two in zip(firsts, seconds, strict=True)]
            with suppress(Exception):  # which of them is wrong, and how, comes out below
                return self._tokenizer.encode_batch(texts, split, add_special_tokens)
        return (self._encode(one, two, add_special_tokens, split) for one, two in zip(firsts, seconds, strict=True))

    def _encode(self, first: Words, second: Words | None, add_special_tokens: bool, split: bool) -> Encoding:
        try:
            return self._tokenizer.encode(first, second, split, add_special_tokens)
        except TypeError as error:  # a string that has no UTF-8 form
            text = first if second is None else (first, second)
            raise PromptError(f"{text!a:.80} is no valid Unicode text: it holds half of a surrogate pair") from error
        except Exception as error:  # the library raises bare Exception
            raise PromptError(
                f"{first!r:.80} cannot be spelled in this vocabulary, and it lacks the unknown token {self.unk_token!r}"
            ) from error

    def _cut(
        self,
        first: Words,
        second: Words | None,
        add_special_tokens: bool,
        split: bool,
        strategy: str,
        limit: int,
        stride: int,
    ) -> Encoding:
        """A text or a pair that is too long -> `limit` tokens, with what is cut off as its `overflowing`."""
        encodings = [self._encode(text, None, False, split) for text in (first, second) if text is not None]
        specials = self.num_special_tokens_to_add(pair=second is not None) if add_special_tokens else 0
        kept = kept_lengths([len(encoding) for encoding in encodings], limit - specials, strategy)
        for encoding, length in zip(encodings, kept, strict=True):
            if not 0 <= stride < max(length, 1) and length < len(encoding):
                raise UsageError(f"stride={stride} must be less than the {length} tokens that a row has room for")
            encoding.truncate(length, stride=stride, direction=self.truncation_side)
        pair = encodings[1] if second is not None else None
        return self._tokenizer.post_process(encodings[0], pair, add_special_tokens)

    def _warn_of_length(self, length: int) -> None:
        if length > self.model_max_length and not self.deprecation_warnings.get("too_long"):
            self.deprecation_warnings["too_long"] = True
            logger.warning(
                "a text of %d tokens is longer than the %d that the model takes: it will be refused there; "
                "truncation=True cuts it",
                length,
                self.model_max_length,
            )

    def encode(
        self, text: Words, text_pair: Words | None = None, add_special_tokens: bool = True, **options: Any
    ) -> Any:
        """One text -> its N ids, as `__call__` gives them under the same options."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)["input_ids"]

    def encode_plus(
        self, text: Words, text_pair: Words | None = None, add_special_tokens: bool = True, **options: Any
    ) -> BatchEncoding:
        """See `__call__`: its former name for one text."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)

    def batch_encode_plus(
        self, batch_text_or_text_pairs: Sequence[Any], add_special_tokens: bool = True, **options: Any
    ) -> BatchEncoding:
        """See `__call__`: its former name for several texts, or a list of pairs."""
        return self(batch_text_or_text_pairs, add_special_tokens=add_special_tokens, **options)

    def tokenize(
        self, text: Words, pair: Words | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """One text -> its symbols, under the options of `__call__`."""
        return self(text, pair, add_special_tokens=add_special_tokens, **{"verbose": False, **options}).tokens()

    def train_new_from_iterator(
        self: Self,
        text_iterator: Iterable[str | Iterable[str]],
        vocab_size: int,
        length: int | None = None,
        new_special_tokens: Sequence[Special] | None = None,
        special_tokens_map: Mapping[str, str] | None = None,
    ) -> Self:
        """Phrases, or batches of them -> a tokeniser like this one with a vocabulary trained on them.

        The vocabulary has room for all bytes whatever its size; see `train_vocabulary`. `special_tokens_map` renames
        special tokens, `new_special_tokens` come on top. `length` is documented and not needed.
        """
        phrases = (phrase for batch in text_iterator for phrase in ([batch] if isinstance(batch, str) else batch))
        vocabulary, merges = train_vocabulary(phrases, max(vocab_size, len(vocabulary_of([]))))
        renamed = special_tokens_map or {}
        settings = {name: value for name, value in self.init_kwargs.items() if name not in SOURCES}
        settings |= {role: renamed.get(getattr(self, role), getattr(self, role)) for role in ROLES}
        more = [renamed.get(token, token) for token in self.additional_special_tokens or ()]
        settings[ADDITIONAL] = [*more, *(new_special_tokens or ())]
        return type(self)(vocabulary, merges, **settings)


class CLIPTokenizerFast(CLIPTokenizer):
    """CLIPTokenizer by its other documented name."""
