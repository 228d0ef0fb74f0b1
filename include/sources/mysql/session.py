"""Sessions with a MariaDB or MySQL server: how they log in, what they may cost, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeAlias

import pymysql
from pymysql.constants import ER

from include.core.connection import Connection
from include.core.contracts.source import Impact
from include.core.errors import (
    SourceForbidden,
    TerminalError,
    TransientError,
    TypeNotExact,
    Unreachable,
)
from include.core.mysql import login

Session: TypeAlias = "pymysql.connections.Connection[Any]"

#: Begins every statement that reads a stream: the commit horizon has not to wait for our own readers.
MARK = "select /* millrace */ "
_PATIENCE = timedelta(seconds=30)

# Text forms that do not depend on the server's settings: stamps in UTC, no backslash, date or padding modes of the
# server's own, no row limit.
_SETTINGS = {
    "sql_mode": "''",
    "time_zone": "'+00:00'",
    "sql_select_limit": "18446744073709551615",
    "sql_auto_is_null": "0",
}


def connect(connection: Connection, where: str, impact: Impact) -> Session:
    """A session that only reads: with the settings that make text exact, and within the contract's impact.

    :raises Unreachable: the server does not answer. :raises TerminalError: it refuses the login, or cannot encrypt although
        the connection's extra says it must.
    """
    with translated(where):
        session: Session = pymysql.connect(
            **login(connection),
            autocommit=True,
            # The server ends a statement in time. This is for a server that is gone without a word.
            read_timeout=_seconds(impact.statement_timeout + _PATIENCE),
        )
        try:
            _limit(session, impact)
        except BaseException:
            session.close()
            raise
    return session


def _limit(session: Session, impact: Impact) -> None:
    idle = _seconds(impact.idle_in_transaction_timeout)
    settings = _SETTINGS | {
        "lock_wait_timeout": str(_seconds(impact.lock_timeout)),
        "innodb_lock_wait_timeout": str(_seconds(impact.lock_timeout)),
        # The server waits for a reader who writes what it got elsewhere before it takes more.
        "net_write_timeout": str(idle),
        "wait_timeout": str(_seconds(impact.longest_snapshot)),
    }
    if is_mariadb(session):
        settings["max_statement_time"] = f"{impact.statement_timeout.total_seconds():.3f}"
        settings["idle_readonly_transaction_timeout"] = str(idle)
    else:
        settings["max_execution_time"] = str(int(impact.statement_timeout.total_seconds() * 1000))
    run(session, "set session " + ", ".join(f"{name} = {value}" for name, value in settings.items()))
    run(session, "set session transaction isolation level repeatable read, read only")


def _seconds(duration: timedelta) -> int:
    return max(1, int(duration.total_seconds()))


def is_mariadb(session: Session) -> bool:
    return "MariaDB" in one(session, "select version()")[0]


def run(session: Session, statement: str, parameters: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
    """All rows of a statement with a small result."""
    with session.cursor() as cursor:
        cursor.execute(statement, parameters)
        return tuple(cursor.fetchall())


def one(session: Session, statement: str, parameters: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
    """The only row of a statement."""
    rows = run(session, statement, parameters)
    assert len(rows) == 1
    return tuple(rows[0])


_LOGIN = (ER.ACCESS_DENIED_ERROR, ER.BAD_DB_ERROR, 1698)
_FORBIDDEN = (
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
)
# 1792: a statement that would write; 1356: a view whose tables are gone.
_BROKEN_CONTRACT = (ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.PARSE_ERROR, 1356, 1792)
# 1969: max_statement_time of MariaDB; 3024: max_execution_time of MySQL.
_TOO_LONG = (ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED, 1969, 3024)
_UNREADABLE = (1300, 1366)
_DEFINITION_CHANGED = 1412


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of the driver as ours: a missing right is for a person, anything else of the server's may pass.

    Numbers: https://mariadb.com/kb/en/mariadb-error-codes/
    """
    try:
        yield
    except (pymysql.err.MySQLError, OSError) as error:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
        if number in _LOGIN:
            raise TerminalError(
                text, where=where, todo="correct the connection's login or password"
            ) from error
        if number in _FORBIDDEN:
            raise SourceForbidden(
                text, where=where, todo="grant the role what is missing: docs/how-to/mariadb-mysql.md"
            ) from error
        if number in _BROKEN_CONTRACT:
            raise TerminalError(text, where=where, todo="compare the contract with the source") from error
        if number in _UNREADABLE:
            raise TypeNotExact(
                text,
                where=where,
                allowed="text that its character set can read",
                todo="correct the rows, or `ignore: true` for the column",
            ) from error
        if number in _TOO_LONG:
            raise TransientError(
                text,
                where=where,
                todo="raise the contract's impact timeouts, or read when the source is quiet",
            ) from error
        if number == _DEFINITION_CHANGED:
            raise TransientError(
                text, where=where, todo="nothing, when this is seldom: the next attempt reads the new table"
            ) from error
        raise Unreachable(
            text, where=where, todo="see whether the source is up and reachable from here"
        ) from error
