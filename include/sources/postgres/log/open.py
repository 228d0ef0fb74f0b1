"""Opening the log beside a snapshot that was just taken."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from include.core.contracts.source import SourceContract, Stream
from include.core.errors import ContractError, TransientError
from include.core.schema import StreamSchema
from include.sources.postgres.log.picture import PostgresLogPicture
from include.sources.postgres.log.state import check_server, slot_state, usable
from include.sources.postgres.log.tables import LoggedTable, look

#: How long the server may take to write its log to disk. Where nobody waits for it, it takes up to three times
#: `wal_writer_delay` (https://www.postgresql.org/docs/current/wal-async-commit.html).
_PATIENCE = 30.0

_POSITION = """
select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, current_setting('wal_block_size')::bigint,
       (select setting::bigint from pg_settings where name = 'wal_segment_size')
"""
#: Bytes that a page of the log begins with: the first page of a file, any other (src/include/access/xlog_internal.h).
_HEADS = (40, 24)


def open_log(
    contract: SourceContract,
    uri: str,
    exporter: psycopg.Connection[Any],
    watcher: psycopg.Connection[Any],
    streams: list[Stream],
    tables: dict[str, tuple[int, str]],
    schemas: dict[str, StreamSchema],
) -> PostgresLogPicture | None:
    """The log up to the exporter's snapshot; None when no stream is read by it.

    :raises TerminalError: the slot is gone or lost, or the server writes no such log.
    :raises ContractError: the log does not tell all of a table; names what to do.
    """
    logged = [stream for stream in streams if stream.mode == "log"]
    if not logged:
        return None
    where = f"source {contract.source!r}"
    check_server(watcher, where)
    state = usable(slot_state(watcher, contract.slot_name, where), contract.slot_name, contract.source)
    looked = {
        stream.name: _look(exporter, contract.slot_name, tables[stream.name][0], schemas[stream.name])
        for stream in logged
    }
    faults = [fault for table in looked.values() for fault in table.faults]
    if faults:
        raise ContractError(
            "the log would not tell all that happens",
            where=where,
            received="\n            ".join(faults),
            allowed="plain tables with a replica identity, in the source's publication with all their columns and rows",
            todo=f"millrace slot create {contract.source} adds tables to the publication, or says who can",
        )
    row = exporter.execute("select pg_current_snapshot()::text").fetchone()
    assert row is not None

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(uri, autocommit=True)
        # From version 14 on a server that is decoding notices that nobody waits for it any more, and lets go of the slot.
        connection.execute(
            "select set_config('client_connection_check_interval', '2s', false)"
            " where exists (select from pg_settings where name = 'client_connection_check_interval')"
        )
        return connection

    return PostgresLogPicture(
        connect=connect,
        where=where,
        slot=contract.slot_name,
        snapshot=row[0],
        upto=_on_disk(watcher, where),
        confirmed=state.confirmed,
        timeline=state.timeline,
        tables=looked,
        streams={stream.name: stream for stream in logged},
        schemas={stream.name: schemas[stream.name] for stream in logged},
    )


def _look(exporter: psycopg.Connection[Any], publication: str, oid: int, schema: StreamSchema) -> LoggedTable:
    key = tuple(schema.column(name).name_in_source for name in schema.primary_key)
    return look(exporter, publication, oid, key, tuple(column.name_in_source for column in schema.columns))


def _on_disk(watcher: psycopg.Connection[Any], where: str) -> int:
    """A position in the log: before it stands every commit that an earlier snapshot sees, and it is on disk up to there.

    A transaction is seen once it has left the list of the running ones, and it does so after its commit was written.
    """
    row = watcher.execute(_POSITION).fetchone()
    assert row is not None
    position, until = end_of_records(*row), time.monotonic() + _PATIENCE
    while True:
        row = watcher.execute(
            "select pg_current_wal_flush_lsn() >= '0/0'::pg_lsn + %s::bigint", (position,)
        ).fetchone()
        if row and row[0]:
            return position
        if time.monotonic() > until:
            raise TransientError(
                "the server does not write its log to disk",
                where=where,
                todo="it is tried again; see whether the source's disk is busy or full",
            )
        time.sleep(0.02)


def end_of_records(position: int, page: int, file: int) -> int:
    """Where the last record before an insert position ends.

    When that is the end of a page, the position stands behind the next page's head, where nothing is on disk before the next
    record. All in bytes; a page is `page` long, a file `file`.
    """
    head = _HEADS[0] if position % file < page else _HEADS[1]
    return position - head if position % page == head else position
