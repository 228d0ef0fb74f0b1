"""A picture of a source in which no protected value can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as altered
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from include.core.changes import Change
from include.core.contracts.source import Stream
from include.core.manifest import TransactionMark
from include.core.schema import Column, StreamSchema
from include.privacy.keys import Keyring
from include.privacy.values import protection, replace

#: What stands for a value may be many times longer, so only so many rows are replaced at once.
_ROWS = 64 * 1024


class _Clear(Protocol):
    """What is needed of a source's snapshot (`include.sources.Snapshot`)."""

    server: str
    position: tuple[int, ...]
    schemas: dict[str, StreamSchema]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]: ...

    def mark(self, stream: Stream) -> TransactionMark | None: ...

    def anew(self, stream: Stream, mark: TransactionMark) -> str: ...

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]: ...

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]: ...


class ProtectedSnapshot:
    """The same picture, with what stands for each protected value in its place; and text as its column's type.

    It hands on what it knows of and nothing else, so that no way of reading goes past it.
    """

    def __init__(self, clear: _Clear, streams: tuple[Stream, ...], keys: Keyring | None) -> None:
        """:param keys: may be None where nothing is hashed or made a token."""
        self._clear = clear
        self._keys = keys
        self.server = clear.server
        self.position = clear.position
        self.changes = clear.changes
        self.unread = clear.unread
        self.schemas = {
            stream.name: self._shape(stream, clear.schemas[stream.name])
            for stream in streams
            if stream.name in clear.schemas
        }

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        return self._protected(stream, self._clear.rows(stream, since, before))

    def mark(self, stream: Stream) -> TransactionMark | None:
        return self._clear.mark(stream)

    def anew(self, stream: Stream, mark: TransactionMark) -> str:
        return self._clear.anew(stream, mark)

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]:
        return self._protected(stream, self._clear.changed(stream, mark))

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]:
        return self._protected(stream, self._clear.keys(stream))

    def _shape(self, stream: Stream, schema: StreamSchema) -> StreamSchema:
        return altered(schema, columns=tuple(self._column(stream, column) for column in schema.columns))

    def _column(self, stream: Stream, column: Column) -> Column:
        how = stream.protected.get(column.name)
        if how is None:
            return column
        # The key stands in the shape, so that a rotation changes it: the next load then reads the whole table.
        return altered(column, raw_type="text", carrier="string", protection=protection(how, self._keys))

    def _protected(self, stream: Stream, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if not stream.protected:
            return batches
        return (
            self._batch(stream, batch.slice(first, _ROWS))
            for batch in batches
            for first in range(0, batch.num_rows, _ROWS)
        )

    def _batch(self, stream: Stream, batch: pa.RecordBatch) -> pa.RecordBatch:
        for place, name in enumerate(batch.schema.names):
            how = stream.protected.get(name)
            if how is not None:
                array = replace(batch.column(place), how, self._keys)
                batch = batch.set_column(place, batch.schema.field(place), array)
        return batch
