"""The activation model with the names and values of its destination's fields, as a query of the warehouse."""

from __future__ import annotations

from psycopg import sql

from include.activation.session import Session
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, TerminalError

#: Where activation models are published.
SCHEMA = "activation"


def mapped(contract: SyncContract, types: dict[str, str]) -> sql.Composed:
    """The model with the names of the destination's fields, in an order that is not the contract's."""
    columns = []
    for destination_field, column in sorted(contract.mapping.items()):
        value: sql.Composable = sql.SQL("m.") + sql.Identifier(column)
        if types[column] in ("numeric", "bigint"):
            value += sql.SQL("::text")
        columns.append(value + sql.SQL(" as ") + sql.Identifier(destination_field))
    return sql.SQL("(select {} from {} m)").format(sql.SQL(", ").join(columns), model(contract))


def model(contract: SyncContract) -> sql.Identifier:
    return sql.Identifier(SCHEMA, contract.model)


def column_types(session: Session, contract: SyncContract) -> dict[str, str]:
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
    missing = sorted(set(contract.mapping.values()) - set(types))
    if missing:
        raise ContractError(
            "mapping names columns that the model does not have",
            where=where,
            received=", ".join(missing),
            allowed=", ".join(types),
            todo="correct the mapping, or add the column to the model",
        )
    too_long = [name for name in contract.mapping if len(name.encode()) > 63]
    if too_long:
        raise ContractError(
            "destination field is too long", where=where, received=too_long, allowed="63 bytes at most"
        )
    return types
