"""A picture of a source in which no protected value can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace as altered
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from include.core.changes import Change
from include.core.checksum import Checksum, comparable
from include.core.contracts.source import Stream
from include.core.manifest import LogMark, TransactionMark
from include.core.schema import Column, StreamSchema
from include.privacy.keys import Keyring
from include.privacy.values import protection, replace

#: What stands for a value may be many times longer, so only so many rows are replaced at once.
_ROWS = 64 * 1024


class _ClearLog(Protocol):
    """What is needed of a snapshot's log (`include.sources.log.LogPicture`)."""

    def anew(self, stream: Stream, mark: LogMark) -> str: ...

    def changes(self, marks: dict[str, LogMark]) -> Iterator[tuple[str, pa.RecordBatch]]: ...

    def definition(self, stream: Stream) -> str: ...

    def mark(self, stream: Stream) -> LogMark: ...


class _ClearChecksums(Protocol):
    """What is needed of a snapshot's checksums (`include.sources.Checksums`)."""

    def whole(self, stream: Stream, schema: StreamSchema) -> Checksum: ...

    def digests(
        self, stream: Stream, schema: StreamSchema, count: int, wanted: Sequence[int]
    ) -> dict[str, str]: ...


class _Clear(Protocol):
    """What is needed of a source's snapshot (`include.sources.Snapshot`)."""

    server: str
    position: tuple[int, ...]
    schemas: dict[str, StreamSchema]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]

    @property
    def log(self) -> _ClearLog | None: ...

    @property
    def checksums(self) -> _ClearChecksums | None: ...

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]: ...

    def mark(self, stream: Stream) -> TransactionMark | None: ...

    def anew(self, stream: Stream, mark: TransactionMark) -> str: ...

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]: ...

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]: ...

    def unpin(self) -> None: ...


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
        self._log = _ProtectedLog(clear.log, self, streams) if clear.log else None
        self.schemas = {
            stream.name: self._shape(stream, clear.schemas[stream.name])
            for stream in streams
            if stream.name in clear.schemas
        }

    @property
    def log(self) -> _ProtectedLog | None:
        return self._log

    @property
    def checksums(self) -> _ProtectedChecksums | None:
        clear = self._clear.checksums
        return _ProtectedChecksums(clear, self._clear.schemas) if clear else None

    def unpin(self) -> None:
        self._clear.unpin()

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        return self.protected(stream, self._clear.rows(stream, since, before))

    def mark(self, stream: Stream) -> TransactionMark | None:
        return self._clear.mark(stream)

    def anew(self, stream: Stream, mark: TransactionMark) -> str:
        return self._clear.anew(stream, mark)

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]:
        return self.protected(stream, self._clear.changed(stream, mark))

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]:
        return self.protected(stream, self._clear.keys(stream))

    def _shape(self, stream: Stream, schema: StreamSchema) -> StreamSchema:
        return altered(schema, columns=tuple(self._column(stream, column) for column in schema.columns))

    def _column(self, stream: Stream, column: Column) -> Column:
        how = stream.protected.get(column.name)
        if how is None:
            return column
        # The key stands in the shape, so that a rotation changes it: the next load then reads the whole table.
        return altered(column, raw_type="text", carrier="string", protection=protection(how, self._keys))

    def protected(self, stream: Stream, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, without what must not be seen."""
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


class _ProtectedChecksums:
    """The same of the columns that land as they are: what stands for the others the source cannot compute."""

    def __init__(self, clear: _ClearChecksums, schemas: dict[str, StreamSchema]) -> None:
        self._clear, self._schemas = clear, schemas

    def whole(self, stream: Stream, schema: StreamSchema) -> Checksum:
        return self._clear.whole(stream, self._unprotected(stream, schema))

    def digests(
        self, stream: Stream, schema: StreamSchema, count: int, wanted: Sequence[int]
    ) -> dict[str, str]:
        return self._clear.digests(stream, self._unprotected(stream, schema), count, wanted)

    def _unprotected(self, stream: Stream, schema: StreamSchema) -> StreamSchema:
        names = [name for name in schema.names if name not in stream.protected]
        return comparable(self._schemas[stream.name], names)


class _ProtectedLog:
    """The same log, with what stands for each protected value in its place, in keys of rows that are gone too."""

    def __init__(self, clear: _ClearLog, snapshot: ProtectedSnapshot, streams: tuple[Stream, ...]) -> None:
        self._clear, self._snapshot = clear, snapshot
        self._streams = {stream.name: stream for stream in streams}

    def anew(self, stream: Stream, mark: LogMark) -> str:
        return self._clear.anew(stream, mark)

    def definition(self, stream: Stream) -> str:
        return self._clear.definition(stream)

    def mark(self, stream: Stream) -> LogMark:
        return self._clear.mark(stream)

    def changes(self, marks: dict[str, LogMark]) -> Iterator[tuple[str, pa.RecordBatch]]:
        for name, batch in self._clear.changes(marks):
            for safe in self._snapshot.protected(self._streams[name], iter((batch,))):
                yield name, safe
