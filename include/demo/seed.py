"""Fills the demo source with two years of history, the same for the same seed.

The rows are made by set-based SQL inside the server, one unit (about 10 000 orders) at a time: nothing
crosses the wire, and a large scale needs no more memory than a small one. All of it is one transaction: a
seed is there or not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from include.core.errors import TerminalError
from include.demo.shop import TABLES, row_counts

MAX_SCALE = 100

_BASE = Path(__file__).with_name("seed_base.sql")
_UNIT = Path(__file__).with_name("seed_unit.sql")
_SEQUENCES = {
    "categories": "category_id",
    "products": "product_id",
    "customers": "customer_id",
    "addresses": "address_id",
    "orders": "order_id",
    "refunds": "refund_id",
    "web_events": "event_id",
}


def seed(
    conninfo: str,
    *,
    until: dt.date,
    scale: int = 1,
    seed: int = 42,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Fill the empty schema `shop` with the 730 days before `until` (00:00 UTC, exclusive); rows per table.

    :param conninfo: the application's own role (the owner of the schema).
    :param until: where history ends. Nothing here asks for today's date: the same arguments give the same
        rows.
    :param scale: 1 (3 000 customers, 10 000 orders, 50 000 web events) to 100.
    :param seed: another number gives another shop.
    :param progress: called with (units done, units in all).
    :raises TerminalError: `scale` is out of range, or the shop has rows already.
    """
    if not 1 <= scale <= MAX_SCALE:
        raise TerminalError(
            "the demo shop does not come in this scale",
            where="SCALE",
            received=scale,
            allowed=f"1 to {MAX_SCALE}",
            todo="choose a scale in that range",
        )
    with psycopg.connect(conninfo) as connection:
        _refuse_to_mix(connection)
        connection.execute("set local timezone to 'UTC'")
        _constant(connection, "seed", sql.SQL("bigint"), seed)
        _constant(connection, "scale", sql.SQL("bigint"), scale)
        _constant(connection, "until", sql.SQL("timestamptz"), f"{until.isoformat()} 00:00:00+00")
        connection.execute(_BASE.read_bytes())
        unit_script = _UNIT.read_bytes()
        for unit in range(scale):
            _constant(connection, "unit", sql.SQL("bigint"), unit)
            connection.execute(unit_script)
            if progress:
                progress(unit + 1, scale)
        _advance_sequences(connection)
        connection.commit()
        # the planner (and the size estimates that a reader takes from the catalog) should know the new rows
        # at once
        connection.execute(sql.SQL("analyze {}").format(_qualified(TABLES)))
    return row_counts(conninfo)


def _refuse_to_mix(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(sql.SQL("lock table {} in share row exclusive mode").format(_qualified(TABLES)))
    if connection.execute("select from shop.customers limit 1").fetchone() is not None:
        raise TerminalError(
            "a seed only fills an empty shop, and this one has customers",
            where="schema shop",
            todo="run `make reset` to start again, or let the traffic generator add to what is there",
        )


def _constant(
    connection: psycopg.Connection[tuple[object, ...]], name: str, kind: sql.SQL, value: int | str
) -> None:
    """Define `pg_temp.<name>()`; the planner inlines it, so the scripts stay plain SQL and need no
    templating."""
    connection.execute(
        sql.SQL("create or replace function {}() returns {} language sql immutable return {}::{}").format(
            sql.Identifier("pg_temp", name), kind, sql.Literal(value), kind
        )
    )


def _advance_sequences(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    for table, column in _SEQUENCES.items():
        connection.execute(
            sql.SQL("select setval(pg_get_serial_sequence({}, {}), max({})) from {}").format(
                sql.Literal(f"shop.{table}"),
                sql.Literal(column),
                sql.Identifier(column),
                sql.Identifier("shop", table),
            )
        )


def _qualified(tables: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("shop", table) for table in tables)
