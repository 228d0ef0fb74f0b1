"""Connecting to the warehouse as one of its roles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from include.core.connection import Connection
from include.core.errors import TerminalError, TransientError, Unreachable

_TEXT = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


@contextmanager
def connected(connection: Connection) -> Iterator[psycopg.Connection[Any]]:
    """A session of the warehouse in UTC, to which a value has the same text everywhere. A statement commits by itself;
    several do so in `session.transaction()`.

    :raises Unreachable: the warehouse does not answer or broke off; nothing of the open transaction was kept.
    :raises TerminalError: it refuses the login or lacks the database.
    """
    where = f"warehouse, connection {connection.conn_id!r}"
    try:
        session = psycopg.connect(connection.postgres_uri(**_TEXT), autocommit=True)
    except psycopg.OperationalError as error:
        text = " ".join(str(error).split())
        if "authentication failed" in text or "does not exist" in text:
            raise TerminalError(
                text,
                where=where,
                todo="correct the connection, or create roles with: millrace warehouse init",
            ) from error
        raise Unreachable(
            text, where=where, todo="see whether the warehouse is up: millrace status"
        ) from error
    try:
        with session:
            yield session
    except psycopg.errors.LockNotAvailable as error:
        raise TransientError(
            "somebody's open transaction does not let go of what has to change",
            where=where,
            received=error.diag.message_primary,
            todo="it is tried again; find the transaction in pg_stat_activity (state: idle in transaction)",
        ) from error
    except psycopg.OperationalError as error:
        raise Unreachable(" ".join(str(error).split()), where=where) from error
    except psycopg.Error as error:
        # Without the server's detail, which may hold values of a row.
        raise TerminalError(
            error.diag.message_primary or type(error).__name__,
            where=where,
            received=f"SQLSTATE {error.sqlstate}",
            todo="compare the contract with what the warehouse has",
        ) from None
