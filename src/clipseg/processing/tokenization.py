"""Text -> token ids and back, as CLIP does it, over the `tokenizers` library.

Legend: B texts, N tokens per text (bos and eos included).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer, decoders, models, processors

from clipseg.checkpoints.files import read_json, write_json
from clipseg.checkpoints.hub import find_file
from clipseg.checkpoints.sharing import Shareable
from clipseg.errors import CheckpointError, PromptError, UsageError
from clipseg.processing.batch import BatchFeature
from clipseg.processing.files import FilePath, split_hub_options, write_text
from clipseg.processing.lengths import (
    UNLIMITED,
    checked_side,
    kept_lengths,
    padded_length,
    stacked,
    truncation_strategy,
)
from clipseg.processing.texts import Words, checked_texts, plain_ids
from clipseg.processing.vocabulary import (
    END_OF_TEXT,
    END_OF_WORD,
    START_OF_TEXT,
    Merges,
    Special,
    Vocabulary,
    added_token,
    checked_errors,
    load_vocabulary,
    merges_text,
    spell,
    text_normalizer,
    word_splitter,
)

if TYPE_CHECKING:
    import torch

Self = TypeVar("Self", bound="CLIPTokenizer")


class CLIPTokenizer(Shareable):
    """Text -> token ids `bos … eos`, lower-cased, never cut unless asked.

    `vocab` is a path to a vocab.json, a dict or a list; `merges` is a path to a merges.txt, "a b" strings or pairs.
    `vocab_file`, `merges_file` and `tokenizer_file` (a tokenizer.json, which holds both) are other names for them.
    Special tokens that the vocabulary lacks are added after it. `errors` says how `decode` treats bytes that are no
    UTF-8 (the names of `bytes.decode`). Keywords unknown here are kept and saved again. Raises CheckpointError for
    files that hold no vocabulary, and UsageError for a contradiction.
    """

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab: Vocabulary | None = None,
        merges: Merges | None = None,
        unk_token: Special = END_OF_TEXT,
        bos_token: Special = START_OF_TEXT,
        eos_token: Special = END_OF_TEXT,
        pad_token: Special = END_OF_TEXT,
        *,
        vocab_file: FilePath | None = None,
        merges_file: FilePath | None = None,
        tokenizer_file: FilePath | None = None,
        errors: str = "replace",
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        additional_special_tokens: Sequence[Special] = (),
        added_tokens_decoder: Mapping[Any, Special] | None = None,
        **kwargs: Any,
    ) -> None:
        vocab, merges = (vocab_file if vocab is None else vocab), (merges_file if merges is None else merges)
        symbols, self._merges, added = load_vocabulary(vocab, merges, tokenizer_file)
        if added_tokens_decoder and not tokenizer_file:
            added = [added_token(added_tokens_decoder[i]) for i in sorted(added_tokens_decoder, key=int)]
        specials = [added_token(token) for token in (bos_token, eos_token, unk_token, pad_token)]
        more = [added_token(token) for token in additional_special_tokens or ()]
        self.bos_token, self.eos_token, self.unk_token, self.pad_token = (token.content for token in specials)
        self.additional_special_tokens = [token.content for token in more]
        self.errors = checked_errors(errors)
        self.model_max_length = UNLIMITED if model_max_length is None else model_max_length
        self.padding_side, self.truncation_side = checked_side(padding_side), checked_side(truncation_side)
        self.init_kwargs = kwargs

        try:
            model = models.BPE(symbols, self._merges, end_of_word_suffix=END_OF_WORD, unk_token=self.unk_token)
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"vocabulary and merges do not fit together: {error}") from error
        self._tokenizer = Tokenizer(model)
        self._tokenizer.normalizer = text_normalizer()
        self._tokenizer.pre_tokenizer = word_splitter()
        self._tokenizer.decoder = decoders.ByteLevel()
        # The first word on a token counts: how a file says that it is to be found, before how it is named here.
        tokens: dict[str, AddedToken] = {}
        for token in (*added, *specials, *more):
            tokens.setdefault(token.content, token)
        for token in tokens.values():
            (self._tokenizer.add_special_tokens if token.special else self._tokenizer.add_tokens)([token])
        self.bos_token_id, self.eos_token_id = self._id(self.bos_token), self._id(self.eos_token)
        self.unk_token_id, self.pad_token_id = self._id(self.unk_token), self._id(self.pad_token)
        ends = (self.eos_token, self.eos_token_id), (self.bos_token, self.bos_token_id)
        self._tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)

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
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool = False,
        return_attention_mask: bool = True,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchFeature:
        """B texts, or pairs of texts -> `input_ids` and `attention_mask`, each B lists of N ints.

        One text gives flat lists, or B = 1 with `return_tensors` ("np" or "pt", int64 (B, N)). `padding`: True or
        "longest" fills up to the longest of the batch, "max_length" to `max_length`. `truncation`: True or
        "longest_first", "only_first", "only_second"; bos and a final eos stay, `max_length` counts them. `max_length`
        stands for `model_max_length` if not given; given alone it asks for truncation.
        Raises PromptError for what is no text, and UsageError for options that contradict each other.
        """
        firsts, single = checked_texts(text, is_split_into_words, "text")
        seconds: Sequence[Words | None] = [None] * len(firsts)
        if text_pair is not None:
            seconds, _ = checked_texts(text_pair, is_split_into_words, "text_pair")
            if len(seconds) != len(firsts):
                raise PromptError(f"text_pair has {len(seconds)} texts, text has {len(firsts)}; give one for each")
        if truncation is None:
            truncation = max_length is not None and not padding
        strategy = truncation_strategy(truncation)
        limit = self.model_max_length if max_length is None else max_length
        rows = [
            self._encode(first, second, add_special_tokens, strategy, limit, is_split_into_words)
            for first, second in zip(firsts, seconds, strict=True)
        ]
        length = padded_length([len(row) for row in rows], padding, limit, pad_to_multiple_of)
        side = self.padding_side if padding_side is None else checked_side(padding_side)
        for row in rows:
            row.pad(length, direction=side, pad_id=self.pad_token_id, pad_token=self.pad_token)

        columns: dict[str, list[Any]] = {"input_ids": [row.ids for row in rows]}
        if return_token_type_ids:
            columns["token_type_ids"] = [row.type_ids for row in rows]
        if return_attention_mask:
            columns["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            columns["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if return_offsets_mapping:
            columns["offset_mapping"] = [row.offsets for row in rows]
        if return_length:
            columns["length"] = [len(row) for row in rows]
        if return_tensors is None:
            return BatchFeature({name: column[0] if single else column for name, column in columns.items()})
        return BatchFeature({name: stacked(column, return_tensors) for name, column in columns.items()})

    def _encode(
        self, first: Words, second: Words | None, add_special_tokens: bool, strategy: str, limit: int, split: bool
    ) -> Encoding:
        # Cut and completed here, one text at a time: the library's own truncation and padding are settings of the
        # shared tokenizer, so two threads would disturb each other, and its batches start threads that outlive a fork.
        encodings = [self._encode_alone(text, split) for text in (first, second) if text is not None]
        if strategy != "do_not_truncate":
            specials = self.num_special_tokens_to_add(pair=second is not None) if add_special_tokens else 0
            kept = kept_lengths([len(encoding) for encoding in encodings], limit - specials, strategy)
            for encoding, length in zip(encodings, kept, strict=True):
                encoding.truncate(length, direction=self.truncation_side)
        pair = encodings[1] if second is not None else None
        return self._tokenizer.post_process(encodings[0], pair, add_special_tokens)

    def _encode_alone(self, text: Words, split: bool) -> Encoding:
        try:
            return self._tokenizer.encode(text, is_pretokenized=split, add_special_tokens=False)
        except TypeError as error:  # a string that has no UTF-8 form
            raise PromptError(f"{text!a:.80} is no valid Unicode text: it holds half of a surrogate pair") from error
        except Exception as error:  # the library raises bare Exception
            raise PromptError(
                f"{text!r:.80} cannot be spelled in this vocabulary, and it lacks the unknown token {self.unk_token!r}"
            ) from error

    def encode(self, text: Words, text_pair: Words | None = None, **options: Any) -> Any:
        """One text -> its N ids, as `__call__` gives them under the same options."""
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """One text -> its symbols."""
        tokens: list[str] = self._encode(
            text, pair, add_special_tokens, "do_not_truncate", UNLIMITED, split=False
        ).tokens
        return tokens

    # -- ids to text ---------------------------------------------------------------------------------------------

    def decode(
        self,
        token_ids: "int | Sequence[Any] | np.ndarray | torch.Tensor",
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,  # documented; it never applied to byte pairs
    ) -> Any:
        """N ids -> their text; rows of ids -> a list of texts. Words come one space apart: "didn't" as "didn 't"."""
        ids = plain_ids(token_ids)
        ids = ids if isinstance(ids, list) else [ids]
        if ids and isinstance(ids[0], list):
            return self.batch_decode(ids, skip_special_tokens)
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens)
        return self.convert_tokens_to_string(tokens).replace(END_OF_WORD, " ").strip()

    def batch_decode(
        self,
        sequences: "Sequence[Any] | np.ndarray | torch.Tensor",
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Rows of ids -> their texts."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

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
        """An id -> its symbol, ids -> their symbols. Raises PromptError for an id outside the vocabulary."""
        plain = plain_ids(ids)
        if isinstance(plain, list):
            special = self.all_special_ids if skip_special_tokens else ()
            return [self.convert_ids_to_tokens(i) for i in plain if i not in special]
        token = self._tokenizer.id_to_token(plain) if 0 <= plain < 2**32 else None
        if token is None:
            raise PromptError(f"token id {ids} is outside this vocabulary of {len(self)} entries")
        return token

    # -- special tokens ------------------------------------------------------------------------------------------

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of a text, or of a pair -> `bos a eos`, or `bos a eos eos b eos`."""
        first = [self.bos_token_id, *token_ids_0, self.eos_token_id]
        return first if token_ids_1 is None else [*first, self.eos_token_id, *token_ids_1, self.eos_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of a text, or of a pair -> as many zeros as ids with special tokens: CLIP does not tell a pair apart."""
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Ids of a text, or of a pair -> 1 for each special token, 0 for the others.

        The special tokens are those that `build_inputs_with_special_tokens` would add, or, with
        `already_has_special_tokens`, those among `token_ids_0`. Raises UsageError if that comes with a pair.
        """
        if not already_has_special_tokens:
            first = [1, *(0 for _ in token_ids_0), 1]
            return first if token_ids_1 is None else [*first, 1, *(0 for _ in token_ids_1), 1]
        if token_ids_1 is not None:
            raise UsageError("ids that already have special tokens are one list; put the pair into token_ids_0")
        special = set(self.all_special_ids)
        return [int(i in special) for i in token_ids_0]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair, is completed with."""
        return 4 if pair else 2

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Role -> special token."""
        roles = {role: getattr(self, role) for role in ("bos_token", "eos_token", "unk_token", "pad_token")}
        more = self.additional_special_tokens
        return {**roles, "additional_special_tokens": more} if more else roles

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once."""
        named = [self.bos_token, self.eos_token, self.unk_token, self.pad_token]
        return list(dict.fromkeys([*named, *self.additional_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._id(token) for token in self.all_special_tokens]

    def _id(self, token: str) -> int:
        """A token of this vocabulary, added ones included -> its id."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise CheckpointError(f"token {token!r} is not in this vocabulary of {len(self)} entries")
        return int(found)

    # -- vocabulary and files ------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary, without tokens added after it."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True  # a tokeniser is something, whatever it holds: `tokenizer or default` must not test its length

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} entries, model_max_length={self.model_max_length})"

    def get_vocab(self) -> dict[str, int]:
        """Symbol -> id, with the added tokens."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary

    def save_vocabulary(self, save_directory: FilePath, filename_prefix: str | None = None) -> tuple[str, str]:
        """A folder -> the paths of the vocab.json and merges.txt written there, as `[prefix-]vocab.json`."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        symbols = sorted(self._tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        folder = Path(save_directory)
        vocab = write_text(folder / f"{prefix}vocab.json", json.dumps(dict(symbols), ensure_ascii=False))
        return vocab, write_text(folder / f"{prefix}merges.txt", merges_text(self._merges))

    def save_pretrained(self, save_directory: FilePath, filename_prefix: str | None = None) -> tuple[str, ...]:
        """A folder -> the paths of the five files written there, which `from_pretrained` reads."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        folder = Path(save_directory)
        config = {
            **self.init_kwargs,
            **self.special_tokens_map,
            "errors": self.errors,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "tokenizer_class": "CLIPTokenizer",
        }
        paths = [folder / f"{prefix}{name}" for name in ("tokenizer_config.json", "special_tokens_map.json")]
        for path, content in zip(paths, (config, self.special_tokens_map), strict=True):
            write_json(path, content)
        whole = write_text(folder / f"{prefix}tokenizer.json", self._tokenizer.to_str(pretty=True))
        return (*map(str, paths), whole, *self.save_vocabulary(folder, filename_prefix))

    @classmethod
    def from_pretrained(cls: type[Self], name_or_path: FilePath, **options: Any) -> Self:
        """A hub name, "nano" or a folder -> its tokeniser, from tokenizer.json or else vocab.json and merges.txt.

        `subfolder`, `revision`, `cache_dir`, `token` and `local_files_only` say where to look; every other keyword
        overrides what tokenizer_config.json and special_tokens_map.json say. Raises CheckpointNotFoundError if there
        is no vocabulary, and CheckpointError for a broken file.
        """
        where, overrides = split_hub_options(options)
        config: dict[str, Any] = {}
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if path := find_file(name_or_path, name, required=False, **where):
                config |= read_json(path)
        config = {name: value for name, value in config.items() if name not in _OF_THE_SAVER}
        if path := find_file(name_or_path, "tokenizer.json", required=False, **where):
            files: dict[str, Any] = {"tokenizer_file": path}
        else:
            vocab, merges = (find_file(name_or_path, name, **where) for name in ("vocab.json", "merges.txt"))
            files = {"vocab": vocab, "merges": merges}
        return cls(**{**config, **files, **overrides})


class CLIPTokenizerFast(CLIPTokenizer):
    """CLIPTokenizer by its other documented name."""


# Keys of a tokenizer_config.json that name files of the machine on which it was written.
_OF_THE_SAVER = ("vocab_file", "merges_file", "tokenizer_file", "special_tokens_map_file", "name_or_path")
