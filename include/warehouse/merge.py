"""Merging a staging batch into its raw table. Every statement here runs inside the transaction that publishes the load.

Rows are compared as images (the function behind `*<>`): bytes, not equality, so that 1.0 and 1.00, or two spellings of the
same JSON, count as a change, and types that have no equality at all can be compared
(https://www.postgresql.org/docs/current/functions-comparisons.html#COMPOSITE-TYPE-COMPARISON).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from include.core.errors import BreakerTripped, SchemaChanged, TerminalError
from include.core.schema import StreamSchema
from include.warehouse.staging import SCHEMA

#: What raw adds to the source's columns.
ADDED = {"_load_id": "bigint not null", "_loaded_at": "timestamptz not null", "_deleted_at": "timestamptz"}
#: Fewer deletions than this never trip the breaker: a share of a small table says nothing.
FEW = 10
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

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def where(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Merged:
    """Rows of the batch that were new, changed, already there or second of their key; and rows gone from the source."""

    inserted: int
    updated: int
    unchanged: int
    duplicates: int
    deleted: int


def prepare(session: psycopg.Connection[Any], target: Target) -> None:
    """Create the raw table, or add the columns that it lacks.

    :raises SchemaChanged: raw has another primary key than the batch, or a column of another type.
    """
    clash = [name for name in target.shape.names if name in ADDED]
    if clash:
        raise TerminalError(
            "column names that raw needs for itself",
            where=target.where,
            received=clash,
            allowed=f"any names but {list(ADDED)}",
            todo="set `ignore: true` for the column, or read a view that renames it",
        )
    session.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(target.schema)))
    columns = [(column.name, column.raw_type) for column in target.shape.columns] + list(ADDED.items())
    body = [_definition(name, kind) for name, kind in columns]
    if target.shape.primary_key:
        body.append(sql.SQL("primary key ({})").format(_list(target.shape.primary_key)))
    session.execute(
        sql.SQL("create table if not exists {} ({})").format(target.name, sql.SQL(", ").join(body))
    )
    found = dict(
        session.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (target.name.as_string(None),),
        ).fetchall()
    )
    for column in target.shape.columns:
        if column.name not in found:
            session.execute(
                sql.SQL("alter table {} add column {}").format(
                    target.name, _definition(column.name, column.raw_type)
                )
            )
        elif found[column.name] != column.raw_type:
            raise SchemaChanged(
                f"column {column.name!r} has another type in raw",
                where=target.where,
                received=column.raw_type,
                allowed=found[column.name],
                todo=_START_ANEW,
            )
    _check_key(session, target)


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


def merge(
    session: psycopg.Connection[Any],
    target: Target,
    load_id: int,
    rows: str,
    complete: bool,
    keys: str | None,
) -> Merged:
    """Bring a staging batch into raw.

    :param rows: the batch's table. :param complete: the batch is the whole table.
    :param keys: table with all primary keys of the source, where deletes are found by keys.
    :raises BreakerTripped: more rows would be deleted than the contract allows.
    """
    batch = sql.Identifier(SCHEMA, rows)
    staged = _count(session, sql.SQL("select count(*) from {}").format(batch))
    if not target.shape.primary_key:
        return _replace(session, target, load_id, batch, staged)
    inserted, updated, taken = _upsert(session, target, load_id, batch)
    deleted = 0
    if target.sees_deletes and (complete or keys):
        deleted = _delete(session, target, load_id, sql.Identifier(SCHEMA, keys) if keys else batch)
    return Merged(inserted, updated, taken - inserted - updated, staged - taken, deleted)


def _upsert(
    session: psycopg.Connection[Any], target: Target, load_id: int, batch: sql.Identifier
) -> tuple[int, int, int]:
    names, key = target.shape.names, target.shape.primary_key
    # Without declared duplicates each row is taken as it is: the audit has seen that no key comes twice.
    pick = sql.SQL("select {} from {}").format(_list(names), batch)
    if target.may_repeat_keys:
        newest = (
            [sql.SQL("{} desc nulls last").format(sql.Identifier(target.cursor))] if target.cursor else []
        )
        # At last by all that the row says, so that a second try picks the same one.
        order = [_list(key), *newest, sql.SQL('(b.*)::text collate "C" desc')]
        pick = sql.SQL("select distinct on ({}) {} from {} as b order by {}").format(
            _list(key), _list(names), batch, sql.SQL(", ").join(order)
        )
    changes = [name for name in (*names, *ADDED) if name not in key]
    statement = sql.SQL(
        "with batch as ({pick}), merged as ("
        " insert into {raw} as r ({names}, _load_id, _loaded_at)"
        " select {names}, {load}, now() from batch"
        " on conflict ({key}) do update set {set}"
        " where r._load_id <= excluded._load_id"
        " and (r._deleted_at is not null or record_image_ne(row({ours}), row({theirs})))"
        " returning (xmax = 0) as inserted)"
        " select count(*) filter (where inserted), count(*) filter (where not inserted), (select count(*) from batch)"
        " from merged"
    ).format(
        pick=pick,
        raw=target.name,
        names=_list(names),
        key=_list(key),
        # no parameter: a column may be called %(a)s
        load=sql.Literal(load_id),
        set=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changes
        ),
        ours=_list(names, "r"),
        theirs=_list(names, "excluded"),
    )
    row = session.execute(statement).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _delete(session: psycopg.Connection[Any], target: Target, load_id: int, present: sql.Identifier) -> int:
    same = sql.SQL(" and ").join(
        sql.SQL("p.{0} = r.{0}").format(sql.Identifier(name)) for name in target.shape.primary_key
    )
    gone = sql.SQL(
        "r._deleted_at is null and r._load_id <= {} and not exists (select from {} as p where {})"
    ).format(sql.Literal(load_id), present, same)
    live = _count(session, sql.SQL("select count(*) from {} where _deleted_at is null").format(target.name))
    going = _count(session, sql.SQL("select count(*) from {} as r where {}").format(target.name, gone))
    _breaker(target, going, live)
    if not going:
        return 0
    if target.tombstones:
        session.execute(
            sql.SQL(
                "update {} as r set _deleted_at = now(), _loaded_at = now(), _load_id = {} where {}"
            ).format(target.name, sql.Literal(load_id), gone)
        )
    else:
        session.execute(sql.SQL("delete from {} as r where {}").format(target.name, gone))
    return going


def _replace(
    session: psycopg.Connection[Any], target: Target, load_id: int, batch: sql.Identifier, staged: int
) -> Merged:
    """A table without a key: its rows cannot be told apart, so the whole content changes hands."""
    live = _count(session, sql.SQL("select count(*) from {}").format(target.name))
    _breaker(target, live - staged, live)
    session.execute(sql.SQL("delete from {}").format(target.name))
    session.execute(
        sql.SQL("insert into {} ({}, _load_id, _loaded_at) select {}, {}, now() from {}").format(
            target.name, _list(target.shape.names), _list(target.shape.names), sql.Literal(load_id), batch
        )
    )
    return Merged(inserted=staged, updated=0, unchanged=0, duplicates=0, deleted=live)


def _breaker(target: Target, going: int, live: int) -> None:
    if going > FEW and going > target.max_delete_share * live:
        raise BreakerTripped(
            "more rows would be deleted than the contract allows; raw was left as it is",
            where=target.where,
            received=f"{going} of {live} rows ({going / live:.0%})",
            allowed=f"max_delete_share: {target.max_delete_share:.0%}",
            todo="ask the source's owner; if it is right, raise max_delete_share for one run",
        )


def _definition(name: str, kind: str) -> sql.Composable:
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))


def _list(names: tuple[str, ...], table: str | None = None) -> sql.Composable:
    path = (table,) if table else ()
    return sql.SQL(", ").join(sql.Identifier(*path, name) for name in names)


def _count(session: psycopg.Connection[Any], query: sql.Composed) -> int:
    row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])
