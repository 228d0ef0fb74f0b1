"""The life of a source's slot and publication: made, looked at, moved on, dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from include.core.connection import Connection
from include.core.contracts.source import SourceContract
from include.core.errors import ContractError, SourceForbidden, TransientError
from include.sources.log import FollowedTable, SlotState
from include.sources.postgres import catalog
from include.sources.postgres.log.state import check_server, slot_state, usable
from include.sources.postgres.log.tables import LoggedTable, look
from include.sources.postgres.session import session_uri
from include.sources.postgres.translated import translated

#: From this version on a publication can tell the values of generated columns.
_TELLS_GENERATED = 180000


class PostgresSlot:
    """See `include.sources.log.Slot`. The publication has the slot's name."""

    def __init__(self, contract: SourceContract, connection: Connection) -> None:
        self._contract, self._name = contract, contract.slot_name
        self._uri = session_uri(contract, connection)
        self._where = f"source {contract.source!r}"

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        where = f"{self._where}, slot {self._name!r}"
        with translated(where), psycopg.connect(self._uri, autocommit=True) as session:
            yield session

    def state(self) -> SlotState | None:
        with self._session() as session:
            check_server(session, self._where)
            return slot_state(session, self._name, self._where)

    def tables(self) -> list[FollowedTable]:
        with self._session() as session:
            return [
                FollowedTable(
                    name, table.name, table.published, table.identity, table.definition, table.faults
                )
                for name, table in self._look(session).items()
            ]

    def _look(self, session: psycopg.Connection[Any]) -> dict[str, LoggedTable]:
        return {
            stream.name: look(
                session,
                self._name,
                catalog.find_table(session, self._contract, stream)[0],
                stream.primary_key,
                stream.read_columns,
            )
            for stream in self._contract.logged
        }

    def create(self) -> list[str]:
        if not self._contract.logged:
            raise ContractError(
                "no stream is read by the log, and a slot that nobody reads fills the source's disk",
                where=self._where,
                received=", ".join(sorted({stream.mode for stream in self._contract.streams})),
                allowed="a stream with mode: log",
                todo="set mode: log for a stream in the contract first",
            )
        with self._session() as session:
            server = check_server(session, self._where)
            done = self._publish(session, server)
            if slot_state(session, self._name, self._where) is None:
                # It waits for the transactions that are open now: only of later ones can it tell the whole.
                session.execute("set lock_timeout = 0")
                self._may(
                    session,
                    sql.SQL("select pg_create_logical_replication_slot({}, 'pgoutput')").format(
                        sql.Literal(self._name)
                    ),
                    f"alter role {server['role']} replication;",
                )
                done.append(f"made slot {self._name}")
        return done

    def probe(self) -> None:
        with self._session() as session:
            usable(slot_state(session, self._name, self._where), self._name, self._contract.source)
            # up to the first record, whatever it says
            self._may(
                session,
                sql.SQL(
                    "select count(*) from pg_logical_slot_peek_binary_changes({name}, '0/1', 1, 'proto_version', '1',"
                    " 'publication_names', {name})"
                ).format(name=sql.Literal(self._name)),
                "alter role … replication; for the role of the connection",
            )

    def _publish(self, session: psycopg.Connection[Any], server: dict[str, Any]) -> list[str]:
        name = sql.Identifier(self._name)
        lacking = [table.name for table in self._look(session).values() if not table.published]
        there = session.execute("select 1 from pg_publication where pubname = %s", (self._name,)).fetchone()
        if there and not lacking:
            return []
        tables = sql.SQL(", ").join(map(sql.SQL, lacking))  # quoted by the server
        if there:
            statement = sql.SQL("alter publication {} add table {}").format(name, tables)
        else:
            options = sql.SQL(
                " with (publish_generated_columns = stored)" if server["version"] >= _TELLS_GENERATED else ""
            )
            statement = sql.SQL("create publication {} for table {}{}").format(name, tables, options)
        self._may(session, statement, f"{statement.as_string(None)};")
        return [f"{'added to' if there else 'made'} publication {self._name}: {', '.join(lacking)}"]

    def _may(self, session: psycopg.Connection[Any], statement: sql.Composed, instead: str) -> None:
        try:
            session.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise SourceForbidden(
                "the role may not do this",
                where=self._where,
                received=error.diag.message_primary,
                allowed="a publication is made by the owner of its tables who may also create in the database; a slot by a"
                " role with REPLICATION",
                todo=f"as an administrator of the source, in this database: {instead}\n"
                f"              then: millrace slot create {self._contract.source}",
            ) from None

    def drop(self) -> list[str]:
        done = []
        with self._session() as session:
            if slot_state(session, self._name, self._where) is not None:
                session.execute("select pg_drop_replication_slot(%s)", (self._name,))
                done.append(f"dropped slot {self._name}: the source keeps no more log for us")
            if session.execute("select 1 from pg_publication where pubname = %s", (self._name,)).fetchone():
                statement = sql.SQL("drop publication {}").format(sql.Identifier(self._name))
                try:
                    session.execute(statement)
                except psycopg.errors.InsufficientPrivilege:
                    # It costs the source nothing, and what made it can be undone by who made it alone.
                    done.append(
                        f"publication {self._name} stays, it belongs to another role; as an administrator of the source, in"
                        f" this database: {statement.as_string(None)};"
                    )
                else:
                    done.append(f"dropped publication {self._name}")
        return done

    def settle(self, patience: timedelta) -> None:
        until = time.monotonic() + patience.total_seconds()
        with self._session() as session:
            row = session.execute("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
            assert row is not None
            while True:
                over = session.execute(
                    "select pg_snapshot_xmin(s)::text::bigint >= %s, pg_snapshot_xmin(s)::text from pg_current_snapshot() s",
                    (row[0],),
                ).fetchone()
                assert over is not None
                if over[0]:
                    return
                if time.monotonic() > until:
                    raise TransientError(
                        "a transaction has been open since before the slot was made, so the tables cannot be read yet",
                        where=self._where,
                        received=f"transaction {over[1]} is still running",
                        allowed=f"horizon_timeout: {patience}",
                        todo="it is tried again; find it in pg_stat_activity (backend_xid) or pg_prepared_xacts",
                    )
                time.sleep(0.2)

    def release(self, server: str, timeline: int, position: int) -> bool:
        with self._session() as session:
            state = slot_state(session, self._name, self._where)
            if state is None or state.wal_status == "lost" or state.confirmed >= position:
                return False
            if (state.server, state.timeline) != (server, timeline):
                return False
            session.execute(
                "select pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s::bigint)", (self._name, position)
            )
            return True
