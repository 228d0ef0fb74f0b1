"""The activation model with the names and values of its destination's fields, as a query of the warehouse.

Whatever a contract says goes into it as a quoted identifier or a quoted literal, so that the fingerprint of a record covers
constants and templates as well as columns.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from include.activation.session import Session
from include.core.contracts.mapping import Cast, Constant, Filling, Template
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, TerminalError

#: Where activation models are published.
SCHEMA = "activation"
#: In JSON most readers make a double of a number, so these go as text unless the contract says otherwise.
_AS_TEXT = ("numeric", "bigint")
_CASTS = {
    "text": "text",
    "number": "numeric",
    "integer": "bigint",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamptz",
}
#: Fields by name; those with dots in their names are groups.
_Tree = dict[str, Any]


def mapped(contract: SyncContract, types: dict[str, str]) -> sql.Composed:
    """The model with the names of the destination's fields, in an order that is not the contract's.

    Per cent signs are doubled: it is part of a statement with parameters.
    """
    columns = [
        _value(filling, types) + sql.SQL(" as ") + sql.Identifier(name)
        for name, filling in sorted(_tree(contract.mapping).items())
    ]
    return sql.SQL("(select {} from {} m)").format(sql.SQL(", ").join(columns), model(contract))


def model(contract: SyncContract) -> sql.Identifier:
    """The published view."""
    return sql.Identifier(SCHEMA, contract.model)


def column_types(session: Session, contract: SyncContract) -> dict[str, str]:
    """The model's columns.

    :raises TerminalError: the model is not published. :raises ContractError: it lacks a mapped column.
    """
    where = f"sync {contract.sync!r}, model {SCHEMA}.{contract.model}"
    rows = session.execute(
        "select a.attname, format_type(case t.typtype when 'd' then t.typbasetype else t.oid end, null)"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " join pg_type t on t.oid = a.atttypid"
        " where n.nspname = %s and c.relname = %s order by a.attnum",
        (SCHEMA, contract.model),
    ).fetchall()
    if not rows:
        raise TerminalError(
            "the activation model is not published",
            where=where,
            todo=f"run transform {contract.transform!r}, or correct the contract's model",
        )
    types: dict[str, str] = dict(rows)
    missing = sorted(set(contract.columns) - set(types))
    if missing:
        raise ContractError(
            "mapping names columns that the model does not have",
            where=where,
            received=", ".join(missing),
            allowed=", ".join(types),
            todo="correct the mapping, or add the column to the model",
        )
    too_long = [name for name in contract.mapping if len(name.partition(".")[0].encode()) > 63]
    if too_long:
        raise ContractError(
            "destination field is too long", where=where, received=too_long, allowed="63 bytes at most"
        )
    return types


def _tree(mapping: dict[str, Filling]) -> _Tree:
    tree: _Tree = {}
    for name, filling in mapping.items():
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = filling
    return tree


def _value(filling: Filling | _Tree, types: dict[str, str]) -> sql.Composed:
    if isinstance(filling, dict):
        pairs = [
            _literal(part) if isinstance(part, str) else part
            for name, inner in sorted(filling.items())
            for part in (name, _value(inner, types))
        ]
        return sql.SQL("json_build_object({})").format(sql.SQL(", ").join(pairs))
    if isinstance(filling, Constant):
        return _literal(filling.value)
    if isinstance(filling, Cast):
        return _column(filling.column) + sql.SQL("::" + _CASTS[filling.type])
    if isinstance(filling, Template):
        return _text(filling)
    return _column(filling) + sql.SQL("::text" if types[filling] in _AS_TEXT else "")


def _text(template: Template) -> sql.Composed:
    """`concat` takes nothing for null; that all are null is asked for first."""
    parts: list[sql.Composable] = []
    for text, column in template.parts:
        parts += [_literal(text)] if text else []
        parts += [_column(column)] if column else []
    return sql.SQL("case when num_nonnulls({}) > 0 then concat({}) end").format(
        sql.SQL(", ").join(map(_column, template.columns)), sql.SQL(", ").join(parts)
    )


def _column(name: str) -> sql.Composed:
    return sql.SQL("m.") + sql.Identifier(name)


def _literal(value: str | float | bool) -> sql.Composed:
    """Text is typed, so that it is no unknown; a number stands as it is written."""
    if isinstance(value, str):
        quoted = sql.Literal(value).as_string(None).replace("%", "%%")
        return sql.Composed([sql.SQL(quoted), sql.SQL("::text")])
    return sql.Composed([sql.SQL(str(value).lower())])
