"""A MariaDB or MySQL source: one transaction of one session, in which all streams are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pymysql
from pymysql.cursors import SSCursor

from include.core.changes import NOTHING_KNOWN, Change, Known
from include.core.connection import Connection
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import TransientError
from include.core.manifest import TransactionMark
from include.core.mysql import quoted
from include.core.schema import StreamSchema
from include.sources import Horizon
from include.sources.age import Age
from include.sources.carriers import arrow_schema
from include.sources.concealed import concealed
from include.sources.mysql import catalog, types
from include.sources.mysql.horizon import horizon
from include.sources.mysql.identity import position, server
from include.sources.mysql.session import MARK, Session, connect, one, run, translated
from include.sources.mysql.values import batches


class MySQLSource:
    """Reads what one contract describes. See `include.sources.Source`."""

    def __init__(self, contract: SourceContract, connection: Connection) -> None:
        self._contract = contract
        self._connection = connection
        self._where = f"source {contract.source!r}"

    def _connect(self) -> Session:
        return connect(self._connection, self._where, self._contract.impact)

    def horizon(self, end: datetime) -> Horizon:
        with closing(self._connect()) as session, translated(self._where):
            return horizon(session, end, self._where)

    def stale_upstreams(self) -> list[str]:
        if not isinstance(self._contract.upstreams, tuple) or not self._contract.upstreams:
            return []
        stale = []
        with closing(self._connect()) as session, translated(self._where):
            for upstream in self._contract.upstreams:
                seconds = upstream.max_age.total_seconds()
                newest, late = one(
                    session,
                    "select newest, newest < utc_timestamp(6) - interval"
                    # the contract's own SQL, by design
                    f" {seconds} second from (select ({upstream.freshness_query}) as newest) upstream",
                )
                if newest is None or late:
                    stale.append(
                        f"upstream {upstream.name!r}: newest {newest}, allowed age {upstream.max_age}"
                    )
        return stale

    @contextmanager
    def snapshot(self, streams: list[Stream], before: Known = NOTHING_KNOWN) -> Iterator[MySQLSnapshot]:
        with closing(_Closing(self._connect())) as held:
            with translated(self._where):
                picture = self._open(held.session, streams, before)
            yield picture

    def _open(self, session: Session, streams: list[Stream], before: Known) -> MySQLSnapshot:
        tables = {stream.name: catalog.find_table(session, self._contract, stream) for stream in streams}
        stands = position(session)
        run(session, "start transaction read only")
        # Naming a table in a transaction keeps its definition until the end, and reads nothing yet: no table can be altered,
        # truncated, dropped or renamed between the look into the catalog and the last row.
        for table in tables.values():
            run(session, f"select 1 from {table.quoted} where false")
        shapes = catalog.read_shapes(session, self._contract, streams, tables, before)
        # The first row that is read fixes what all reads of the transaction show.
        for table in list(tables.values())[:1]:
            run(session, f"select 1 from {table.quoted} limit 1")
        return MySQLSnapshot(
            server=server(session),
            position=stands,
            schemas=shapes.schemas,
            changes=shapes.changes,
            unread=shapes.unread,
            found=shapes.found,
            tables=tables,
            session=session,
            age=Age(self._contract.impact.longest_snapshot),
            where=self._where,
        )


class _Closing:
    """A session that may have been closed in between."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def close(self) -> None:
        with suppress(pymysql.err.Error, OSError):
            self.session.close()


@dataclass
class MySQLSnapshot:
    """See `include.sources.Snapshot`. The snapshot is its session's own: several threads take turns."""

    server: str
    position: tuple[int, ...]
    schemas: dict[str, StreamSchema]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]
    found: dict[str, dict[str, types.CatalogType]]
    tables: dict[str, catalog.Table]
    session: Session
    age: Age
    where: str
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def log(self) -> None:
        """The log of this kind of system is not read."""
        return None

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        schema = self.schemas[stream.name]
        return self._read(stream, schema, within(schema, stream, since, before))

    def mark(self, stream: Stream) -> TransactionMark | None:
        return None

    def anew(self, stream: Stream, mark: TransactionMark) -> str:
        return "the table was read by transactions before, which this kind of system does not tell"

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError("no contract of this kind has cursor: xmin")

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]:
        return self._read(stream, self.schemas[stream.name].only(stream.primary_key), "true")

    def _read(self, stream: Stream, schema: StreamSchema, condition: str) -> Iterator[pa.RecordBatch]:
        where = f"{self.where}, stream {stream.name!r}"
        found = self.found[stream.name]
        line = types.line([types.field(found[column.name], column) for column in schema.columns])
        query = f"{MARK}{line} from {self.tables[stream.name].quoted} where {condition}"
        with self._turn, concealed(stream, where), translated(where), self._lines(query, where) as lines:
            for batch in batches(lines, schema, arrow_schema(schema), where):
                self.age.check(where)
                yield batch

    @contextmanager
    def _lines(self, query: str, where: str) -> Iterator[Any]:
        if not self.session.open:
            raise TransientError(
                "the snapshot in which all streams are read is gone",
                where=where,
                received="a session that was closed when another stream could not be read to its end",
                todo="see that stream's error",
            )
        cursor = self.session.cursor(SSCursor)
        try:
            cursor.execute(query)
            yield cursor
            cursor.close()
        except BaseException:
            # Else the driver would read to the end what nobody wants any more, also when it forgets the result.
            if (result := getattr(cursor, "_result", None)) is not None:
                result.unbuffered_active = False
            with suppress(pymysql.err.Error, OSError):
                self.session.close()
            raise

    @property
    def checksums(self) -> None:
        """This server writes values in another way than PostgreSQL does, so their digests cannot be compared."""

    def unpin(self) -> None:
        """Its transaction is its session's, which ends with it."""


def within(schema: StreamSchema, stream: Stream, since: datetime | None, before: datetime | None) -> str:
    """The rows whose stamp lies in `[since, before)`, open where None, and those whose stamp is no time."""
    if since is None and before is None:
        return "true"
    assert stream.stamp is not None
    column = schema.column(stream.stamp)
    cursor = quoted(column.name)
    # The session is in UTC, so a bound means the same for a timestamp, and for a datetime, which has no zone.
    bounds = [
        f"{cursor} {sign} '{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S.%f}'"
        for sign, moment in ((">=", since), ("<", before))
        if moment is not None
    ]
    # A stamp that is no time, or none, belongs to no interval; reading such a row each time is the only way not to lose it.
    outside = f" or {cursor} is null" if column.nullable else ""
    return f"(({' and '.join(bounds)}) or {cursor} = '0000-00-00 00:00:00'{outside})"
