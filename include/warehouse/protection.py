"""What stands for the values of a raw table's columns, noted on the columns themselves."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from include.core.errors import SchemaChanged
from include.core.schema import StreamSchema

_MARK = "protect: "


def note_protection(session: psycopg.Connection[Any], schema: str, table: str, shape: StreamSchema) -> None:
    """Write each column's protection into its comment, where a person sees it and the next load finds it.

    :raises SchemaChanged: raw has rows whose key was protected in another way, or under another key. The same row would
        get a second key, and what raw has would never be found again.
    """
    name = sql.Identifier(schema, table)
    found = dict(
        session.execute(
            "select attname, col_description(attrelid, attnum) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (name.as_string(None),),
        ).fetchall()
    )
    noted = {
        column: text.removeprefix(_MARK) for column, text in found.items() if (text or "").startswith(_MARK)
    }
    for column in shape.columns:
        before = noted.get(column.name, "")
        if before == column.protection:
            continue
        if column.name in shape.primary_key and _has_rows(session, name):
            raise SchemaChanged(
                f"key column {column.name!r} is protected in another way than the rows that raw has",
                where=f"{schema}.{table}",
                received=column.protection or "no protection",
                allowed=before or "no protection",
                todo="rename or drop the raw table; the next load reads the whole source table into a new one",
            )
        session.execute(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier(schema, table, column.name),
                sql.Literal(_MARK + column.protection) if column.protection else sql.NULL,
            )
        )


def _has_rows(session: psycopg.Connection[Any], table: sql.Identifier) -> bool:
    row = session.execute(sql.SQL("select exists (select from {})").format(table)).fetchone()
    return bool(row and row[0])
