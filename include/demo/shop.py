"""The schema of the demo source `shop`."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

TABLES = (
    "categories",
    "products",
    "customers",
    "addresses",
    "orders",
    "order_items",
    "payments",
    "refunds",
    "web_events",
)
"""Every table of the schema `shop`, parents before children."""

_SCHEMA = Path(__file__).with_name("shop.sql")
# Two installs at once would race for the same types and triggers; the number only has to be this script's
# own.
_INSTALL_LOCK = 7_306_081


def install(conninfo: str, *, reader: str = "shop_reader") -> None:
    """Create the schema `shop` and let the role `reader` read it, and nothing more.

    Run as the application's own role, which becomes the owner. Safe to run again: what is there stays as it
    is.

    :raises psycopg.errors.UndefinedObject: `reader` does not exist in this server.
    :raises psycopg.errors.InsufficientPrivilege: the role may not create a schema in this database.
    """
    with psycopg.connect(conninfo) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (_INSTALL_LOCK,))
        connection.execute("set local client_min_messages to warning")
        connection.execute(_SCHEMA.read_bytes())
        for grant in (
            "grant usage on schema shop to {reader}",
            "grant select on all tables in schema shop to {reader}",
            # tables that the application adds later are readable from their first moment
            "alter default privileges in schema shop grant select on tables to {reader}",
        ):
            connection.execute(sql.SQL(grant).format(reader=sql.Identifier(reader)))


def row_counts(conninfo: str) -> dict[str, int]:
    """Exact number of rows per table, all counted in one snapshot."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return {table: _count(connection, table) for table in TABLES}


def _count(connection: psycopg.Connection[tuple[int]], table: str) -> int:
    query = sql.SQL("select count(*) from {}").format(sql.Identifier("shop", table))
    row = connection.execute(query).fetchone()
    assert row is not None  # an aggregate without group by always has one row
    return row[0]
