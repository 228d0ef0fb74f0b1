"""Which rows of a table a load reads: by a time that they are stamped with, or by the transactions that wrote them.

PostgreSQL keeps with each row version the transaction that wrote it (`xmin`), in 32 bits that go round, and knows of each
snapshot the lowest transaction that was still open (`pg_snapshot_xmin`, 64 bits). All lower ones were over by then, and
what they wrote was seen, whenever it was committed. So what a later snapshot shows and an earlier one did not was written
by a transaction at or after that one's xmin. docs/decisions/0016-increments-by-transaction.md has what might break this.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from psycopg import Connection, sql

from include.core.contracts.source import Stream
from include.core.errors import ContractError, TerminalError
from include.core.manifest import TransactionMark
from include.core.schema import StreamSchema

#: The farthest that a mark may lie back, in transactions. Numbers repeat after 2^32; half of that is left as a margin.
REACH = 1 << 31

_HISTORY = """
select pg_is_in_recovery(), pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, now(),
       case when not pg_is_in_recovery()
            then ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end,
       case when not pg_is_in_recovery() then pg_current_wal_insert_lsn()::text end,
       (select setting::int from pg_settings where name = 'wal_writer_delay')
  from pg_current_snapshot() as s
"""

# Views and foreign tables have no transactions, other kinds of storage none that mean the same.
_WITHOUT = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       case c.relkind when 'v' then 'a view' when 'm' then 'a materialised view' when 'f' then 'a foreign table'
                      else 'a table of the access method ' || quote_ident(a.amname) end
  from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_am a on a.oid = c.relam
 where c.oid = any (%s) and c.relkind <> 'p' and not (c.relkind = 'r' and a.amhandler::text = 'heap_tableam_handler')
 order by 1
"""


@dataclass(frozen=True)
class History:
    """Where a snapshot stands among its server's transactions: those before `oldest` were over, those from `newest` on had
    not begun. `timeline` is the branch of the server's history, new after each promotion and restore to a point in time."""

    oldest: int
    newest: int
    timeline: int
    taken: str

    def mark(self, storage: tuple[Any, ...]) -> TransactionMark:
        """What the next load goes on from. :param storage: of the table, see `catalog.storage`."""
        return TransactionMark(self.oldest, self.timeline, _files(storage), self.taken)

    def anew(self, mark: TransactionMark, storage: tuple[Any, ...]) -> str:
        """Why this snapshot does not say what has changed since the mark; empty when it does."""
        if mark.timeline != self.timeline:
            return f"the server was promoted or restored (timeline {mark.timeline}, now {self.timeline})"
        if self.newest < mark.xid:
            return f"the server counts its transactions from further back ({self.newest}, before {mark.xid})"
        if self.newest - mark.xid >= REACH:
            return f"{self.newest - mark.xid} transactions have passed, and their numbers repeat"
        if not set(_files(storage)) & set(mark.files):
            return "its files are others than before: it was truncated, rewritten or replaced"
        return ""

    def changed(self, mark: TransactionMark, storage: tuple[Any, ...]) -> sql.Composable:
        """The rows that the snapshot of `mark` did not show as they are now, and some that it did.

        Between the two snapshots lie `newest - mark.xid` transactions: as long as they are fewer than 2^32, a number
        of 32 bits says whether it is one of them. Rows in a file that was not there then may have been written earlier, in a
        table that was no part of this one: they are read whatever they say.
        """
        written = sql.SQL("((xmin::text::bigint - {}) & 4294967295) < {}").format(
            mark.xid & 0xFFFFFFFF, self.newest - mark.xid
        )
        fresh = sorted({table for table, _ in set(_files(storage)) - set(mark.files)})
        if not fresh:
            return written
        return sql.SQL("({} or tableoid in ({}))").format(
            written, sql.SQL(", ").join(map(sql.Literal, fresh))
        )


def history(exporter: Connection[Any], watcher: Connection[Any], where: str) -> History:
    """Where the exporter's snapshot stands, once nothing that it shows can be lost in a crash.

    :raises TerminalError: the server is a replica.
    """
    row = exporter.execute(_HISTORY).fetchone()
    assert row is not None
    replica, oldest, newest, taken, timeline, position, delay = row
    if replica:
        raise TerminalError(
            "a replica does not say which branch of the primary's history it follows",
            where=where,
            received="a server in recovery",
            allowed="the primary, or mode: snapshot for every stream",
            todo="point the connection at the primary, or change the streams' mode",
        )
    _durable(watcher, position, delay, where)
    return History(oldest, newest, timeline, taken.astimezone(timezone.utc).isoformat())


def check_kept(connection: Connection[Any], stream: Stream, storage: tuple[Any, ...], where: str) -> None:
    """That all rows of a table, its partitions and what inherits from it have a transaction.

    :raises ContractError: naming what has none.
    """
    without = connection.execute(_WITHOUT, ([table for table, _ in storage[1]],)).fetchall()
    if without:
        raise ContractError(
            "rows there do not say which transaction wrote them",
            where=f"{where}, stream {stream.name!r}",
            received=", ".join(f"{name}, {kind}" for name, kind in without),
            allowed="tables, partitioned and inherited ones included, for cursor: xmin",
            todo="mode: snapshot, or a column as cursor that is stamped at every change",
        )


def within(
    schema: StreamSchema, stream: Stream, since: datetime | None, before: datetime | None
) -> sql.Composable:
    """The rows whose stamp lies in `[since, before)`, open where None, and those whose stamp is no time."""
    if since is None and before is None:
        return sql.SQL("true")
    assert stream.stamp is not None
    column = schema.column(stream.stamp)
    cursor, kind = sql.Identifier(column.name_in_source), sql.SQL(column.raw_type)
    # The session is in UTC, so a bound without zone means the same for both kinds of timestamp.
    bounds = [
        sql.SQL("{} {} {}::{}").format(cursor, sql.SQL(sign), _without_zone(moment), kind)
        for sign, moment in ((">=", since), ("<", before))
        if moment is not None
    ]
    # An infinite stamp, or none, belongs to no interval; reading such a row each time is the only way not to lose it.
    outside = sql.SQL("{} in ('infinity', '-infinity')").format(cursor)
    if column.nullable:
        outside = sql.SQL("{} or {} is null").format(outside, cursor)
    return sql.SQL("(({}) or {})").format(sql.SQL(" and ").join(bounds), outside)


def _without_zone(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(" ")


def _files(storage: tuple[Any, ...]) -> tuple[tuple[int, int], ...]:
    """Each table with the file that holds its rows; a partitioned one has none of its own."""
    return tuple((table, file) for table, file in storage[1] if file is not None)


def _durable(watcher: Connection[Any], position: str, delay: int, where: str) -> None:
    """Wait until the log is on disk up to here.

    A crash forgets transactions whose end was not written yet: those that rolled back, and with `synchronous_commit = off`
    committed ones. Their numbers are then given out again, below a mark that counts them as over. The WAL writer writes
    the end of a transaction after three times `wal_writer_delay` (milliseconds) at the latest
    (https://www.postgresql.org/docs/current/wal-async-commit.html). What an open one has written may wait for longer,
    and need not be waited for.
    """
    for _ in range(30):
        row = watcher.execute("select pg_current_wal_flush_lsn() >= %s::pg_lsn", (position,)).fetchone()
        if row and row[0]:
            return
        time.sleep(delay / 10_000)
