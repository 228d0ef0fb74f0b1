"""A look into a PostgreSQL catalog: tables, columns, keys and the server's statistics; no table is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from include.core.connection import Connection
from include.core.errors import ContractError, TypeNotExact
from include.sources.discovered import Found, FoundColumn, FoundReference, FoundTable, Skipped
from include.sources.postgres import discover_sql as queries
from include.sources.postgres.catalog import catalog_types, primary_key
from include.sources.postgres.session import SETTINGS
from include.sources.postgres.translated import translated
from include.sources.postgres.types import CatalogType, column_for

_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}
_LIMITS = {"statement_timeout": "60s", "lock_timeout": "5s", "default_transaction_read_only": "on"}


def discover(connection: Connection, schemas: Sequence[str] = ()) -> Found:
    """What the role of this connection can read, in these schemas or in all that are not the system's.

    :raises ContractError: there is no such schema. :raises Unreachable: the source does not answer.
    """
    where = f"connection {connection.conn_id!r}"
    with translated(where), psycopg.connect(connection.postgres_uri(**SETTINGS, **_LIMITS)) as server:
        server.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with server.cursor(row_factory=dict_row) as cursor:
            about = cursor.execute(queries.SERVER).fetchone()
            assert about is not None
            _check_schemas(schemas, about["schemas"], where)
            tables = cursor.execute(queries.TABLES, {"schemas": list(schemas) or None}).fetchall()
        skipped = _Skips(about["quoted_role"])
        found = [_table(server, table) for table in tables if skipped.wants(table)]
        found = [table for table in found if skipped.has_columns(table)]
    no_incremental, remedy = _no_incremental(about)
    return Found(
        about["database"], about["role"], about["owner"], tuple(found), skipped.all(), no_incremental, remedy
    )


def _check_schemas(wanted: Sequence[str], there: Sequence[str], where: str) -> None:
    missing = [schema for schema in wanted if schema not in there]
    if missing:
        raise ContractError(
            "there is no such schema",
            where=where,
            received=", ".join(missing),
            allowed=", ".join(there) or "none: the database has no schema of its own",
            todo="name schemas as the catalog spells them, without quotes",
        )


def _no_incremental(about: dict[str, Any]) -> tuple[str, str]:
    if about["replica"]:
        return (
            "point the connection at the primary; this is a replica, which does not know open transactions",
            "",
        )
    if not about["may_see"]:
        grant = f"grant pg_read_all_stats to {about['quoted_role']};"
        return "the role must see open transactions (the grant stands at the top of this file)", grant
    return "", ""


class _Skips:
    """What is left out, and why; partitions are counted by the table that they are read through."""

    def __init__(self, quoted_role: str) -> None:
        self._role = quoted_role
        self._single: list[Skipped] = []
        self._partitions: Counter[str] = Counter()

    def wants(self, table: dict[str, Any]) -> bool:
        if table["root"] and table["kind"] in "rpf":
            self._partitions[table["root"]] += 1
            return False
        reason = self._reason(table)
        if reason:
            self._single.append(Skipped(table["quoted"], reason))
        return not reason

    def has_columns(self, table: FoundTable) -> bool:
        usable = any(not column.refused for column in table.columns)
        if not usable:
            why = "no column that can be carried" if table.columns else "no columns"
            self._single.append(Skipped(table.quoted, f"it has {why}"))
        return usable

    def _reason(self, table: dict[str, Any]) -> str:
        if table["extension"]:
            return f"it belongs to the extension {table['extension']}"
        if table["kind"] in _KINDS:
            return f"{_KINDS[table['kind']]}: add it by hand (mode: snapshot) when its result is wanted"
        if table["parent"]:
            return f"it inherits from {table['parent']}, which is read with its rows (not its own columns)"
        if not table["usable"]:
            grant = f"grant usage on schema {table['quoted_schema']} to {self._role};"
            return f"the role may not use the schema: {grant}"
        if not table["readable"]:
            part = "the role may read some columns only" if table["partly"] else "the role may not read it"
            return f"{part}: grant select on {table['quoted']} to {self._role};"
        if table["hidden"]:
            return f"row-level security hides rows: alter role {self._role} bypassrls;"
        return ""

    def all(self) -> tuple[Skipped, ...]:
        parts = [
            Skipped(f"{count} partition{'s' * (count > 1)} of {root}", f"read through {root}")
            for root, count in sorted(self._partitions.items())
        ]
        return (*self._single, *parts)


def _table(server: psycopg.Connection[Any], table: dict[str, Any]) -> FoundTable:
    key = {"oid": table["oid"], "schema": table["schema"], "name": table["name"]}
    with server.cursor(row_factory=dict_row) as cursor:
        facts = {row["column"]: row for row in cursor.execute(queries.COLUMN_FACTS, key)}
        references = tuple(
            FoundReference(tuple(row["columns"]), row["target"], tuple(row["to_columns"]))
            for row in cursor.execute(queries.FOREIGN_KEYS, key)
        )
    columns = tuple(_column(found, facts[found.column]) for found in catalog_types(server, table["oid"]))
    return FoundTable(
        schema=table["schema"],
        name=table["name"],
        quoted=table["quoted"],
        columns=columns,
        primary_key=primary_key(server, table["oid"]),
        references=references,
        rows=table["rows"],
        bytes=table["bytes"],
        updates=table["updates"],
        deletes=table["deletes"],
        inherited=table["inherited"],
        by_xmin=table["by_xmin"],
        comment=table["comment"] or "",
    )


def _column(found: CatalogType, facts: dict[str, Any]) -> FoundColumn:
    refused = ""
    try:
        column_for(found, where="")
    except TypeNotExact as error:
        refused = f"{error.what}: {found.declared}"
    family = _family(found)
    return FoundColumn(
        name=found.column,
        type=found.declared,
        family=family,
        not_null=not found.nullable,
        values=tuple(facts["labels"] or ()) if found.kind == "e" else (),
        refused=refused,
        looks_like="email" if facts["emails"] and family == "string" else "",
        beyond=bool(facts["beyond"])
        and (family in ("date", "timestamp", "timestamptz") or found.name == "numeric"),
        indexed=facts["indexed"],
        stamped_by=f"trigger {facts['stamped_by']}" if facts["stamped_by"] else "",
        comment=facts["comment"] or "",
    )


_FAMILIES = {
    **dict.fromkeys(("int2", "int4", "int8", "float4", "float8", "numeric", "money", "oid"), "number"),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "citext"), "string"),
    **dict.fromkeys(("inet", "cidr", "macaddr", "macaddr8"), "network"),
    **{name: name for name in ("bool", "date", "timestamp", "timestamptz")},
}


def _family(found: CatalogType) -> str:
    return _FAMILIES.get(found.name, "other")
