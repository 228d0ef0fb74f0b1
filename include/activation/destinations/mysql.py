"""A table in MariaDB or MySQL, written by upsert.

A batch is one transaction: `delete` of what has left the model, then one `insert … on duplicate key update` of all the
rest. That needs no right but SELECT, INSERT and UPDATE on the mapped columns (and DELETE where records leave).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pymysql
from pymysql.err import MySQLError

from include.activation.destinations import mysql_table as tables
from include.activation.records import DELIVERED, Difference, Outcome, Record
from include.core.connection import Connection
from include.core.contracts.destinations import MysqlDestination
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, TerminalError, Unreachable
from include.core.mysql import escaped, login, quoted

# People work in this database: whoever waits for one of their locks must not wait for ever.
_SETTINGS = (
    "set session sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO',"
    " time_zone = '+00:00', innodb_lock_wait_timeout = 30, lock_wait_timeout = 30, sql_safe_updates = 0"
)
_ANSWER_SECONDS = 120
# What the data of a record can break: values and ranges (12xx, 13xx, 14xx), keys and references, checks (3819, 4025),
# a view's check (1369), an exception of a trigger (1644), JSON (3140), partitions (1526), and the key's own check (1690).
_ABOUT_A_RECORD = frozenset(
    {1048, 1062, 1169, 1216, 1217, 1263, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1369, 1406, 1411, 1441, 1451, 1452}
    | {1526, 1557, 1586, 1644, 1690, 1748, 3140, 3819, 4025, 4078}
)  # fmt: skip
# Rights and definitions: a person has to change something.
_TERMINAL = frozenset(
    {1044, 1045, 1049, 1054, 1064, 1136, 1142, 1143, 1146, 1227, 1305, 1356, 1370, 1471, 1698}
)
_OTHER_KEY = 1690
_COMPARED_AT_ONCE = 200


class MysqlTable:
    """Delivers to one table. Not for use by two threads at once."""

    concurrency = 1
    can_compare = True

    def __init__(self, contract: SyncContract, connection: Connection) -> None:
        target = contract.destination
        assert isinstance(target, MysqlDestination)
        self._target, self._names, self._connection = target, tuple(contract.mapping), connection
        self._where = (
            f"sync {contract.sync!r}, destination {target.table} by connection {connection.conn_id!r}"
        )
        self._deletes = contract.mode == "mirror"
        self._path = tables.split(target.table, connection.schema)
        self._table = quoted(*self._path)
        self._begin, self._end = tables.statement_to_write(self._table, target.key, self._names)
        self._session: tables.Session | None = None
        self._columns: tuple[tables.Column, ...] = ()
        self._largest = 0

    def check(self) -> None:
        """See that table, columns, unique key and rights are there.

        :raises TerminalError: one is not.
        :raises Unreachable: the server does not answer.
        """
        session = self._connected()
        try:
            columns, unique, safe = tables.columns_of(session, *self._path)
            self._columns = self._usable(columns, unique, safe)
            with session.cursor() as cursor:
                cursor.execute("select @@max_allowed_packet")
                self._largest = int(cursor.fetchall()[0][0])
                # Rights are judged before rows are: this asks for all of them, and writes nothing.
                nothing = f"select {', '.join(['null'] * len(self._names))} from dual where false"
                cursor.execute(self._begin.removesuffix("values ") + nothing + self._end)
                if self._deletes:
                    cursor.execute(f"delete from {self._table} where false")
        except MySQLError as error:
            raise self._raised(error) from error

    def send(self, batch: Sequence[Record]) -> list[Outcome]:
        """Deliver the batch. A record that the database refuses is found by halving; the others get in.

        :raises TerminalError: the database refuses the statement as such.
        """
        # What leaves makes room for what comes: a value may be unique.
        order = sorted(range(len(batch)), key=lambda number: batch[number].action != "delete")
        try:
            if not self._columns:
                self.check()
            outcomes = self._deliver([batch[number] for number in order])
        except Unreachable as error:
            return [Outcome("retryable", error.what)] * len(batch)
        given = dict(zip(order, outcomes, strict=True))
        return [given[number] for number in range(len(batch))]

    def compare(self, batch: Sequence[Record]) -> list[Difference]:
        """How the table's rows differ from these records, each value as its column would hold it.

        :raises Unreachable: the server does not answer.
        :raises TerminalError: it refuses to be read.
        """
        session = self._connected()
        if not self._columns:
            self.check()
        key = next(column for column in self._columns if column.name == self._target.key)
        convert = tables.converters(self._columns)
        found: list[Difference] = []
        for begin in range(0, len(batch), _COMPARED_AT_ONCE):
            records = batch[begin : begin + _COMPARED_AT_ONCE]
            values: list[Any] = []
            for record in records:
                row = tables.values_of(record.body, self._names, convert)
                values += [row[self._names.index(key.name)], *row]
            query = tables.statement_to_compare(self._table, key, self._columns, len(records))
            try:
                with session.cursor() as cursor:
                    cursor.execute(query, values)
                    rows = cursor.fetchall()
            except MySQLError as error:
                raise self._raised(error) from error
            assert len(rows) == len(records), "the key is unique, so each record is met once"
            found += [self._difference(row) for row in rows]
        return found

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.open:
            try:
                session.close()
            except (MySQLError, OSError):
                session._force_close()  # type: ignore[attr-defined]

    def _connected(self) -> tables.Session:
        if self._session is None or not self._session.open:
            try:
                self._session = pymysql.connect(
                    **login(self._connection),
                    autocommit=True,
                    read_timeout=_ANSWER_SECONDS,
                    write_timeout=_ANSWER_SECONDS,
                    init_command=_SETTINGS,
                )
            except MySQLError as error:
                raise self._raised(error) from error
        return self._session

    def _deliver(self, batch: Sequence[Record]) -> list[Outcome]:
        try:
            if self._write(batch):
                return [DELIVERED] * len(batch)
            reason = "larger than the server's max_allowed_packet"
        except MySQLError as error:
            if _number(error) not in _ABOUT_A_RECORD:
                failed = self._raised(error)
                if isinstance(failed, Unreachable):
                    return [Outcome("retryable", failed.what)] * len(batch)
                raise failed from error
            reason = self._reason(error)
        if len(batch) == 1:
            return [Outcome("rejected", reason)]
        middle = len(batch) // 2
        return [*self._half(batch[:middle]), *self._half(batch[middle:])]

    def _half(self, half: Sequence[Record]) -> list[Outcome]:
        """Outcomes of one half, also when no new session can be had: those of the other half must be kept."""
        try:
            return self._deliver(half)
        except Unreachable as error:
            return [Outcome("retryable", error.what)] * len(half)

    def _write(self, batch: Sequence[Record]) -> bool:
        """Write the batch in one transaction. False, and nothing written, when it is too large for the server."""
        session, convert = self._connected(), tables.converters(self._columns)
        at = self._names.index(self._target.key)
        key = self._columns[at]
        leaving = [
            tables.values_of(record.body, [key.name], [convert[at]])[0]
            for record in batch
            if record.action == "delete"
        ]
        rows = [
            tables.values_of(record.body, self._names, convert)
            for record in batch
            if record.action != "delete"
        ]
        with session.cursor() as cursor:
            statements = []
            if leaving:
                places = ", ".join([key.cast_as_key] * len(leaving))
                delete = f"delete from {escaped(self._table)} where {escaped(quoted(key.name))} in ({places})"
                statements.append(cursor.mogrify(delete, leaving))
            if rows:
                places = ", ".join(["(" + ", ".join(["%s"] * len(self._names)) + ")"] * len(rows))
                # Only the rows are filled in: a name may hold a per cent sign.
                filled = cursor.mogrify(places, [value for row in rows for value in row])
                statements.append(self._begin + filled + self._end)
            if any(len(statement.encode()) > self._largest - 1024 for statement in statements):
                return False
            try:
                if len(statements) > 1:
                    session.begin()
                for statement in statements:
                    cursor.execute(statement)
                session.commit()
            except MySQLError as error:
                if _number(error) in _ABOUT_A_RECORD:
                    session.rollback()
                else:
                    self.close()
                raise
        return True

    def _difference(self, row: Sequence[Any]) -> Difference:
        missing, same = bool(row[1]), row[2:]
        if missing:
            return Difference(missing=True)
        return Difference(tuple(name for name, equal in zip(self._names, same, strict=True) if not equal))

    def _usable(
        self, columns: dict[str, tables.Column], unique: set[str], safe: bool
    ) -> tuple[tables.Column, ...]:
        missing = [name for name in self._names if name not in columns]
        if missing:
            raise ContractError(
                "mapping names columns that the destination's table does not have, or not for this login",
                where=self._where,
                received=", ".join(missing),
                allowed=", ".join(columns) or "nothing: there is no such table, or the login sees none of it",
                todo="correct destination.table or the mapping, or grant select, insert and update on it",
            )
        if self._target.key not in unique:
            raise ContractError(
                "the destination's key is not unique there, so that nothing could be upserted on it",
                where=self._where,
                received=self._target.key,
                allowed=", ".join(sorted(unique)) or "no column of this table is unique by itself",
                todo="correct destination.key, or have a unique index made on it",
            )
        if not safe:
            raise TerminalError(
                "the table's engine has no transactions, so that half a batch could be written",
                where=self._where,
                todo=f"alter table {self._table} engine = InnoDB",
            )
        computed = [name for name in self._names if columns[name].generated]
        if computed:
            raise ContractError(
                "mapping names columns that the destination computes",
                where=self._where,
                received=", ".join(computed),
                todo="take them out of the mapping",
            )
        return tuple(columns[name] for name in self._names)

    def _raised(self, error: MySQLError) -> TerminalError | Unreachable:
        """The error to raise when a statement or the connection fails for no record's sake; the session is given up."""
        self.close()
        text = _message(error)
        if _number(error) in _TERMINAL:
            rights = f"grant select, insert, update on {self._table} to its login"
            return TerminalError(
                text,
                where=self._where,
                todo=f"correct the connection, or the login's rights there: {rights}",
            )
        return Unreachable(
            text, where=self._where, todo="see whether the database is up; the same run can be tried again"
        )

    def _reason(self, error: MySQLError) -> str:
        """Message and number, without the values that MySQL repeats in its messages."""
        if _number(error) == _OTHER_KEY and "exp(1000" in _message(error):
            return (
                "another row has a value that must be unique, or a key that the database takes for this one"
                f" [{_OTHER_KEY}]"
            )
        text = _VALUES.sub(r"\1…\2", _message(error))
        return f"{text} [{_number(error)}]"


# Incorrect integer value: 'x' for column …; Duplicate entry 'x' for key …
_VALUES = re.compile(r"((?:value: |[Ee]ntry |value |string ))'.*'( for |$)", re.DOTALL)


def _number(error: MySQLError) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _message(error: MySQLError) -> str:
    return " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
