"""A table in Postgres, written by upsert, and in mode mirror by deletes.

A batch is one statement, and so one transaction: the records go as one JSON document and become typed at the
destination, with the declared types of its columns. Compared with COPY into a temporary table this is as
fast, and needs no right on the table but SELECT and what the mode does: INSERT, UPDATE, DELETE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

from include.activation.destinations.postgres_statements import Column, Statements, Table
from include.activation.records import DELIVERED, Difference, Outcome, Record
from include.activation.session import connection_error, primary_message
from include.core.connection import Connection
from include.core.contracts.destinations import PostgresDestination
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, TerminalError, Unreachable

# People work in this database: whoever waits for one of their locks must not wait for ever.
_SETTINGS = {"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "iso_8601", "lock_timeout": "30s"}
# What the data of a record can break: types and ranges, constraints, views with a check, and exceptions of
# triggers.
_ABOUT_A_RECORD = (pg.DataError, pg.IntegrityError, pg.WithCheckOptionViolation, pg.RaiseException)
# What passes by itself: conflicts with other sessions, timeouts, a server that restarts, is full or went
# away.
_PASSES = (psycopg.OperationalError, psycopg.InterfaceError)
#: In mode update, which creates nothing.
_NOT_THERE = Outcome("rejected", "not there")


class PostgresTable:
    """Delivers to one table. Not for use by two threads at once."""

    concurrency = 1
    can_compare = True

    def __init__(self, contract: SyncContract, connection: Connection) -> None:
        target = contract.destination
        assert isinstance(target, PostgresDestination)
        self._target, self._fields, self._connection = target, tuple(contract.mapping), connection
        self._others = tuple(name for name in self._fields if name != target.key)
        self._mode = contract.mode
        self._where = (
            f"sync {contract.sync!r}, destination {target.table} by connection {connection.conn_id!r}"
        )
        self._session: psycopg.Connection[Any] | None = None
        self._statements: Statements | None = None

    def check(self) -> None:
        """See that table, columns, unique key and rights are there.

        :raises TerminalError: one is not.
        :raises Unreachable: the database does not answer.
        """
        session = self._connected()
        try:
            self._statements = self._checked(session)
        except _PASSES as error:
            self.close()
            raise Unreachable(primary_message(error), where=self._where) from error

    def send(self, batch: Sequence[Record]) -> list[Outcome]:
        """Write or delete the batch. A record that the database refuses is found by halving; the others get through.

        :raises TerminalError: the database refuses the statement as such.
        """
        try:
            if self._statements is None:
                self.check()
            return self._deliver(self._connected(), batch)
        except Unreachable as error:
            return [Outcome("retryable", error.what)] * len(batch)
        except _PASSES as error:
            # What was under way has an unknown fate; the session may be half dead.
            self.close()
            return [Outcome("retryable", primary_message(error))] * len(batch)

    def compare(self, batch: Sequence[Record]) -> list[Difference]:
        """How the table's rows differ from these records, each value as its column would hold it.

        :raises Unreachable: the database does not answer.
        :raises TerminalError: it refuses to be read.
        """
        if self._statements is None:
            self.check()
        assert self._statements is not None
        try:
            rows = self._connected().execute(
                self._statements.compare, ["[" + ",".join(record.body for record in batch) + "]"]
            )
            return [self._difference(*row) for row in rows]
        except pg.DataError:
            # A column has another type by now: what it can no longer hold differs.
            if len(batch) == 1:
                return [Difference(self._others)]
            middle = len(batch) // 2
            return [*self.compare(batch[:middle]), *self.compare(batch[middle:])]
        except _PASSES as error:
            self.close()
            raise Unreachable(primary_message(error), where=self._where) from error
        except psycopg.Error as error:
            raise TerminalError(_reason(error), where=self._where, todo="see its rights") from error

    def _difference(self, missing: bool, differs: Sequence[bool]) -> Difference:
        if missing:
            return Difference(missing=True)
        return Difference(tuple(name for name, other in zip(self._others, differs, strict=True) if other))

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._session is None or self._session.closed:
            try:
                self._session = psycopg.connect(self._connection.postgres_uri(**_SETTINGS), autocommit=True)
            except psycopg.OperationalError as error:
                raise connection_error(error, self._where) from error
        return self._session

    def _deliver(self, session: psycopg.Connection[Any], batch: Sequence[Record]) -> list[Outcome]:
        assert self._statements is not None
        statement = self._statements.delete if batch[0].action == "delete" else self._statements.write
        try:
            answer = session.execute(statement, ["[" + ",".join(record.body for record in batch) + "]"])
            absent = {row[0] for row in answer.fetchall()} if answer.description else ()
            return [_NOT_THERE if number in absent else DELIVERED for number in range(1, len(batch) + 1)]
        except _ABOUT_A_RECORD as error:
            if len(batch) == 1:
                return [Outcome("rejected", _reason(error))]
            middle = len(batch) // 2
            return [*self._half(session, batch[:middle]), *self._half(session, batch[middle:])]
        except _PASSES:
            raise
        except pg.CardinalityViolation as error:
            raise TerminalError(
                "two records of the model have the same key at the destination",
                where=self._where,
                received=primary_message(error),
                allowed=f"one record for each value of {self._target.key!r}, as the destination compares",
                todo="correct the model's key, for example its letter case or leading zeros",
            ) from error
        except psycopg.Error as error:
            raise TerminalError(
                "the destination refuses the statement",
                where=self._where,
                received=_reason(error),
                todo="see its rights",
            ) from error

    def _half(self, session: psycopg.Connection[Any], half: Sequence[Record]) -> list[Outcome]:
        """Outcomes of one half, also when the session breaks: those of the other half must be kept."""
        try:
            return self._deliver(session, half)
        except _PASSES as error:
            return [Outcome("retryable", primary_message(error))] * len(half)

    def _checked(self, session: psycopg.Connection[Any]) -> Statements:
        """The statements of the mode, made for the table as the catalog describes it."""
        columns = self._columns(session)
        table = Table(self._table(), self._target.key, self._fields, columns)
        return Statements(table.write(self._mode), table.delete(), table.compare())

    def _columns(self, session: psycopg.Connection[Any]) -> dict[str, Column]:
        table = self._table().as_string(session)
        with session.transaction():
            # Type names come with their schema then, whatever the login's own path.
            session.execute("set local search_path = pg_catalog")
            rows = session.execute(_COLUMNS, {"table": table}).fetchall()
            unique = session.execute(_UNIQUE, {"table": table}).fetchall()
        columns = {row[0]: Column(*row[1:]) for row in rows}
        missing = [name for name in self._fields if name not in columns]
        if missing:
            raise ContractError(
                "mapping names columns that the destination's table does not have",
                where=self._where,
                received=", ".join(missing),
                allowed=", ".join(columns) or "nothing: there is no such table",
                todo="correct destination.table or the mapping",
            )
        if (self._target.key,) not in unique:
            raise ContractError(
                "the destination's key is not unique there, so that nothing could be upserted on it",
                where=self._where,
                received=self._target.key,
                allowed=", ".join(name for (name,) in unique)
                or "no column of this table is unique by itself",
                todo="correct destination.key, or have a unique constraint made on it",
            )
        rights = [right for right in ("insert", "update") if self._mode in (right, "upsert", "mirror")]
        locked = [name for name in self._fields if not self._may_write(name, columns[name], rights)]
        may_delete = session.execute(
            "select has_table_privilege(to_regclass(%s)::oid, 'delete')", (table,)
        ).fetchone()
        if self._mode == "mirror":
            rights.append("delete")
            if may_delete != (True,):
                locked.append("whole rows (delete)")
        if locked:
            raise TerminalError(
                "the destination's login may not write mapped columns",
                where=self._where,
                received=", ".join(locked),
                allowed=f"columns with the rights of mode {self._mode}: select, {', '.join(rights)}",
                todo=f"grant select, {', '.join(rights)} on {self._target.table} to {self._connection.login}"
                " there, or take the columns out of the mapping",
            )
        return columns

    def _may_write(self, name: str, column: Column, rights: list[str]) -> bool:
        # An update leaves the key as it is.
        return ("insert" not in rights or column.insertable) and (
            "update" not in rights or column.updatable or name == self._target.key
        )

    def _table(self) -> sql.Identifier:
        schema, _, table = self._target.table.partition(".")
        return sql.Identifier(schema, table) if table else sql.Identifier(schema)


def _reason(error: psycopg.Error) -> str:
    """Message, code and the constraint or column. Not the detail, which repeats all values of the row."""
    named = error.diag.constraint_name or error.diag.column_name
    return f"{primary_message(error)} [{error.sqlstate}{f', {named}' if named else ''}]"


_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, null),
    a.attgenerated = '' and a.attidentity <> 'a'
        and has_column_privilege(c.oid, a.attnum, 'select')
        and has_column_privilege(c.oid, a.attnum, 'insert'),
    a.attgenerated = '' and a.attidentity <> 'a' and has_column_privilege(c.oid, a.attnum, 'update')
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.oid = to_regclass(%(table)s) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""

_UNIQUE = """
select a.attname
from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where i.indrelid = to_regclass(%(table)s) and i.indisunique and i.indisvalid and i.indimmediate
    and i.indnkeyatts = 1 and i.indpred is null and i.indexprs is null
"""
