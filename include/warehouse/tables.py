"""The tables of raw: one for each stream, and its history where the contract asks for one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from include.core.contracts.stream import HISTORY
from include.core.errors import SchemaChanged, TerminalError
from include.core.schema import Column, StreamSchema
from include.core.widening import settle
from include.warehouse.protection import note_protection

log = logging.getLogger("millrace.ingest")

#: What raw adds to the source's columns.
ADDED = {"_load_id": "bigint not null", "_loaded_at": "timestamptz not null", "_deleted_at": "timestamptz"}
#: What a history adds to them. `_change` is insert, update or delete; a deleted row is kept as it was last.
_ADDED_TO_HISTORY = {
    "_change": "text not null",
    "_load_id": "bigint not null",
    "_loaded_at": "timestamptz not null",
}
_START_ANEW = "rename or drop the raw table, then load again from the beginning with the run's full_refresh"


@dataclass(frozen=True)
class Target:
    """Where a stream goes, and how its deletes are treated and rows whose key comes twice."""

    schema: str
    table: str
    shape: StreamSchema
    sees_deletes: bool
    tombstones: bool
    max_delete_share: float
    cursor: str | None = None
    may_repeat_keys: bool = False
    keeps_history: bool = False

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def history(self) -> sql.Identifier | None:
        """The table of every change, if there is one."""
        return sql.Identifier(self.schema, f"{self.table}{HISTORY}") if self.keeps_history else None

    @property
    def where(self) -> str:
        return f"{self.schema}.{self.table}"


def prepare(session: psycopg.Connection[Any], target: Target) -> None:
    """Create the raw table and its history, or add the columns that they lack and widen those that are too narrow.

    A history that begins later than its raw table begins with what raw holds then.

    :raises SchemaChanged: raw has another primary key than the batch, or a column of a type that does not fit.
    """
    added = {**ADDED, **(_ADDED_TO_HISTORY if target.keeps_history else {})}
    clash = [name for name in target.shape.names if name in added]
    if clash:
        raise TerminalError(
            "column names that raw needs for itself",
            where=target.where,
            received=clash,
            allowed=f"any names but {list(added)}",
            todo="set `ignore: true` for the column, or read a view that renames it",
        )
    session.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(target.schema)))
    _create_or_widen(session, target, target.name, ADDED, target.shape.primary_key)
    _check_key(session, target)
    note_protection(session, target.schema, target.table, target.shape)
    if target.history is not None:
        begins = session.execute(
            "select to_regclass(%s) is null", (target.history.as_string(None),)
        ).fetchone()
        _create_or_widen(session, target, target.history, _ADDED_TO_HISTORY, ())
        if begins == (True,):
            _begin_history(session, target, target.history)


def _begin_history(session: psycopg.Connection[Any], target: Target, history: sql.Identifier) -> None:
    statement = sql.SQL(
        "insert into {} ({names}, _change, _load_id, _loaded_at)"
        " select {names}, case when _deleted_at is null then 'insert' else 'delete' end, _load_id, _loaded_at from {}"
    )
    session.execute(statement.format(history, target.name, names=columns_list(target.shape.names)))
    key = columns_list(target.shape.primary_key)
    session.execute(sql.SQL("create index on {} ({}, _load_id)").format(history, key))


def _create_or_widen(
    session: psycopg.Connection[Any],
    target: Target,
    table: sql.Identifier,
    added: dict[str, str],
    primary_key: tuple[str, ...],
) -> None:
    columns = [(column.name, column.raw_type) for column in target.shape.columns] + list(added.items())
    body = [_definition(name, kind) for name, kind in columns]
    if primary_key:
        body.append(sql.SQL("primary key ({})").format(columns_list(primary_key)))
    session.execute(sql.SQL("create table if not exists {} ({})").format(table, sql.SQL(", ").join(body)))
    found = dict(
        session.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (table.as_string(None),),
        ).fetchall()
    )
    for column in target.shape.columns:
        if column.name not in found:
            session.execute(
                sql.SQL("alter table {} add column {}").format(
                    table, _definition(column.name, column.raw_type)
                )
            )
        else:
            _retype(session, target, table, column, found[column.name])


def _retype(
    session: psycopg.Connection[Any], target: Target, table: sql.Identifier, column: Column, held: str
) -> None:
    """Give a column the type that values of the batch need, where it can keep those that it has."""
    wanted = settle(held, column.raw_type)
    if wanted is None:
        raise SchemaChanged(
            f"column {column.name!r} has another type in raw",
            where=target.where,
            received=column.raw_type,
            allowed=f"{held}, or a type that holds all its values",
            todo=_START_ANEW,
        )
    if wanted == held:
        return
    try:
        row = session.execute(
            "select ledger.retype_column(to_regclass(%s), %s, %s)",
            (table.as_string(None), column.name, wanted),
        ).fetchone()
    except (
        psycopg.errors.DependentObjectsStillExist,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.DatatypeMismatch,
    ) as error:
        raise SchemaChanged(
            f"column {column.name!r} cannot get a wider type in raw, because of what reads it; nothing was published",
            where=target.where,
            received=f"{error.diag.message_primary}; {held} to become {wanted}",
            allowed="plain views, of owners that the warehouse's administrator is a member of",
            todo="drop what reads the column, clear the run, and make it again",
        ) from error
    assert row is not None
    log.warning(
        "%s: column %s is %s now, was %s; %s views stay", target.where, column.name, wanted, held, row[0]
    )


def _check_key(session: psycopg.Connection[Any], target: Target) -> None:
    # In whatever order: a merge finds the same rows by (a, b) as by (b, a).
    found = session.execute(
        "select attname from pg_index join pg_attribute on attrelid = indrelid and attnum = any(indkey)"
        " where indrelid = to_regclass(%s) and indisprimary order by array_position(indkey::int2[], attnum)",
        (target.name.as_string(None),),
    ).fetchall()
    key = [name for (name,) in found]
    if set(key) != set(target.shape.primary_key):
        raise SchemaChanged(
            "raw was made with another primary key than the contract has now",
            where=target.where,
            received=f"primary key ({', '.join(target.shape.primary_key)})",
            allowed=f"primary key ({', '.join(key)}), which is that of raw",
            todo=f"correct primary_key in the contract; or, if that is the stream's key now, {_START_ANEW}",
        )


def columns_list(names: tuple[str, ...], table: str | None = None) -> sql.Composable:
    """Names of columns as SQL lists them."""
    path = (table,) if table else ()
    return sql.SQL(", ").join(sql.Identifier(*path, name) for name in names)


def _definition(name: str, kind: str) -> sql.Composable:
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
