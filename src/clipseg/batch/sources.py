"""Where pictures come from: folders, patterns, tables, tar files, and URLs of all these -> items.

    photos                    a folder, and the folders in it
    "photos/*/*.jpg"          a pattern
    "pictures.parquet"        a table: .csv, .tsv, .jsonl or .parquet, a picture a row
    "shards/*.tar"            tar files, as WebDataset has them: each picture in them is an item
    s3://bucket/photos        the same where fsspec can open it

A table has a column `uri` (or path, file, image, url, file_name), and may have `id` and `prompts`: what is asked of
that picture alone, in CSV parted by "|". Its paths are relative to its own folder.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clipseg.batch.items import TAR, Item
from clipseg.batch.packages import arrow
from clipseg.batch.storage import filesystem, is_url
from clipseg.errors import DataError
from clipseg.processing.images import SUFFIXES

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
URI_COLUMNS = ("uri", "path", "file", "image", "url", "file_name", "filename")
PROMPT_COLUMNS = ("prompts", "prompt")
PARTED = "|"
"""Between the prompts of a picture where a table has one text for them."""

_MAGIC = re.compile(r"[*?\[]")


def find_items(sources: Sequence[str]) -> Iterator[Item]:
    """Sources -> their items, as they come. Raises DataError for a source that is not there, or holds no pictures.

    The id of a picture is its path below the folder or pattern that it was found by, of a tar file's member the name of
    the file before it, in a table what that says or else the URI. Of several sources each id begins with the source's
    own name.
    """
    for source in sources:
        first = f"{_name_of(source)}/" if len(sources) > 1 else ""
        found = False
        for item in _items_of(source):
            found = True
            yield item._replace(id=first + item.id)
        if not found:
            raise DataError(f"{source} holds no pictures; expected files that end in {', '.join(SUFFIXES[:4])}, …")


def absolute(source: str | os.PathLike[str]) -> str:
    """A source as given -> the same from anywhere on this machine; a URL as it is."""
    text = os.fspath(source)
    return text if is_url(text) else os.path.abspath(os.path.expanduser(text))


def _items_of(source: str) -> Iterator[Item]:
    if is_url(source):
        yield from _remote(source)
    elif os.path.isdir(source):
        yield from _folder(source)
    elif os.path.isfile(source):
        yield from _file(source, os.path.dirname(source))
    elif _MAGIC.search(source):
        root = _fixed_part(source)
        for path in sorted(glob.glob(source, recursive=True)):
            if os.path.isfile(path):
                yield from _file(path, root)
    else:
        raise DataError(f"there is no folder or file {source}, and it is no pattern")


def _remote(url: str) -> Iterator[Item]:
    files, path = filesystem(url)
    if _MAGIC.search(path):
        root, found = _fixed_part(path), sorted(files.glob(path))
        named = [one for one in found if one.lower().endswith((*SUFFIXES, *TABLES, ".tar"))]
    elif files.isdir(path):
        root = path.rstrip("/")
        named = sorted(one for one in files.find(path) if one.lower().endswith(SUFFIXES))
    elif files.exists(path):
        root, named = path.rpartition("/")[0], [path]
    else:
        raise DataError(f"there is nothing at {url}")
    for one in named:
        yield from _file(files.unstrip_protocol(one), files.unstrip_protocol(root))


def _folder(folder: str) -> Iterator[Item]:
    """All pictures of a folder and of those in it, hidden ones aside."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        first = "" if below == "." else f"{below}/"
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Item(first + name, os.path.join(place, name))


def _file(path: str, root: str) -> Iterator[Item]:
    """A file by itself, a table or a tar file -> its items."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in TABLES:
        yield from _table(path, suffix)
    elif suffix == ".tar":
        yield from _tar(path)
    elif path.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise DataError(f"{path} is compressed, so nothing in it can be read by itself; unpack it to a .tar")
    else:
        yield Item(path[len(root) :].lstrip("/") if path.startswith(root) else path, path)


def _tar(path: str) -> Iterator[Item]:
    name = path.rpartition("/")[2]
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(SUFFIXES):
                    yield Item(f"{name}/{member.name}", f"{TAR}{member.name}::{path}", member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} is no whole tar file ({error}); fetch or write it again") from error


def _table(path: str, suffix: str) -> Iterator[Item]:
    table = _read_table(path, suffix)
    names = table.column_names
    uris = next((name for name in URI_COLUMNS if name in names), None)
    if uris is None:
        raise DataError(f"{path} has no column of pictures; expected one of {', '.join(URI_COLUMNS)}, got {names}")
    asked = next((name for name in PROMPT_COLUMNS if name in names), None)
    folder = path.rpartition("/")[0]
    for batch in table.to_batches():
        rows = zip(
            batch.column(uris).to_pylist(),
            batch.column("id").to_pylist() if "id" in names else [None] * len(batch),
            batch.column(asked).to_pylist() if asked else [None] * len(batch),
            strict=True,
        )
        for uri, own, prompts in rows:
            if not isinstance(uri, str) or not uri:
                raise DataError(f"{path} has a row whose {uris!r} is {uri!r}; expected the path or URL of a picture")
            place = uri if is_url(uri) or os.path.isabs(uri) else f"{folder}/{uri}"
            yield Item(uri if own is None else str(own), place, prompts=_prompts(path, prompts))


def _prompts(path: str, given: Any) -> list[str] | None:
    """What a row asks -> its prompts; None where it asks nothing of its own."""
    if given is None or given == "" or given == []:
        return None
    listed = [one.strip() for one in given.split(PARTED)] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
        raise DataError(
            f"{path} has a row whose prompts are {given!r}; expected texts, in one text parted by {PARTED!r}"
        )
    return listed


def _read_table(path: str, suffix: str) -> Any:
    """-> a pyarrow table. Raises DataError."""
    pa = arrow()
    try:
        with _opened(path) as file:
            if suffix == ".parquet":
                return arrow("parquet").read_table(file)
            if suffix in (".jsonl", ".ndjson"):
                return arrow("json").read_json(file)
            csv = arrow("csv")
            texts = {name: pa.string() for name in ("id", *URI_COLUMNS, *PROMPT_COLUMNS)}
            return csv.read_csv(
                file,
                parse_options=csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ","),
                convert_options=csv.ConvertOptions(column_types=texts, strings_can_be_null=True),
            )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table ({' '.join(str(error).split())})") from error


def _opened(path: str) -> Any:
    if is_url(path):
        files, within = filesystem(path)
        return files.open(within, "rb")
    return Path(path).open("rb")


def _fixed_part(pattern: str) -> str:
    """A pattern -> the folder that all it matches is in."""
    magic = _MAGIC.search(pattern)
    return pattern[: magic.start()].rpartition("/")[0] if magic else pattern


def _name_of(source: str) -> str:
    """A source -> the last of its names that is no pattern, without the suffix of a table."""
    parts = [part for part in re.split(r"[/\\]", source) if part and not _MAGIC.search(part)]
    return re.sub(r"\.(csv|tsv|jsonl|ndjson|parquet)$", "", parts[-1]) if parts else "pictures"


def check_schemes(uris: Iterable[str]) -> None:
    """URIs of a manifest -> nothing, where all their kinds can be opened here. Raises UsageError."""
    schemes = {uri.partition("://")[0]: uri for uri in uris if is_url(uri) and not uri.startswith(TAR)}
    for uri in schemes.values():
        filesystem(uri)
