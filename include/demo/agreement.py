"""Whether the demo's systems hold the same values at the end: shop and raw, activation model and CRM.

Rows are compared as text, by an order-independent sum of their hashes, so that a large table costs one pass on each side and
no row travels. It is meant for a shop that is quiet: a change between the two passes is a difference.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from include.core.contracts import SourceContract, SyncContract

_SUM = sql.SQL(
    "select count(*), coalesce(sum(hashtextextended(row({columns})::text, 0)::numeric), 0) from {table} where {condition}"
)
_ALL = sql.SQL("true")
_Sum = tuple[int, int]


def streams_that_differ(contract: SourceContract, source: str, warehouse: str) -> list[str]:
    """The streams whose live raw rows are not, value by value, the rows of their source tables.

    :param source: connection URI of the source. :param warehouse: of the warehouse, as a role that reads raw.
    """
    differ = []
    with psycopg.connect(source) as ours, psycopg.connect(warehouse) as theirs:
        for stream in contract.streams:
            columns = sql.SQL(", ").join(map(sql.Identifier, stream.read_columns))
            raw = sql.Identifier(contract.raw_schema, stream.name)
            table = sql.SQL(stream.table)  # the contract writes it as SQL does
            if _sum(ours, columns, table) != _sum(theirs, columns, raw, sql.SQL("_deleted_at is null")):
                differ.append(stream.name)
    return differ


def missing_at_destination(contract: SyncContract, warehouse: str, destination: str) -> int:
    """How many records of an activation model the destination's table does not hold as they are. Its fields are columns.

    :param warehouse: connection URI, as a role that reads activation models. :param destination: of a Postgres.
    """
    names = sorted(contract.mapping)
    model = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(sql.Identifier(str(contract.mapping[name])) for name in names),
        sql.Identifier("activation", contract.model),
    )
    table = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(contract.destination.table),  # type: ignore[union-attr]  # the contract writes it as SQL does
    )
    with psycopg.connect(warehouse) as ours, psycopg.connect(destination) as theirs:
        return len(set(ours.execute(model).fetchall()) - set(theirs.execute(table).fetchall()))


def _sum(
    session: psycopg.Connection[Any],
    columns: sql.Composable,
    table: sql.Composable,
    condition: sql.Composable = _ALL,
) -> _Sum:
    session.execute("set timezone to 'UTC'")
    row = session.execute(_SUM.format(columns=columns, table=table, condition=condition)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
