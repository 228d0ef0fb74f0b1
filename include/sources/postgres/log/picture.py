"""What has changed between two pictures of a source, from its log.

A picture is a snapshot, and a snapshot says of each transaction whether it is seen. The log has whole transactions in the
order of their commits, each with its number. So what lies between two pictures are the transactions that the later one sees
and the earlier one does not; in the log's order, because who changes a row that another has changed waits for its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.core.contracts.source import Stream
from include.core.errors import SchemaChanged, TerminalError, TransientError
from include.core.log_changes import DELETE, INSERT, MOVE, TRUNCATE, UPDATE
from include.core.manifest import LogMark
from include.core.schema import StreamSchema
from include.sources.concealed import concealed
from include.sources.postgres.log.pgoutput import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Relation,
    Row,
    Truncate,
    Value,
    decode,
)
from include.sources.postgres.log.seen import Seen
from include.sources.postgres.log.tables import LoggedTable
from include.sources.postgres.log.texts import batch, target
from include.sources.postgres.translated import translated

#: Rows and bytes of one stream that are kept before they are handed on, and bytes of all streams together.
ROWS, BYTES, BYTES_OF_ALL = 32 * 1024, 16 << 20, 64 << 20
#: Seconds to wait until a session that was killed lets go of the slot.
_PATIENCE = 60.0

_MESSAGES = """
copy (select data from pg_logical_slot_peek_binary_changes({slot}, '0/0'::pg_lsn + {upto}, null, 'proto_version', '1',
    'publication_names', {publication})) to stdout (format binary)
"""


@dataclass
class PostgresLogPicture:
    """See `include.sources.log.LogPicture`.

    :param snapshot: of the picture. :param upto: before here in the log stands every commit that it sees.
    :param confirmed: what was committed before here, the slot does not tell any more.
    """

    connect: Callable[[], psycopg.Connection[Any]]
    where: str
    slot: str
    snapshot: str
    upto: int
    confirmed: int
    timeline: int
    tables: dict[str, LoggedTable]
    streams: dict[str, Stream]
    schemas: dict[str, StreamSchema]
    _reached: int | None = field(default=None)

    def anew(self, stream: Stream, mark: LogMark) -> str:
        if mark.timeline != self.timeline:
            return f"the server was promoted or restored (timeline {mark.timeline}, now {self.timeline})"
        if self.confirmed > mark.lsn:
            raise TerminalError(
                "the slot no longer has all changes since the last load",
                where=f"{self.where}, stream {stream.name!r}",
                received=f"slot {self.slot} begins {self.confirmed - mark.lsn} bytes after what raw holds",
                allowed="a slot that nobody but this source's runs moves, drops or makes anew",
                todo="find out who did; then start the DAG with full_refresh: the tables are read anew, the log from there",
            )
        if mark.definition != self.tables[stream.name].definition:
            return "its definition or publication was altered, and the log does not tell what that did to its rows"
        return ""

    def definition(self, stream: Stream) -> str:
        return self.tables[stream.name].definition

    def mark(self, stream: Stream) -> LogMark:
        assert self._reached is not None  # all changes were read
        return LogMark(self.snapshot, self._reached, self.timeline, self.tables[stream.name].definition)

    def changes(self, marks: dict[str, LogMark]) -> Iterator[tuple[str, pa.RecordBatch]]:
        now, reached = Seen.parse(self.snapshot), self.upto
        before = {name: Seen.parse(mark.snapshot) for name, mark in marks.items()}
        buffers = {
            self.tables[name].oid: Buffer(
                self.streams[name], self.schemas[name], self.tables[name], self.where
            )
            for name in marks
        }
        number, wanted, waiting = 0, frozenset[int](), 0
        with ExitStack() as kept:
            for stream in self.streams.values():
                kept.enter_context(concealed(stream, f"{self.where}, slot {self.slot!r}"))
            for data in self._messages():
                message = decode(data)
                if isinstance(message, Change):
                    if message.oid in wanted:
                        number += 1
                        buffer = buffers[message.oid]
                        number, size = buffer.add(message, number)
                        waiting += size
                        if buffer.full or waiting > BYTES_OF_ALL:
                            for full in buffers.values() if waiting > BYTES_OF_ALL else (buffer,):
                                waiting -= full.bytes
                                yield from full.take()
                elif isinstance(message, Begin):
                    xid = now.full(message.xid)
                    if xid not in now:
                        # It, and what comes after it, is told again next time.
                        reached = min(reached, message.commit)
                    wanted = frozenset(
                        oid
                        for oid, one in buffers.items()
                        if xid in now and xid not in before[one.stream.name]
                    )
                elif isinstance(message, Relation) and message.oid in buffers:
                    buffers[message.oid].relation = message
                elif isinstance(message, Truncate):
                    for oid in wanted & set(message.oids):
                        number += 1
                        buffers[oid].empty(number)
                elif isinstance(message, Commit):
                    wanted = frozenset()
            for buffer in buffers.values():
                yield from buffer.take()
        self._reached = reached

    def _messages(self) -> Iterator[bytes]:
        """What the slot has of the log, up to the picture. The server keeps it in a file of its own while it is sent."""
        statement = sql.SQL(_MESSAGES).format(
            slot=sql.Literal(self.slot), publication=sql.Literal(self.slot), upto=sql.Literal(self.upto)
        )
        until = time.monotonic() + _PATIENCE
        with translated(f"{self.where}, slot {self.slot!r}"), self.connect() as connection:
            while True:
                try:
                    with connection.cursor() as cursor, cursor.copy(statement) as copy:
                        copy.set_types(["bytea"])
                        for (data,) in copy.rows():
                            yield data
                    return
                except psycopg.errors.ObjectInUse as error:
                    if time.monotonic() > until:
                        raise TransientError(
                            "another session reads from the slot",
                            where=f"{self.where}, slot {self.slot!r}",
                            received=error.diag.message_primary,
                            todo="nothing, when this is seldom: it is tried again; else see who uses this source's slot",
                        ) from None
                    time.sleep(0.5)
                except psycopg.errors.UndefinedObject as error:
                    # before version 18 the server asks for it as it was at the time of each change
                    raise TerminalError(
                        "a part of the log was written when the slot or its publication was not there",
                        where=f"{self.where}, slot {self.slot!r}",
                        received=error.diag.message_primary,
                        todo="millrace slot drop and create, then start the DAG with full_refresh",
                    ) from None


class Buffer:
    """Changes of one stream on their way to a batch."""

    def __init__(self, stream: Stream, schema: StreamSchema, table: LoggedTable, where: str) -> None:
        self.stream, self._schema, self._table = stream, schema, table
        self._where = f"{where}, stream {stream.name!r}"
        self._kinds = target(schema)
        self._rows: list[list[Value]] = []
        self._added: list[tuple[str, int]] = []
        self._places: list[int] = []
        self._relation: Relation | None = None
        self._key = [schema.names.index(name) for name in schema.primary_key]
        self._none: list[Value] = [None] * len(schema.names)
        self.bytes = 0

    @property
    def full(self) -> bool:
        return len(self._rows) >= ROWS or self.bytes >= BYTES

    @property
    def relation(self) -> Relation | None:
        """The shape of what comes next. It is told once, maybe in a transaction of which nothing is wanted."""
        return self._relation

    @relation.setter
    def relation(self, relation: Relation) -> None:
        self._relation, self._places = relation, []

    def _learn(self) -> None:
        """In which order values come.

        :raises SchemaChanged: the log tells of another shape than the table has.
        """
        relation = self._relation
        assert relation is not None  # the server tells it before the first change
        told = {name: (kind, modifier) for name, kind, modifier in relation.columns}
        known = self._table.types
        names = [column.name_in_source for column in self._schema.columns]
        wrong = [name for name in names if told.get(name) != known[name]]
        if wrong:
            raise SchemaChanged(
                "the log tells of another shape of the table than it has",
                where=self._where,
                received=f"columns that are missing in the log, or of another type there: {', '.join(wrong)}",
                allowed="the columns and types of the table",
                todo="start the DAG with full_refresh for this stream",
            )
        places = {name: place for place, (name, _, _) in enumerate(relation.columns)}
        self._places = [places[name] for name in names]

    def add(self, change: Change, number: int) -> tuple[int, int]:
        """Keep a change under this number. Returns the last number that it took, and its size in bytes.

        :raises SchemaChanged: see `_learn`.
        """
        if not self._places:
            self._learn()
        old = [change.old[place] for place in self._places] if change.old is not None else None
        if change.new is None:
            assert old is not None
            return number, self._keep(self._only_key(old), DELETE, number)
        new = [change.new[place] for place in self._places]
        if change.kind == "I":
            return number, self._keep(new, INSERT, number)
        if old is None:
            return number, self._keep(new, UPDATE, number)
        # Of a key that is stored out of line, the old one comes along when neither has changed.
        new = [
            was if now is UNCHANGED and was is not None else now for was, now in zip(old, new, strict=True)
        ]
        if all(old[place] == new[place] for place in self._key):
            return number, self._keep(new, UPDATE, number)
        size = self._keep(self._only_key(old), DELETE, number)
        return number + 1, size + self._keep(new, MOVE, number + 1)

    def empty(self, number: int) -> None:
        """Keep that the table lost all its rows."""
        self._keep(list(self._none), TRUNCATE, number)

    def take(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What was kept, if anything, as a batch."""
        if not self._rows:
            return
        rows, added = self._rows, self._added
        self._rows, self._added, self.bytes = [], [], 0
        yield self.stream.name, batch(self._schema, self._kinds, rows, added, self._where)

    def _only_key(self, row: Row) -> Row:
        only = list(self._none)
        for place in self._key:
            only[place] = row[place]
        return only

    def _keep(self, row: Row, operation: str, number: int) -> int:
        self._rows.append(row)
        self._added.append((operation, number))
        size = sum(len(value) + 64 if isinstance(value, str) else 8 for value in row)  # as Python keeps them
        self.bytes += size
        return size
