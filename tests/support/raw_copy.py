"""Puts the demo source's tables into a warehouse as ingestion leaves them, without running ingestion."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
from psycopg import sql

from include.demo.shop import TABLES

# A source's own types (enums) do not exist in the warehouse: they land as text.
_COLUMNS = """
    select a.attname, case when t.typtype = 'e' then 'text' else format_type(a.atttypid, a.atttypmod) end
    from pg_attribute as a join pg_type as t on t.oid = a.atttypid
    where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
    order by a.attnum
"""


def copy_shop_into_raw(
    shop: str, warehouse: str, *, loaded_at: dt.datetime, owner: str = "millrace_loader"
) -> None:
    """Create `raw_shop.<table>` with all rows of the shop, load id 1; `owner` owns them.

    :param shop: connection URI of the source.
    :param warehouse: connection URI of somebody who may act as `owner`.
    """
    with psycopg.connect(shop) as source, psycopg.connect(warehouse) as target:
        target.execute(sql.SQL("set local role {}").format(sql.Identifier(owner)))
        target.execute("create schema if not exists raw_shop")
        for table in TABLES:
            columns = source.execute(_COLUMNS, (f"shop.{table}",)).fetchall()
            _create(target, table, columns, loaded_at)
            _copy(source, target, table, [name for name, _ in columns])


def _create(
    target: psycopg.Connection[Any], table: str, columns: list[tuple[str, str]], loaded_at: dt.datetime
) -> None:
    target.execute(
        sql.SQL(
            "create table {} ({}, _load_id bigint not null default 1,"
            " _loaded_at timestamptz not null default {}, _deleted_at timestamptz)"
        ).format(
            sql.Identifier("raw_shop", table),
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(kind)) for n, kind in columns
            ),
            sql.Literal(loaded_at.isoformat()),
        )
    )


def _copy(
    source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: str, names: list[str]
) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    read = sql.SQL("copy (select {} from {}) to stdout").format(columns, sql.Identifier("shop", table))
    write = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier("raw_shop", table), columns)
    with source.cursor().copy(read) as rows, target.cursor().copy(write) as sink:
        for block in rows:
            sink.write(block)
