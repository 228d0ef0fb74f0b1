"""The session of the warehouse in which a sync is planned and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg

from include.core.connection import Connection
from include.core.errors import LeaseHeld, TerminalError, Unreachable

Session = psycopg.Connection[Any]

# Rendering a value as text depends on these; fixed, so that an equal value has an equal fingerprint wherever
# it is computed.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "search_path": "pg_catalog",
    "work_mem": "64MB",
    "jit": "off",
}


@contextmanager
def warehouse_session(connection: Connection, sync: str) -> Iterator[Session]:
    """One session, in autocommit mode.

    :raises Unreachable: the warehouse does not answer, or broke off.
    :raises TerminalError: it refuses the login, or lacks a table or a right.
    """
    where = f"sync {sync!r}, warehouse connection {connection.conn_id!r}"
    try:
        with psycopg.connect(connection.postgres_uri(**_SETTINGS), autocommit=True) as session:
            yield session
    except (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName, pg.InsufficientPrivilege) as error:
        raise TerminalError(
            primary_message(error),
            where=where,
            todo="bring the ledger and the rights of its roles up to this version: millrace warehouse init",
        ) from error
    except psycopg.OperationalError as error:
        raise connection_error(error, where) from error


def connection_error(error: psycopg.OperationalError, where: str) -> Unreachable | TerminalError:
    """The error to raise when a database does not take or keep a connection."""
    text = primary_message(error)
    if "authentication failed" in text or "does not exist" in text or "permission denied" in text:
        return TerminalError(text, where=where, todo="correct the login or the database of the connection")
    return Unreachable(
        text, where=where, todo="see whether the database is up; the same run can be tried again"
    )


def primary_message(error: psycopg.Error) -> str:
    """The server's message without its detail, which repeats the row's values."""
    return " ".join((error.diag.message_primary or str(error)).split())


@contextmanager
def only_writer(session: Session, sync: str) -> Iterator[None]:
    """Hold the sync for this session. The lock goes with the session, however that ends.

    :raises LeaseHeld: another session delivers this sync.
    """
    try:
        with session.transaction():
            # Long enough for a plan, which takes the lock for a moment, and no longer.
            session.execute("set local lock_timeout = '2s'")
            session.execute("select pg_advisory_lock(hashtextextended('millrace.sync.' || %s, 0))", (sync,))
    except pg.LockNotAvailable as error:
        raise LeaseHeld(
            "another run delivers this sync",
            where=f"sync {sync!r}",
            todo="wait for it to end; this run can be tried again then",
        ) from error
    try:
        yield
    finally:
        unlock(session, sync)


def try_lock(session: Session, sync: str) -> bool:
    """Take the lock of a sync, when it is free."""
    row = session.execute(
        "select pg_try_advisory_lock(hashtextextended('millrace.sync.' || %s, 0))", (sync,)
    ).fetchone()
    assert row is not None
    return bool(row[0])


def unlock(session: Session, sync: str) -> None:
    """Let the lock of a sync go; a closed session has let it go already."""
    if not session.closed:
        session.execute("select pg_advisory_unlock(hashtextextended('millrace.sync.' || %s, 0))", (sync,))
