"""A table of MariaDB or MySQL as a destination sees it: its columns, and how a value of a record becomes one of theirs.

Values go as text and as numbers with all their digits; the server makes its own types of them, in strict mode. What it
does not read as the warehouse writes it is written as it does: moments in UTC without a zone, bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import pymysql

from include.activation.destinations.json_text import members
from include.core.errors import ContractError
from include.core.mysql import escaped, quoted

Session: TypeAlias = "pymysql.connections.Connection[Any]"

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)(?:\+00:00)?")
_WHOLE = ("tinyint", "smallint", "mediumint", "int", "bigint")
_TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")


@dataclass(frozen=True)
class Column:
    """One column: `kind` is its type's bare name, `declared` the type as the server would write it."""

    name: str
    kind: str
    declared: str
    charset: str | None
    collation: str | None
    fraction: int | None
    generated: bool

    @property
    def cast(self) -> str:
        """An expression that makes of a value, at `%s`, what this column would hold of it."""
        if self.kind in _WHOLE:
            return "cast(%s as decimal(20, 0))"
        if self.kind == "decimal":
            return f"cast(%s as {self.declared.partition(' ')[0]})"
        if self.kind in ("float", "double"):
            return f"cast(%s as {self.kind})"
        if self.kind in ("datetime", "timestamp"):
            return f"cast(%s as datetime({self.fraction or 0}))"
        if self.kind == "time":
            return f"cast(%s as time({self.fraction or 0}))"
        if self.kind in ("date", "json"):
            return f"cast(%s as {self.kind})"
        if self.kind == "binary":
            return f"cast(%s as {self.declared})"
        if self.kind in _TEXT:
            text = f"convert(%s using {self.charset}) collate {self.collation}"
            return f"trim(trailing ' ' from {text})" if self.kind == "char" else text
        return "%s"

    @property
    def cast_as_key(self) -> str:
        """The same for a key: of the column's own type, so that its index is used."""
        if self.kind in _WHOLE:
            return f"cast(%s as {'unsigned' if 'unsigned' in self.declared else 'signed'})"
        return self.cast

    def same(self, ours: str, theirs: str) -> str:
        """Whether two expressions hold the same: of text every letter, whatever the collation takes for equal."""
        if self.kind in _TEXT:
            return f"cast({ours} as binary) <=> cast({theirs} as binary)"
        return f"{ours} <=> {theirs}"


def columns_of(session: Session, schema: str, table: str) -> tuple[dict[str, Column], set[str], bool]:
    """The columns that the login may see, those that are unique by themselves, and whether the table has transactions."""
    with session.cursor() as cursor:
        cursor.execute(_COLUMNS, (schema, table))
        columns = {str(row[0]): Column(*row) for row in cursor.fetchall()}
        cursor.execute(_UNIQUE, (schema, table))
        unique = {row[0] for row in cursor.fetchall()}
        cursor.execute(_ENGINE, (schema, table))
        engine = cursor.fetchone()
    return columns, unique, engine is None or engine[0] == "YES"


def split(table: str, default: str) -> tuple[str, str]:
    """Database and table of `database.table`.

    :raises ContractError: neither the name nor the connection says which database.
    """
    schema, _, name = table.rpartition(".")
    if not (schema or default):
        raise ContractError("does not name a database", received=table, allowed="database.table")
    return schema or default, name


def converters(columns: Sequence[Column]) -> list[Callable[[Any], Any]]:
    """For each column what makes of a JSON value one that the driver sends."""
    return [_bytes if c.kind in _BYTES else _moment if _holds_moments(c) else _plain(c) for c in columns]


def values_of(body: str, names: Sequence[str], convert: Sequence[Callable[[Any], Any]]) -> list[Any]:
    """The values of a record, in the order of the columns. Nested JSON stays the text that it is."""
    record = orjson.loads(body)
    if any(type(value) in (dict, list) for value in record.values()):
        record |= {name: text for name, text in members(body) if text[0] in "{["}
    return [change(record.get(name)) for name, change in zip(names, convert, strict=True)]


def _holds_moments(column: Column) -> bool:
    return column.kind in ("datetime", "timestamp")


def _plain(column: Column) -> Callable[[Any], Any]:
    words = column.kind in _TEXT

    def change(value: Any) -> Any:
        if value is True or value is False:
            return ("true" if value else "false") if words else int(value)
        return value

    return change


def _moment(value: Any) -> Any:
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]} {found[2]}" if found else value


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return bytes.fromhex(value[2:]) if value.startswith("\\x") else value.encode()
    except ValueError:
        return value.encode()


def statement_to_write(table: str, key: str, names: Sequence[str]) -> tuple[str, str]:
    """Begin and end of an upsert; the rows stand between them.

    `on duplicate key` means any unique key: a record with somebody else's e-mail address would overwrite that row. So the
    row that is met must have the record's key, to the letter; where it has not, the second operand of `or` fails.
    """
    at = quoted(key)
    mine = f"cast({at} as binary) <=> cast(values({at}) as binary)"
    checked = f"{mine} or exp(1000 + length(values({at}))) > 0"
    others = [quoted(name) for name in names if name != key]
    changes = [f"{name} = values({name})" for name in others] or [f"{at} = {at}"]
    first = others[0] if others else at
    changes[0] = f"{first} = if({checked}, values({first}), {first})"
    listed = ", ".join(map(quoted, names))
    return f"insert into {table} ({listed}) values ", f" on duplicate key update {', '.join(changes)}"


def statement_to_compare(table: str, key: Column, columns: Sequence[Column], rows: int) -> str:
    """Selects for each of so many records its number, whether it is not there, and of each column whether it is the same.

    Takes the values of `key` and `columns` for each record in turn.
    """
    sent = [f"{key.cast_as_key} as k", *(f"{column.cast} as c{i}" for i, column in enumerate(columns))]
    records = " union all ".join(f"select {n} as n, {', '.join(sent)}" for n in range(rows))
    same = [column.same(f"t.{escaped(quoted(column.name))}", f"r.c{i}") for i, column in enumerate(columns)]
    at, table = escaped(quoted(key.name)), escaped(table)
    tests = ", ".join(["r.n", f"t.{at} is null", *same])
    return f"select {tests} from ({records}) r left join {table} t on t.{at} = r.k order by r.n"


_COLUMNS = """
select column_name, data_type, column_type, character_set_name, collation_name, datetime_precision,
    extra like '%%GENERATED%%' and extra not like '%%DEFAULT_GENERATED%%'
from information_schema.columns where (table_schema, table_name) = (%s, %s) order by ordinal_position
"""

# A column alone, whole and not a prefix of it.
_UNIQUE = """
select max(column_name) from information_schema.statistics where (table_schema, table_name) = (%s, %s) and non_unique = 0
group by index_name having count(*) = 1 and max(sub_part) is null
"""

_ENGINE = """
select e.transactions from information_schema.tables t join information_schema.engines e on e.engine = t.engine
where (t.table_schema, t.table_name) = (%s, %s)
"""
