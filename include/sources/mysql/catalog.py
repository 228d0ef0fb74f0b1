"""What the source's catalog says about a table, and how that differs from the contract."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from include.core.changes import Change, Known, refuse
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import ContractError
from include.core.mysql import quoted
from include.core.quoting import identifier
from include.core.schema import StreamSchema
from include.sources.comparison import shape
from include.sources.mysql.session import Session, one, run
from include.sources.mysql.types import CatalogType, column_for
from include.sources.mysql.widening import type_change

_TABLE = """
select table_schema, table_name, table_type, coalesce(engine, '') from information_schema.tables
 where table_schema = %s and table_name = %s
"""
_TABLES = """
select table_schema, table_name from information_schema.tables
 where table_schema = %s and table_type in (%s, %s) order by table_name
"""
_COLUMNS = """
select column_name, column_type, lower(data_type), is_nullable = 'YES', numeric_precision, numeric_scale,
       character_set_name, extra, table_schema, table_name
  from information_schema.columns where table_schema = %s and table_name = %s order by ordinal_position
"""
_PRIMARY_KEY = """
select column_name, table_schema, table_name from information_schema.statistics
 where table_schema = %s and table_name = %s and index_name = 'PRIMARY' order by seq_in_index
"""
_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
#: A sequence, too, is a table in the catalog; a view says nothing of the engines below it.
READABLE = ("BASE TABLE", "SYSTEM VERSIONED")


@dataclass(frozen=True)
class Table:
    """A table by the names that the catalog has for it."""

    schema: str
    name: str

    @property
    def quoted(self) -> str:
        return quoted(self.schema, self.name)

    @property
    def written(self) -> str:
        """As a contract writes it: in double quotes where it needs them, whatever the server's own are."""
        return ".".join(part if part.isidentifier() else identifier(part) for part in self.key)

    @property
    def key(self) -> tuple[str, str]:
        return (self.schema, self.name)


def find_table(session: Session, contract: SourceContract, stream: Stream) -> Table:
    """The table that a stream reads.

    :raises ContractError: there is none that the role may see, or it has no snapshots.
    """
    where = f"source {contract.source!r}, stream {stream.name!r}"
    wanted = _parts(stream.table)
    found = run(session, _TABLE, wanted)
    # The catalog compares names without case; the tables may be told apart by it.
    exact = [row for row in found if row[:2] == wanted]
    if not exact and one(session, "select @@lower_case_table_names")[0]:
        exact = list(found)
    if not exact:
        raise ContractError(
            "there is no such table in the source, or the role has no right to it",
            where=where,
            received=stream.table,
            allowed='database.table; in double quotes where it needs them: "My Shop"."Orders"',
            todo=f"grant select on {quoted(*wanted)} to the role, or correct the name;"
            f" see what there is: millrace discover --conn-id {contract.connection}",
        )
    schema, name, kind, engine = exact[0]
    if kind not in READABLE or engine != "InnoDB":
        raise ContractError(
            "the table has no snapshots, so what is read would be no state that it was in",
            where=where,
            received=f"{kind.lower()}{f' of engine {engine}' if engine else ''}",
            allowed="tables of engine InnoDB",
            todo=f"alter table {quoted(schema, name)} engine = InnoDB; or read the tables that a view reads",
        )
    return Table(schema, name)


def _parts(name: str) -> tuple[str, ...]:
    return tuple((part[0].replace('""', '"') or part[1]) for part in _PART.findall(name))


def catalog_types(session: Session, table: Table) -> list[CatalogType]:
    """The columns of a table in their order, invisible and generated ones too."""
    return [
        CatalogType(name, declared, kind, bool(nullable), precision, scale, charset, extra or "")
        for name, declared, kind, nullable, precision, scale, charset, extra, *at in run(
            session, _COLUMNS, table.key
        )
        if tuple(at) == table.key
    ]


def primary_key(session: Session, table: Table) -> tuple[str, ...]:
    """The columns of a table's primary key in the key's order; empty when it has none."""
    return tuple(name for name, *at in run(session, _PRIMARY_KEY, table.key) if tuple(at) == table.key)


def unread_tables(session: Session, contract: SourceContract, read: Iterable[Table]) -> tuple[str, ...]:
    """The tables in the databases of the contract's tables that no stream reads and `unread_tables` does not name, as far as
    the role may see them."""
    known = {table.key for table in read}
    named = {tuple(part.casefold() for part in _parts(name)) for name in contract.unread_tables}
    found = [
        row
        for schema in sorted({schema for schema, _ in known})
        for row in run(session, _TABLES, (schema, *READABLE))
    ]
    return tuple(
        Table(schema, name).written
        for schema, name in found
        if (schema, name) not in known and (schema.casefold(), name.casefold()) not in named
    )


@dataclass(frozen=True)
class Shapes:
    """The columns of each stream as they will be read, what the catalog says of each, how its table differs from its
    contract, and tables none reads."""

    schemas: dict[str, StreamSchema]
    found: dict[str, dict[str, CatalogType]]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]


def read_shapes(
    session: Session,
    contract: SourceContract,
    streams: list[Stream],
    tables: Mapping[str, Table],
    before: Known,
) -> Shapes:
    """Compare the catalog with the contract.

    :param before: what is known from the loads before.
    :raises SchemaChanged: naming every difference, of all streams, that the contract does not let pass.
    """
    schemas, found, changes = {}, {}, {}
    for stream in streams:
        table = tables[stream.name]
        columns = catalog_types(session, table)
        schema, changes[stream.name] = shape(
            contract,
            stream,
            columns,
            primary_key(session, table),
            before,
            column_for,
            type_change=type_change,
        )
        found[stream.name] = {column.column: column for column in columns}
        if schema:
            schemas[stream.name] = schema
    unread = unread_tables(session, contract, tables.values())
    refuse(contract, changes, unread)
    return Shapes(schemas, found, changes, unread)
