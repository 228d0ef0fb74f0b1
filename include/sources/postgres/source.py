"""A PostgreSQL source: one exported snapshot, read by several connections."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import adbc_driver_manager as adbc
import psycopg
import pyarrow as pa
from psycopg import sql

from include.core.changes import NOTHING_KNOWN, Change, Known
from include.core.connection import Connection
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import TransientError
from include.core.manifest import TransactionMark
from include.core.schema import StreamSchema
from include.sources import Horizon
from include.sources.age import Age
from include.sources.carriers import arrow_schema
from include.sources.concealed import concealed
from include.sources.postgres import catalog, selection
from include.sources.postgres.checksums import At, PostgresChecksums
from include.sources.postgres.columns import Columns
from include.sources.postgres.horizon import horizon
from include.sources.postgres.log.open import open_log
from include.sources.postgres.log.picture import PostgresLogPicture
from include.sources.postgres.ranges import page_ranges, together
from include.sources.postgres.session import milliseconds, session_uri
from include.sources.postgres.translated import translated
from include.sources.postgres.types import expression
from include.sources.postgres.values import exact


class PostgresSource:
    """Reads what one contract describes. See `include.sources.Source`."""

    def __init__(self, contract: SourceContract, connection: Connection) -> None:
        self._contract = contract
        self._uri = session_uri(contract, connection)
        self._where = f"source {contract.source!r}"

    def horizon(self, end: datetime) -> Horizon:
        with translated(self._where), psycopg.connect(self._uri, autocommit=True) as connection:
            return horizon(connection, end, self._where)

    def stale_upstreams(self) -> list[str]:
        if not isinstance(self._contract.upstreams, tuple):
            return []
        stale = []
        with translated(self._where), psycopg.connect(self._uri) as connection:
            connection.read_only = True  # what a contract asks must not change the source
            for upstream in self._contract.upstreams:
                row = connection.execute(
                    sql.SQL(
                        "select newest, clock_timestamp() - newest > %s from ({}) as upstream(newest)"
                    ).format(
                        sql.SQL(upstream.freshness_query)  # the contract's own SQL, by design
                    ),
                    (upstream.max_age,),
                ).fetchone()
                if row is None or row[0] is None or row[1]:
                    stale.append(
                        f"upstream {upstream.name!r}: newest {row[0] if row else None}, allowed age {upstream.max_age}"
                    )
        return stale

    @contextmanager
    def snapshot(self, streams: list[Stream], before: Known = NOTHING_KNOWN) -> Iterator[PostgresSnapshot]:
        with translated(self._where):
            exporter, watcher = psycopg.connect(self._uri), psycopg.connect(self._uri, autocommit=True)
        with exporter, watcher:
            with translated(self._where):
                picture = self._export(exporter, watcher, streams, before)
            try:
                yield picture
            finally:
                picture.close()

    def _export(
        self,
        exporter: psycopg.Connection[Any],
        watcher: psycopg.Connection[Any],
        streams: list[Stream],
        before: Known,
    ) -> PostgresSnapshot:
        # Before the snapshot is taken: whatever replaces a table from here on is noticed after it was read.
        tables = {stream.name: catalog.find_table(watcher, self._contract, stream) for stream in streams}
        storage = {name: catalog.storage(watcher, *table) for name, table in tables.items()}
        by_xmin = [stream for stream in streams if stream.by_xmin]
        for stream in by_xmin:
            selection.check_kept(watcher, stream, storage[stream.name], self._where)
        exporter.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        exporter.read_only = True
        # The exporter stays open while others read, idle in its transaction for all that time.
        exporter.execute(
            "select set_config('idle_in_transaction_session_timeout', %s, true)",
            (milliseconds(self._contract.impact.longest_snapshot),),
        )
        row = exporter.execute(
            "select pg_export_snapshot(), pg_snapshot_xmax(s)::text::bigint, (select count(*) from pg_snapshot_xip(s))"
            " from pg_current_snapshot() as s"
        ).fetchone()
        assert row is not None
        name, newest, running = row
        shapes = catalog.read_shapes(exporter, self._contract, streams, tables, before)
        return PostgresSnapshot(
            server=_server(exporter),
            # Of two snapshots the later one has seen more transactions end: a higher next transaction, or the same
            # with fewer still running.
            position=(newest, -running),
            schemas=shapes.schemas,
            changes=shapes.changes,
            unread=shapes.unread,
            history=selection.history(exporter, watcher, self._where) if by_xmin else None,
            log=open_log(self._contract, self._uri, exporter, watcher, streams, tables, shapes.schemas),
            tables=tables,
            storage=storage,
            ranges=page_ranges(watcher, storage),
            watcher=watcher,
            age=Age(self._contract.impact.longest_snapshot),
            exporter=exporter,
            permits=threading.Semaphore(self._contract.impact.connections),
            name=name,
            uri=self._uri,
            where=self._where,
        )


@dataclass
class PostgresSnapshot:
    """See `include.sources.Snapshot`. Connections are kept for the next read; `permits` bounds how many read at once."""

    server: str
    position: tuple[int, ...]
    schemas: dict[str, StreamSchema]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]
    history: selection.History | None
    log: PostgresLogPicture | None
    tables: dict[str, tuple[int, str]]
    storage: dict[str, tuple[Any, ...]]
    ranges: dict[str, Sequence[sql.Composable]]
    watcher: psycopg.Connection[Any]
    age: Age
    exporter: psycopg.Connection[Any]
    permits: threading.Semaphore
    name: str
    uri: str
    where: str
    _idle: queue.SimpleQueue[Columns] = field(default_factory=queue.SimpleQueue)

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        schema = self.schemas[stream.name]
        if since is None and before is None:
            return self._read(stream, schema, *self.ranges[stream.name])
        return self._read(stream, schema, selection.within(schema, stream, since, before))

    def mark(self, stream: Stream) -> TransactionMark | None:
        return self.history.mark(self.storage[stream.name]) if self.history and stream.by_xmin else None

    def anew(self, stream: Stream, mark: TransactionMark) -> str:
        assert self.history is not None
        return self.history.anew(mark, self.storage[stream.name])

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]:
        assert self.history is not None
        return self._read(
            stream, self.schemas[stream.name], self.history.changed(mark, self.storage[stream.name])
        )

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]:
        return self._read(stream, self.schemas[stream.name].only(stream.primary_key), sql.SQL("true"))

    @property
    def checksums(self) -> PostgresChecksums:
        return PostgresChecksums(self._at)

    @contextmanager
    def _at(self, stream: Stream) -> Iterator[At]:
        where, table = f"{self.where}, stream {stream.name!r}", self.tables[stream.name][1]
        with concealed(stream, where), translated(where), self.permits, self._reader() as session:
            yield session, table, self._aging(self.ranges[stream.name], where)
        self._check_storage(stream, where)

    def _aging(self, conditions: Sequence[sql.Composable], where: str) -> Iterator[sql.Composable]:
        for condition in conditions:
            self.age.check(where)
            yield condition

    def _read(
        self, stream: Stream, schema: StreamSchema, *conditions: sql.Composable
    ) -> Iterator[pa.RecordBatch]:
        where = f"{self.where}, stream {stream.name!r}"
        readers = [partial(self._range, stream, schema, condition) for condition in conditions]
        for batch in together(readers, self.permits):
            self.age.check(where)
            yield batch
        self._check_storage(stream, where)

    def _check_storage(self, stream: Stream, where: str) -> None:
        with translated(where):
            found = catalog.storage(self.watcher, *self.tables[stream.name])
        if found != self.storage[stream.name]:
            raise TransientError(
                "the table was truncated, rewritten or replaced while it was read",
                where=where,
                received=self.tables[stream.name][1],
                allowed="TRUNCATE, ALTER TABLE, DETACH PARTITION and swaps of names before or after a read",
                todo="nothing, when this is seldom: the next attempt reads what is there then",
            )

    def _range(
        self, stream: Stream, schema: StreamSchema, condition: sql.Composable
    ) -> Iterator[pa.RecordBatch]:
        where = f"{self.where}, stream {stream.name!r}"
        query = sql.SQL("select {} from {} where {}").format(
            sql.SQL(", ").join(expression(column) for column in schema.columns),
            sql.SQL(self.tables[stream.name][1]),  # quoted by the server
            condition,
        )
        target = arrow_schema(schema)
        with concealed(stream, where), translated(where), self._reader() as session:
            for batch in session.batches(query.as_string(None)):
                yield exact(batch, schema, target, where)

    @contextmanager
    def _reader(self) -> Iterator[Columns]:
        session = self._kept()
        if session is None:
            session = Columns(self.uri)
            session.run("begin isolation level repeatable read read only")
            # It may wait its turn for as long as another stream is read.
            session.run(f"set local idle_in_transaction_session_timeout = {self.age.milliseconds}")
            self._join(session)
        try:
            yield session
        except BaseException:
            session.close()
            raise
        self._idle.put(session)

    def _kept(self) -> Columns | None:
        """A session that was used before, if there is one that its server has not ended."""
        while True:
            try:
                session = self._idle.get_nowait()
            except queue.Empty:
                return None
            alive = "select from pg_stat_activity where pid = %s"
            if self.watcher.execute(alive, (session.backend,)).rowcount:
                return session
            session.close()

    def _join(self, session: Columns) -> None:
        try:
            session.run(f"set transaction snapshot '{self.name}'")
        except adbc.Error as error:
            # it lives as long as the connection that exported it
            raise TransientError(
                "the snapshot in which all streams are read is gone",
                where=self.where,
                received=" ".join(str(error).split()),
                todo="nothing, when this is seldom: the next attempt reads in a new one; else see who ends our connections",
            ) from error

    def unpin(self) -> None:
        self.close()
        self.exporter.close()

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()


def _server(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(
        "select system_identifier::text || '/' || current_database() from pg_control_system()"
    ).fetchone()
    assert row is not None
    return str(row[0])
