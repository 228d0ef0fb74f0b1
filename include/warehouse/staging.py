"""Staging batches: what a load brought, in tables of the source's shape, for the audit to look at before it is published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.core.errors import NotLanded
from include.core.schema import StreamSchema
from include.warehouse.copying import ahead, copied

SCHEMA = "staging_batches"


def table_name(load_id: int, stream: str, *, keys: bool = False) -> str:
    """The table of one stream of a load: unique, readable, and plain (63 bytes of lower case, digits and underscores),
    because not every library that looks at it quotes as it should."""
    plain = re.sub(r"[^a-z0-9_]", "_", stream.lower())[:40]
    if plain != stream:
        plain += "_" + hashlib.sha256(stream.encode()).hexdigest()[:8]
    return f"{'keys' if keys else 'rows'}_{load_id}_{plain}"


def stage(
    session: psycopg.Connection[Any],
    table: str,
    schema: StreamSchema,
    batches: Iterable[pa.RecordBatch],
    expected: int,
) -> int:
    """Fill a staging batch by COPY. It has no constraints: the audit is what judges it.

    What travels as text goes through the warehouse's input functions, so every type that its source wrote exactly is read
    exactly. Written anew each time, so a second try leaves one batch. Returns the rows it holds.

    :raises NotLanded: it holds another number of rows than the manifest lists.
    """
    name = sql.Identifier(SCHEMA, table)
    with session.transaction():
        session.execute(sql.SQL("drop table if exists {} cascade").format(name))
        session.execute(
            sql.SQL("create unlogged table {} ({})").format(
                name,
                sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.raw_type))
                    for column in schema.columns
                ),
            )
        )
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in schema.columns)
        with session.cursor() as cursor:
            # Frozen, as nobody has seen the table before: whoever reads it first need not write it once more.
            form, blocks = copied(schema, batches)
            statement = sql.SQL("copy {} ({}) from stdin (format {}, freeze)")
            with cursor.copy(statement.format(name, columns, sql.SQL(form))) as copy:
                for block in ahead(blocks):
                    copy.write(block)
            held = cursor.rowcount
        if held != expected:
            raise NotLanded(
                "the staging batch does not hold what the manifest lists",
                where=f"{SCHEMA}.{table}",
                received=f"{held} rows",
                allowed=f"{expected} rows",
                todo="it is tried again; if that does not help, extract again by clearing the run",
            )
    # The planner knows nothing of a table that was just filled, and the audit and the merge are about to join it.
    session.execute(sql.SQL("analyze {}").format(name))
    return held


def drop(session: psycopg.Connection[Any], source: str) -> None:
    """Remove the staging batches of a source's loads that nobody will publish any more."""
    rows = session.execute(
        "select t.tablename from pg_tables t join ledger.load l"
        " on l.load_id = substring(t.tablename from '^(?:rows|keys|changes|gone|bad)_([0-9]+)_')::bigint"
        " where t.schemaname = %s and l.source = %s and l.status not in ('open', 'landed')",
        (SCHEMA, source),
    ).fetchall()
    for (table,) in rows:
        session.execute(sql.SQL("drop table if exists {} cascade").format(sql.Identifier(SCHEMA, table)))
