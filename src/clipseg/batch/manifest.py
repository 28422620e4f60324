"""The manifest: what a run is of, sorted, written once, and never changed. A row is an item; its number is for good.

Parts are runs of rows: part k has the rows from k * N to (k + 1) * N. Any of them is read without the others.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

from clipseg.batch.items import Item
from clipseg.batch.packages import arrow
from clipseg.batch.sources import check_schemes
from clipseg.batch.storage import Storage
from clipseg.errors import DataError

MANIFEST = "manifest.parquet"
GROUP = 16_384
"""Rows that are read at once; some parts' worth."""

_LISTED = 65_536  # items that are made Arrow's at a time: in Python they are many times as large


def manifest_schema() -> Any:
    """-> the columns of a manifest."""
    pa = arrow()
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("offset", pa.int64()),
            pa.field("size", pa.int64()),
            pa.field("prompts", pa.list_(pa.string())),
        ]
    )


def manifest_of(items: Iterable[Item], limit: int | None = None) -> Any:
    """Items -> the table of them, sorted by id, of these the first few if there is a limit.

    Raises DataError for none at all and for an id that two of them have, UsageError for what nothing here opens.
    """
    pa, schema, tables, coming = arrow(), manifest_schema(), [], iter(items)
    while some := list(islice(coming, _LISTED)):
        try:
            columns = [
                pa.array(list(values), field.type)
                for values, field in zip(zip(*some, strict=True), schema, strict=True)
            ]
        except UnicodeEncodeError as error:  # file names need not be text
            raise DataError(f"the name {error.object!r} is no text in UTF-8; rename that file or folder") from error
        tables.append(pa.table(columns, schema=schema))
    if not tables:
        raise DataError("there is no picture in what was given; name a folder, a pattern, a table or tar files")
    table = pa.concat_tables(tables).sort_by("id").combine_chunks()
    ids = table.column("id")
    if len(table) > 1:
        same = arrow("compute").equal(ids.slice(1), ids.slice(0, len(ids) - 1))
        place = arrow("compute").index(same, True).as_py()
        if place >= 0:
            raise DataError(
                f"two pictures have the id {ids[place].as_py()!r}; name one source, or a table with ids of your own"
            )
    table = table if limit is None else table.slice(0, limit)
    check_schemes(_one_of_each_scheme(table.column("uri")))
    return table


def written(table: Any) -> bytes:
    """A manifest's table -> the file, the same bytes for the same rows."""
    sink = io.BytesIO()
    arrow("parquet").write_table(table, sink, row_group_size=GROUP, compression="zstd")
    return sink.getvalue()


def sum_of(content: bytes) -> str:
    """A file's bytes -> their SHA-256."""
    return hashlib.sha256(content).hexdigest()


class Manifest:
    """A manifest that was written. Opening it reads its end alone, however many rows it has."""

    def __init__(self, storage: Storage, name: str = MANIFEST) -> None:
        self._storage, self._name = storage, name
        self._groups: dict[int, Any] = {}

    @cached_property
    def _metadata(self) -> Any:
        with self._opened() as file:
            return file.metadata

    @contextmanager
    def _opened(self, metadata: Any = None) -> Iterator[Any]:
        """The file, open within the block."""
        with self._storage.open(self._name) as file:
            try:
                yield arrow("parquet").ParquetFile(file, metadata=metadata)
            except arrow().ArrowException as error:
                raise DataError(f"{self._storage.at(self._name)} is no whole manifest ({error}); begin anew") from error

    @property
    def rows(self) -> int:
        """-> how many items there are."""
        return int(self._metadata.num_rows)

    @property
    def sha256(self) -> str:
        """-> of its file."""
        return sum_of(self._storage.read(self._name))

    @cached_property
    def has_prompts(self) -> bool:
        """Whether any item has prompts of its own."""
        column, metadata = 4, self._metadata
        chunks = (metadata.row_group(number).column(column) for number in range(metadata.num_row_groups))
        return any(one.statistics is None or one.statistics.null_count < one.num_values for one in chunks)

    def table(self, start: int, stop: int) -> Any:
        """Numbers of rows, the last not included -> those rows."""
        pa = arrow()
        stop = min(stop, self.rows)
        if start >= stop:
            return manifest_schema().empty_table()
        parts = []
        for number in range(start // GROUP, (stop - 1) // GROUP + 1):
            group, first = self._group(number), number * GROUP
            begin, end = max(start - first, 0), min(stop - first, len(group))
            parts.append(group.slice(begin, end - begin))
        return pa.concat_tables(parts)

    def items(self, start: int, stop: int) -> list[Item]:
        """Numbers of rows, the last not included -> those items."""
        columns = self.table(start, stop).to_pydict()
        return [Item(*values) for values in zip(*columns.values(), strict=True)]

    def _group(self, number: int) -> Any:
        if number not in self._groups:
            with self._opened(self._metadata) as file:
                self._groups = {number: file.read_row_group(number)}  # parts come in order: one is enough
        return self._groups[number]


def _one_of_each_scheme(uris: Any) -> Iterator[str]:
    """A column of URIs -> those among them that are URLs, one of each scheme; a million paths are no loop of Python."""
    compute = arrow("compute")
    schemes = compute.struct_field(compute.extract_regex(uris, r"^(?P<scheme>[a-z][a-z0-9+.-]*)://"), "scheme")
    for scheme in compute.unique(schemes).to_pylist():
        if scheme:
            yield uris[compute.index(schemes, scheme).as_py()].as_py()
