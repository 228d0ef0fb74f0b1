"""Merging a staging batch into its raw table. Every statement here runs inside the transaction that publishes the load.

Rows are compared as images (the function behind `*<>`): bytes, not equality, so that 1.0 and 1.00, or two spellings of the
same JSON, count as a change, and types that have no equality at all can be compared
(https://www.postgresql.org/docs/current/functions-comparisons.html#COMPOSITE-TYPE-COMPARISON).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from include.core.errors import BreakerTripped
from include.warehouse.staging import SCHEMA
from include.warehouse.tables import ADDED, Target, columns_list

#: Fewer deletions than this never trip the breaker: a share of a small table says nothing.
FEW = 10


@dataclass(frozen=True)
class Merged:
    """Rows of the batch that were new, changed, already there or second of their key; and rows gone from the source."""

    inserted: int
    updated: int
    unchanged: int
    duplicates: int
    deleted: int


def merge(
    session: psycopg.Connection[Any],
    target: Target,
    load_id: int,
    rows: str,
    complete: bool,
    keys: str | None,
    moment: datetime | None = None,
    gone: str | None = None,
) -> Merged:
    """Bring a staging batch into raw.

    :param rows: the batch's table. :param complete: the batch is the whole table.
    :param keys: table with all primary keys of the source, where deletes are found by keys.
    :param gone: table with the primary keys of rows that were deleted, where the source tells of them.
    :param moment: when its rows were loaded or deleted; now, unless a load of the past is merged again.
    :raises BreakerTripped: more rows would be deleted than the contract allows.
    """
    batch = sql.Identifier(SCHEMA, rows)
    staged = _count(session, sql.SQL("select count(*) from {}").format(batch))
    at = sql.SQL("now()") if moment is None else sql.Literal(moment)
    if not target.shape.primary_key:
        return _replace(session, target, load_id, batch, staged, at)
    inserted, updated, taken = _upsert(session, target, load_id, batch, at)
    deleted = 0
    if gone:
        deleted = _delete(session, target, load_id, sql.SQL("exists"), sql.Identifier(SCHEMA, gone), at)
    elif target.sees_deletes and (complete or keys):
        present = sql.Identifier(SCHEMA, keys) if keys else batch
        deleted = _delete(session, target, load_id, sql.SQL("not exists"), present, at)
    return Merged(inserted, updated, taken - inserted - updated, staged - taken, deleted)


def _upsert(
    session: psycopg.Connection[Any], target: Target, load_id: int, batch: sql.Identifier, at: sql.Composable
) -> tuple[int, int, int]:
    names, key = target.shape.names, target.shape.primary_key
    # Without declared duplicates each row is taken as it is: the audit has seen that no key comes twice.
    pick = sql.SQL("select {} from {}").format(columns_list(names), batch)
    if target.may_repeat_keys:
        newest = (
            [sql.SQL("{} desc nulls last").format(sql.Identifier(target.cursor))] if target.cursor else []
        )
        # At last by all that the row says, so that a second try picks the same one.
        order = [columns_list(key), *newest, sql.SQL('(b.*)::text collate "C" desc')]
        pick = sql.SQL("select distinct on ({}) {} from {} as b order by {}").format(
            columns_list(key), columns_list(names), batch, sql.SQL(", ").join(order)
        )
    changes = [name for name in (*names, *ADDED) if name not in key]
    statement = sql.SQL(
        "with batch as ({pick}), merged as ("
        " insert into {raw} as r ({names}, _load_id, _loaded_at)"
        " select {names}, {load}, {at} from batch"
        " on conflict ({key}) do update set {set}"
        " where r._load_id <= excluded._load_id"
        " and (r._deleted_at is not null or record_image_ne(row({ours}), row({theirs})))"
        " returning {names}, case when xmax = 0 then 'insert' else 'update' end as _change){history}"
        " select count(*) filter (where _change = 'insert'), count(*) filter (where _change = 'update'),"
        " (select count(*) from batch) from merged"
    ).format(
        pick=pick,
        history=sql.SQL(", kept as ({})").format(_keep(target, load_id, "merged", at))
        if target.history
        else sql.SQL(""),
        raw=target.name,
        names=columns_list(names),
        key=columns_list(key),
        # no parameter: a column may be called %(a)s
        load=sql.Literal(load_id),
        at=at,
        set=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changes
        ),
        ours=columns_list(names, "r"),
        theirs=columns_list(names, "excluded"),
    )
    row = session.execute(statement).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _delete(
    session: psycopg.Connection[Any],
    target: Target,
    load_id: int,
    exists: sql.SQL,
    keys: sql.Identifier,
    at: sql.Composable,
) -> int:
    """Delete the rows whose key exists, or does not exist, among these keys."""
    same = sql.SQL(" and ").join(
        sql.SQL("p.{0} = r.{0}").format(sql.Identifier(name)) for name in target.shape.primary_key
    )
    gone = sql.SQL("r._deleted_at is null and r._load_id <= {} and {} (select from {} as p where {})").format(
        sql.Literal(load_id), exists, keys, same
    )
    live = _count(session, sql.SQL("select count(*) from {} where _deleted_at is null").format(target.name))
    going = _count(session, sql.SQL("select count(*) from {} as r where {}").format(target.name, gone))
    _breaker(target, going, live)
    if not going:
        return 0
    removal = sql.SQL("delete from {} as r where {}").format(target.name, gone)
    if target.tombstones:
        removal = sql.SQL(
            "update {} as r set _deleted_at = {}, _loaded_at = {}, _load_id = {} where {}"
        ).format(target.name, at, at, sql.Literal(load_id), gone)
    if target.history:
        removal = sql.SQL("with gone as ({} returning {}, 'delete' as _change) {}").format(
            removal, columns_list(target.shape.names, "r"), _keep(target, load_id, "gone", at)
        )
    session.execute(removal)
    return going


def _keep(target: Target, load_id: int, changed: str, at: sql.Composable) -> sql.Composed:
    """The statement that appends what a merge has changed to the stream's history, in the same snapshot."""
    assert target.history is not None
    return sql.SQL(
        "insert into {} ({names}, _change, _load_id, _loaded_at) select {names}, _change, {}, {} from {}"
    ).format(
        target.history,
        sql.Literal(load_id),
        at,
        sql.Identifier(changed),
        names=columns_list(target.shape.names),
    )


def _replace(
    session: psycopg.Connection[Any],
    target: Target,
    load_id: int,
    batch: sql.Identifier,
    staged: int,
    at: sql.Composable,
) -> Merged:
    """A table without a key: its rows cannot be told apart, so the whole content changes hands."""
    live = _count(session, sql.SQL("select count(*) from {}").format(target.name))
    _breaker(target, live - staged, live)
    session.execute(sql.SQL("delete from {}").format(target.name))
    session.execute(
        sql.SQL("insert into {} ({}, _load_id, _loaded_at) select {}, {}, {} from {}").format(
            target.name,
            columns_list(target.shape.names),
            columns_list(target.shape.names),
            sql.Literal(load_id),
            at,
            batch,
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


def _count(session: psycopg.Connection[Any], query: sql.Composed) -> int:
    row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])
