"""Embeddings of phrases kept between runs, in one small SQLite file that any number of processes share.

Whatever is wrong with the file, there is no error: it cannot be opened, is locked, full or damaged, and is gone
without. It holds no phrases: a row's key is a hash of the model's fingerprint and the phrase's tokens.

Shapes: E condition width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.checkpoints.files import resolve_weights
from clipseg.errors import CheckpointError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.version import __version__

if TYPE_CHECKING:
    import sqlite3

VARIABLE = "CLIPSEG_PROMPT_CACHE"
"""Of the environment: "off" goes without the file, a path is where it lies."""

OFF = ("off", "0", "no", "false")
FILE = Path("clipseg", "prompts.sqlite")  # below the folder of caches

MOST_ROWS, MOST_BYTES = 100_000, 2**28
"""What the file holds, at most; of phrases used least recently every hundredth goes beside what is too many."""

PATIENCE = 0.1
"""Seconds that are waited for another process to finish writing."""

USED_AGAIN = 24
"""Hours after which it is written down that a phrase was used again."""

SEAL = 8
"""Bytes behind an embedding that tell whether it is the one written: files on network drives may be mixed up."""

SAMPLED_BYTES = 2**16
"""Bytes that are read of the text encoder's weights."""

_logger = logging.getLogger(__name__)

_SCHEMA = """
create table if not exists embeddings (key blob primary key, vector blob not null, used integer not null);
create index if not exists used_of_embeddings on embeddings (used);
"""

Tokens: TypeAlias = tuple[int, ...]
Vector: TypeAlias = NDArray[np.float32]


def cache_file() -> Path | None:
    """-> where embeddings are kept: below XDG_CACHE_HOME, or ~/.cache; None where the environment turns it off."""
    said = os.environ.get(VARIABLE, "").strip()
    if said.lower() in OFF:
        return None
    path = Path(os.path.expanduser(said or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", FILE)))
    return None if path.parts[0] == "~" else path  # there is no home


def weight_files(name_or_path: str | os.PathLike[str], where: Mapping[str, Any]) -> list[os.stat_result]:
    """A model that has just been loaded, and from where -> what the file system says of its weights' files.

    Nothing where they are not to be found again; `where` are keywords of `checkpoints.hub.find_file`.
    """
    try:
        return [path.stat() for path in resolve_weights(name_or_path, **{**where, "local_files_only": True})]
    except (CheckpointError, OSError):
        return []


def fingerprint(model: CLIPSegForImageSegmentation, how: str, files: Sequence[os.stat_result]) -> bytes:
    """A model, how it is run, and its weights' files -> 32 bytes that no other model has.

    The text configuration is hashed, and of each of the text encoder's tensors the name, shape, type, first and last
    numbers, `SAMPLED_BYTES` together, which loading has read already: mapped weights stay unread. A training step moves
    all numbers of a tensor, so models that were trained apart differ in every sample. What that does not see, a few
    numbers changed by hand in the middle of a tensor, the files' sizes and times of change tell: it would take such an
    edit, with the old time put back on the file, to confuse two models. Which tokenizer it is does not matter, for
    phrases are looked up by their tokens.
    """
    parts = {"text_model": model.clip.text_model, "text_projection": model.clip.text_projection}
    tensors = {f"{part}.{name}": one.detach() for part, own in parts.items() for name, one in own.named_parameters()}
    told = {
        "version": __version__,
        "how": how,
        "config": model.config.text_config.to_dict(),
        "tensors": [[name, list(one.shape), str(one.dtype)] for name, one in tensors.items()],
        "files": [[status.st_size, status.st_mtime_ns] for status in files],
    }
    digest = hashlib.blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=32)
    each = max(1, SAMPLED_BYTES // (2 * sum(one.element_size() for one in tensors.values())))
    ends = [end for one in tensors.values() for end in (one.flatten()[:each], one.flatten()[-each:])]
    digest.update(torch.cat(ends).cpu().view(torch.uint8).numpy().tobytes())
    return digest.digest()


class PromptCache:
    """A file of embeddings, and the fingerprint of the model that they are of. Threads and processes may share it.

    Phrases are handed over as the tokens that the model reads, each a tuple of numbers.
    """

    def __init__(self, path: Path, fingerprint: bytes) -> None:
        self._path = path
        self._fingerprint = fingerprint

    def read(self, phrases: Sequence[Tokens], width: int) -> dict[Tokens, Vector]:
        """Phrases -> the embeddings (E,) of those that are known, `width` numbers each."""
        found: dict[Tokens, Vector] = {}
        keys = {self._key(phrase): phrase for phrase in phrases}
        hour, again = _hour(), []

        def look_up(connection: sqlite3.Connection) -> None:
            for key, phrase in keys.items():
                row = connection.execute("select vector, used from embeddings where key = ?", (key,)).fetchone()
                if row is None:
                    continue
                vector = np.frombuffer(row[0][:-SEAL], "<f4")
                if len(vector) == width and row[0] == _sealed(key, vector):
                    found[phrase] = vector
                if row[1] < hour - USED_AGAIN:
                    again.append((hour, key))
            if again:
                with connection:
                    connection.executemany("update embeddings set used = ? where key = ?", again)

        if phrases and self._path.exists():
            self._attempt(look_up)
        return found

    def write(self, vectors: Mapping[Tokens, Vector]) -> None:
        """Keep the embeddings (E,) of phrases, in one transaction; those used least recently make room."""
        keys, hour = {self._key(phrase): vector for phrase, vector in vectors.items()}, _hour()
        rows = [(key, _sealed(key, vector), hour) for key, vector in keys.items()]

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("pragma journal_mode = wal")  # where it works, readers and a writer do not wait
            connection.execute("pragma synchronous = normal")
            connection.executescript(_SCHEMA)
            with connection:
                connection.executemany("insert or replace into embeddings values (?, ?, ?)", rows)
                _make_room(connection)

        if rows:
            self._attempt(put)

    def _key(self, phrase: Tokens) -> bytes:
        return hashlib.blake2b(np.array(phrase, "<i8").tobytes(), digest_size=20, key=self._fingerprint).digest()

    def _attempt(self, act: Callable[[sqlite3.Connection], None]) -> None:
        """Open the file and do something with it; what goes wrong is only logged."""
        try:
            import sqlite3
        except ImportError:
            _logger.debug("prompts are not kept: this Python has no sqlite3")
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=PATIENCE)) as connection:
                act(connection)
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:  # the latter two: of what others put into it
            _logger.debug("prompts are not kept in %s: %s", self._path, error)


def _sealed(key: bytes, vector: Vector) -> bytes:
    """A row's key and its embedding -> the bytes that are kept: little-endian float32, and a hash of both."""
    data = vector.astype("<f4").tobytes()
    return data + hashlib.blake2b(data, digest_size=SEAL, key=key).digest()


def _make_room(connection: sqlite3.Connection) -> None:
    def number(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    rows = number("select count(*) from embeddings")  # counted in the index, which is small
    size = (number("pragma page_count") - number("pragma freelist_count")) * number("pragma page_size")
    too_many = max(rows - MOST_ROWS, rows - rows * MOST_BYTES // max(1, size))
    if too_many > 0:
        connection.execute(
            "delete from embeddings where rowid in (select rowid from embeddings order by used limit ?)",
            (too_many + rows // 100,),
        )


def _hour() -> int:
    return int(time.time() // 3600)
