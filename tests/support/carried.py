"""Whether what a source hands out is what its tables hold."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from include.core.connection import parse_connection
from include.core.contracts import SourceContract
from include.sources import open_source


def unequal_streams(contract: SourceContract, reader_uri: str, admin_uri: str) -> list[str]:
    """Read every stream whole, write it to a table of its raw types, and compare that with the source.

    Returns one line for each stream that differs.
    """
    source = open_source(contract, parse_connection(contract.connection, reader_uri))
    with source.snapshot(list(contract.streams)) as picture, psycopg.connect(admin_uri) as admin:
        admin.execute("set timezone = 'UTC'; set search_path = pg_catalog")
        found = []
        for stream in contract.streams:
            schema = picture.schemas[stream.name]
            rows = [
                row for batch in picture.rows(stream) for row in zip(*map(_list, batch.columns), strict=True)
            ]
            difference = _difference(admin, stream.table, schema.columns, rows)
            if difference:
                found.append(f"{stream.name}: {len(rows)} rows read, {difference} differ")
        admin.rollback()
    return found


def _list(column: Any) -> list[Any]:
    return column.to_pylist()  # type: ignore[no-any-return]


def _difference(admin: psycopg.Connection[Any], table: str, columns: Any, rows: list[tuple[Any, ...]]) -> int:
    names = [sql.Identifier(column.name) for column in columns]
    kinds = [sql.SQL(column.raw_type) for column in columns]
    fields = [sql.SQL("{} {}").format(name, kind) for name, kind in zip(names, kinds, strict=True)]
    admin.execute("drop table if exists pg_temp.carried")
    admin.execute(sql.SQL("create temp table carried ({})").format(sql.SQL(", ").join(fields)))
    marks = sql.SQL(", ").join(sql.SQL("%s::{}").format(kind) for kind in kinds)
    with admin.cursor() as cursor:
        cursor.executemany(sql.SQL("insert into pg_temp.carried values ({})").format(marks), rows)
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
    query = """with there as (select {texts} from {table}), here as (select {texts} from pg_temp.carried)
        select count(*) from (
            (table there except all table here) union all (table here except all table there)) as d"""
    count = admin.execute(sql.SQL(query).format(texts=texts, table=sql.SQL(table))).fetchone()
    assert count is not None
    return int(count[0])
