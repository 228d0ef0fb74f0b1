"""A look into the catalog of a MariaDB or MySQL server: tables, columns, keys and its estimates; no table is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

import pymysql

from include.core.connection import Connection
from include.core.contracts.source import Impact
from include.core.errors import ContractError, SourceForbidden, TerminalError, TypeNotExact
from include.sources.discovered import Found, FoundColumn, FoundReference, FoundTable, Skipped
from include.sources.mysql.catalog import READABLE, Table, catalog_types, primary_key
from include.sources.mysql.horizon import check_sight
from include.sources.mysql.session import Session, connect, one, run, translated
from include.sources.mysql.types import CatalogType, column_for

_SCHEMAS = """
select schema_name from information_schema.schemata
 where schema_name not in ('information_schema', 'mysql', 'performance_schema', 'sys') order by 1
"""
_TABLES = """
select table_schema, table_name, table_type, coalesce(engine, ''), coalesce(table_rows, -1),
       coalesce(data_length, 0) + coalesce(index_length, 0), table_comment
  from information_schema.tables where table_schema in %s order by 1, 2
"""
_INDEXED = """
select table_schema, table_name, column_name from information_schema.statistics
 where table_schema in %s and seq_in_index = 1
"""
_REFERENCES = """
select table_schema, table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name,
       referenced_column_name
  from information_schema.key_column_usage
 where table_schema in %s and referenced_table_name is not null order by 1, 2, 3, ordinal_position
"""
_NO_WAIT = {"lock_timeout": "5s", "statement_timeout": "60s"}


def discover(connection: Connection, schemas: Sequence[str] = ()) -> Found:
    """What the role of this connection can read, in these databases; else in the connection's own, or in all.

    :raises ContractError: there is no such database. :raises Unreachable: the source does not answer.
    """
    where = f"connection {connection.conn_id!r}"
    with (
        closing(connect(connection, where, Impact.model_validate(_NO_WAIT))) as session,
        translated(where),
    ):
        there = [name for (name,) in run(session, _SCHEMAS)]
        wanted = list(schemas) or ([connection.schema] if connection.schema else there)
        _check_schemas(wanted, there, where)
        role = one(session, "select current_user()")[0]
        found, skipped = _tables(session, wanted, role) if wanted else ([], [])
        no_incremental, remedy = _no_incremental(session, role, where)
    return Found(
        ", ".join(wanted), role, "unknown", tuple(found), tuple(skipped), no_incremental, remedy, kind="mysql"
    )


def _check_schemas(wanted: Sequence[str], there: Sequence[str], where: str) -> None:
    missing = [schema for schema in wanted if schema not in there]
    if missing:
        raise ContractError(
            "there is no such database, or the role has no right to it",
            where=where,
            received=", ".join(missing),
            allowed=", ".join(there) or "none: the role sees no database",
            todo="name databases as the server spells them; or grant select on what is to be read",
        )


def _no_incremental(session: Session, role: str, where: str) -> tuple[str, str]:
    try:
        check_sight(session, where)
    except SourceForbidden:
        return (
            "the role must see open transactions (the grant stands at the top of this file)",
            f"grant process on *.* to {role};",
        )
    except TerminalError as error:
        return f"point the connection at the primary; this is {error.received}", ""
    return "", ""


def _tables(session: Session, schemas: list[str], role: str) -> tuple[list[FoundTable], list[Skipped]]:
    indexed = set(run(session, _INDEXED, (schemas,)))
    references = _references(session, schemas)
    found: list[FoundTable] = []
    skipped: list[Skipped] = []
    for schema, name, kind, engine, rows, size, comment in run(session, _TABLES, (schemas,)):
        table = Table(schema, name)
        reason = _unreadable(session, table, kind, engine, role)
        columns = (
            () if reason else tuple(_column(each, table, indexed) for each in catalog_types(session, table))
        )
        if not reason and all(column.refused for column in columns):
            reason = "it has no column that can be carried"
        if reason:
            skipped.append(Skipped(table.written, reason))
            continue
        found.append(
            FoundTable(
                schema=schema,
                name=name,
                quoted=table.written,
                columns=columns,
                primary_key=primary_key(session, table),
                references=tuple(references[table]),
                rows=rows,
                bytes=size,
                comment=comment or "",
            )
        )
    return found, skipped


def _unreadable(session: Session, table: Table, kind: str, engine: str, role: str) -> str:
    if kind not in READABLE:
        return f"a {kind.lower()}: it has no snapshots; read the tables below it"
    if engine != "InnoDB":
        return f"engine {engine} has no snapshots: alter table {table.quoted} engine = InnoDB;"
    try:
        run(session, f"select 1 from {table.quoted} where false")
    except pymysql.err.MySQLError:
        return f"the role may not read it: grant select on {table.quoted} to {role};"
    return ""


def _references(session: Session, schemas: list[str]) -> dict[Table, list[FoundReference]]:
    pairs: dict[tuple[Table, str, Table], list[tuple[str, str]]] = defaultdict(list)
    for schema, name, constraint, column, to_schema, to_name, to_column in run(
        session, _REFERENCES, (schemas,)
    ):
        pairs[Table(schema, name), constraint, Table(to_schema, to_name)].append((column, to_column))
    found: dict[Table, list[FoundReference]] = defaultdict(list)
    for (table, _, target), columns in pairs.items():
        here, there = zip(*columns, strict=True)
        found[table].append(FoundReference(here, target.written, there))
    return found


def _column(found: CatalogType, table: Table, indexed: set[tuple[str, ...]]) -> FoundColumn:
    refused = ""
    try:
        column_for(found, where="")
    except TypeNotExact as error:
        refused = f"{error.what}: {error.received}"
    return FoundColumn(
        name=found.column,
        type=found.declared,
        family=_FAMILIES.get(found.name, "other"),
        not_null=not found.nullable,
        refused=refused,
        indexed=(*table.key, found.column) in indexed,
        stamped_by="its on update clause" if "on update" in found.extra.lower() else "",
    )


_FAMILIES = {
    **dict.fromkeys("tinyint smallint mediumint int bigint decimal float double year".split(), "number"),
    **dict.fromkeys("char varchar tinytext text mediumtext longtext".split(), "string"),
    **dict.fromkeys(("inet4", "inet6"), "network"),
    "date": "date",
    "datetime": "timestamp",
    "timestamp": "timestamptz",
}
