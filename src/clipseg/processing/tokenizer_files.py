"""A tokeniser and its files: vocab.json, merges.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tokenizers import AddedToken

from clipseg.checkpoints.files import read_json, write_json
from clipseg.checkpoints.hub import find_file
from clipseg.checkpoints.sharing import Shareable
from clipseg.errors import CheckpointError, UsageError
from clipseg.processing.decoding import Decoding
from clipseg.processing.files import FilePath, split_hub_options, write_text
from clipseg.processing.special_tokens import ADDITIONAL, ROLES
from clipseg.processing.vocabulary import Merge, added_token, merges_text

Self = TypeVar("Self", bound="TokenizerFiles")

# Ways to give a vocabulary, and keys of a tokenizer_config.json that name files of the machine on which it was written.
SOURCES = ("vocab", "merges", "vocab_file", "merges_file", "tokenizer_file", "tokenizer_object")
_OF_THE_SAVER = (*SOURCES, "special_tokens_map_file", "name_or_path")

ADDED_TOKENS = "added_tokens.json"
"""Where releases before 4.34 kept what was added to a vocab.json: token -> id. Newer configurations say it."""


class TokenizerFiles(Decoding, Shareable):
    """Saving and loading."""

    vocab_files_names: ClassVar[dict[str, str]] = {
        "vocab_file": "vocab.json",
        "merges_file": "merges.txt",
        "tokenizer_file": "tokenizer.json",
    }
    init_kwargs: Any

    @property
    def _merges(self) -> list[Merge]:
        """What the library keeps to itself but writes out; tens of thousands of pairs, needed only to be saved."""
        model = json.loads(self._tokenizer.to_str())["model"]
        return [(left, right) for left, right in model["merges"]]

    def save_vocabulary(self, save_directory: FilePath, filename_prefix: str | None = None) -> tuple[str, str]:
        """A folder -> the paths of the vocab.json and merges.txt written there, as `[prefix-]vocab.json`."""
        symbols = sorted(self._tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        vocab, merges = (_path(save_directory, filename_prefix, name) for name in ("vocab.json", "merges.txt"))
        return (
            write_text(vocab, json.dumps(dict(symbols), ensure_ascii=False)),
            write_text(merges, merges_text(self._merges)),
        )

    def save_pretrained(
        self,
        save_directory: FilePath,
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
    ) -> tuple[str, ...]:
        """A folder -> the paths of the files written there, which `from_pretrained` reads.

        `legacy_format`: True leaves out tokenizer.json, False leaves out vocab.json and merges.txt, which older and
        newer releases read instead. Raises OutputError if the folder is a file, UsageError for `push_to_hub`.
        """
        if push_to_hub:
            raise UsageError("push_to_hub is not offered; call push_to_hub(repo_id) instead")
        added = {str(i): _as_json(token) for i, token in self.added_tokens_decoder.items()}
        config = {name: _as_json(value) for name, value in self.init_kwargs.items() if name not in _OF_THE_SAVER}
        config |= {"added_tokens_decoder": added, "tokenizer_class": "CLIPTokenizer"}
        written = []
        for name, content in (
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", self.special_tokens_map),
        ):
            path = _path(save_directory, filename_prefix, name)
            write_json(path, content)
            written.append(str(path))
        if not legacy_format:
            whole = _path(save_directory, filename_prefix, "tokenizer.json")
            written.append(write_text(whole, self._tokenizer.to_str(pretty=True)))
        if legacy_format is not False:
            written += self.save_vocabulary(save_directory, filename_prefix)
        return tuple(written)

    @classmethod
    def from_pretrained(cls: type[Self], name_or_path: FilePath, **options: Any) -> Self:
        """A hub name, "nano" or a folder -> its tokeniser, from tokenizer.json or else vocab.json and merges.txt.

        `subfolder`, `revision`, `cache_dir`, `token` and `local_files_only` say where to look; every other keyword
        overrides what tokenizer_config.json and special_tokens_map.json say. Tokens of an older folder's
        added_tokens.json are added to its vocab.json. Raises CheckpointNotFoundError if there is no vocabulary, and
        CheckpointError for a broken file.
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
            if not config.get("added_tokens_decoder") and (
                path := find_file(name_or_path, ADDED_TOKENS, required=False, **where)
            ):
                config["added_tokens_decoder"] = _added_tokens(path, config)
        return cls(**{**config, **files, "name_or_path": str(name_or_path), **overrides})


def _added_tokens(path: Path, config: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The file of added tokens, and the configuration that says which have a role -> id -> token, as newer files do.

    Raises CheckpointError if the file holds something else.
    """
    ids = read_json(path)
    if set(map(type, ids.values())) - {int}:
        raise CheckpointError(f"{path} lists no added tokens: expected each token with an integer id")
    named = (config.get(name) or () for name in (ADDITIONAL, "extra_special_tokens"))
    more = (token for tokens in named for token in (tokens.values() if isinstance(tokens, Mapping) else tokens))
    special = {added_token(token).content for token in (*map(config.get, ROLES), *more) if token}
    return {
        i: {"content": token, "normalized": token not in special, "special": token in special}
        for token, i in ids.items()
    }


def _path(folder: FilePath, prefix: str | None, name: str) -> Path:
    return Path(folder) / (f"{prefix}-{name}" if prefix else name)


def _as_json(value: Any) -> Any:
    """A token, alone or in a list -> how JSON files hold it; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    if not isinstance(value, AddedToken):
        return value
    flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {name: getattr(value, name) for name in flags}
