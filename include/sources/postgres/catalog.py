"""What the source's catalog says about a table, and how that differs from the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from include.core.changes import Change, Known, refuse
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import ContractError, SourceForbidden
from include.core.schema import StreamSchema
from include.sources.comparison import shape
from include.sources.postgres.types import CatalogType, column_for

_TABLE = """
select c.oid, c.relkind, has_table_privilege(c.oid, 'SELECT') as readable,
       has_schema_privilege(n.oid, 'USAGE') as usable, quote_ident(current_user) as role,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name, quote_ident(n.nspname) as schema
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = to_regclass(%s)
"""

_COLUMNS = """
with recursive resolve(attrelid, attnum, typid, typmod) as (
    select attrelid, attnum, atttypid, atttypmod from pg_attribute
     where attrelid = any (%(tables)s) and attnum > 0 and not attisdropped
    union all
    select r.attrelid, r.attnum, t.typbasetype, t.typtypmod
      from resolve r join pg_type t on t.oid = r.typid where t.typtype = 'd'
)
select a.attrelid::bigint as table, a.attname as column, not a.attnotnull as nullable,
       format_type(a.atttypid, a.atttypmod) as declared,
       format_type(r.typid, r.typmod) as resolved, t.typname as name, n.nspname as namespace, t.typtype::text as kind,
       r.typmod as typmod, e.typname as element_name, en.nspname as element_namespace, e.typtype::text as element_kind,
       eb.typname as element_base, a.attnum::int as number
  from pg_attribute a
  join resolve r on r.attrelid = a.attrelid and r.attnum = a.attnum
  join pg_type t on t.oid = r.typid and t.typtype <> 'd'
  join pg_namespace n on n.oid = t.typnamespace
  left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
  left join pg_namespace en on en.oid = e.typnamespace
  left join lateral (
    with recursive below(typid) as (
        select e.oid
        union all
        select d.typbasetype from below join pg_type d on d.oid = below.typid where d.typtype = 'd'
    )
    select b.typname from below join pg_type b on b.oid = below.typid where b.typtype <> 'd'
  ) eb on true
 where a.attrelid = any (%(tables)s) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
"""

_PRIMARY_KEYS = """
select i.indrelid::bigint, a.attname
  from pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality k(attnum, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
 where i.indrelid = any (%s) and i.indisprimary
 order by i.indrelid, k.place
"""

_STORAGE = """
with recursive members(id) as (
    select %(oid)s::oid
    union
    select i.inhrelid from members m join pg_inherits i on i.inhparent = m.id
     where coalesce(to_jsonb(i) ->> 'inhdetachpending', 'false') = 'false'
)
select to_regclass(%(name)s)::oid::bigint,
       array(select array[id::bigint, pg_relation_filenode(id)::bigint] from members order by id)
"""

# What belongs to another table, as a partition or a child, comes with that one.
_UNREAD = """
with named(id) as (select to_regclass(t)::oid from unnest(%(read)s::text[]) t),
     known(id) as (select id from named union select to_regclass(t)::oid from unnest(%(unread)s::text[]) t)
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'f') and has_table_privilege(c.oid, 'SELECT')
   and c.relnamespace in (select t.relnamespace from pg_class t join named on named.id = t.oid)
   and not exists (select from known where known.id = c.oid)
   and not exists (select from pg_inherits i where i.inhrelid = c.oid)
 order by 1
"""

#: Tables, partitioned tables, views, materialised views, foreign tables.
READABLE_KINDS = ("r", "p", "v", "m", "f")


@dataclass
class Described:
    """A table's columns in their order, and the columns of its primary key in the key's order, none when it has no key."""

    columns: list[CatalogType] = field(default_factory=list)
    key: tuple[str, ...] = ()


def describe(connection: Connection[Any], tables: Iterable[int]) -> dict[int, Described]:
    """What the catalog says of tables, by their oids: two questions, however many they are."""
    found = {table: Described() for table in tables}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_COLUMNS, {"tables": list(found)}):
            found[row.pop("table")].columns.append(CatalogType(**row))
    for table, column in connection.execute(_PRIMARY_KEYS, (list(found),)):
        found[table].key += (column,)
    return found


def catalog_types(connection: Connection[Any], table_oid: int) -> list[CatalogType]:
    """The columns of a table in their order."""
    return describe(connection, [table_oid])[table_oid].columns


def primary_key(connection: Connection[Any], table_oid: int) -> tuple[str, ...]:
    """The columns of a table's primary key in the key's order; empty when it has none."""
    return describe(connection, [table_oid])[table_oid].key


def storage(connection: Connection[Any], table_oid: int, name: str) -> tuple[Any, ...]:
    """Which table has the name at this moment; and by id the table, its partitions and what inherits from it, each with the
    file that holds its rows, None for a partitioned one.

    TRUNCATE, a rewriting ALTER TABLE, a detached partition and a swap of names respect no snapshot: a reader that has an
    older one sees an empty or another table. They all change this. Ask outside a transaction: inside one the server answers
    from its caches.
    """
    row = connection.execute(_STORAGE, {"oid": table_oid, "name": name}).fetchone()
    assert row is not None
    return (row[0], tuple((table, file) for table, file in row[1]))


def find_table(connection: Connection[Any], contract: SourceContract, stream: Stream) -> tuple[int, str]:
    """The table's oid and its name, quoted for SQL.

    :raises ContractError: there is no such table. :raises SourceForbidden: the role may not read it.
    """
    where = f"source {contract.source!r}, stream {stream.name!r}"
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_TABLE, (stream.table,)).fetchone()
    if found is None or found["relkind"] not in READABLE_KINDS:
        raise ContractError(
            "there is no such table in the source",
            where=where,
            received=stream.table,
            allowed='schema.table as SQL writes it, such as shop.orders or "My Schema"."Orders"',
            todo=f"see what the source has: millrace discover --conn-id {contract.connection}",
        )
    if not (found["readable"] and found["usable"]):
        role = found["role"]
        raise SourceForbidden(
            "the role may not read the table",
            where=where,
            received=f"role {role}",
            allowed="SELECT on the table and USAGE on its schema",
            todo=f"grant usage on schema {found['schema']} to {role}; grant select on {found['name']} to {role};",
        )
    return found["oid"], found["name"]


def unread_tables(connection: Connection[Any], contract: SourceContract) -> tuple[str, ...]:
    """The tables in the schemas of the contract's tables that no stream reads and `unread_tables` does not name, as far as
    the role may read them."""
    tables = {
        "read": [stream.table for stream in contract.streams],
        "unread": list(contract.unread_tables),
    }
    return tuple(name for (name,) in connection.execute(_UNREAD, tables))


@dataclass(frozen=True)
class Shapes:
    """The columns of each stream as they will be read, how its table differs from its contract, and tables none reads."""

    schemas: dict[str, StreamSchema]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]


def read_shapes(
    connection: Connection[Any],
    contract: SourceContract,
    streams: list[Stream],
    tables: Mapping[str, tuple[int, str]],
    before: Known,
) -> Shapes:
    """Compare the catalog with the contract.

    :param tables: oid and name of each stream's table. :param before: what is known from the loads before.
    :raises SchemaChanged: naming every difference, of all streams, that the contract does not let pass.
    """
    described = describe(connection, {oid for oid, _ in tables.values()})
    read = {
        stream.name: _read_shape(contract, stream, tables[stream.name][0], described, before)
        for stream in streams
    }
    changes = {name: found for name, (_, found) in read.items()}
    unread = unread_tables(connection, contract)
    refuse(contract, changes, unread)
    return Shapes({name: schema for name, (schema, _) in read.items() if schema}, changes, unread)


def _read_shape(
    contract: SourceContract,
    stream: Stream,
    table_oid: int,
    described: Mapping[int, Described],
    before: Known,
) -> tuple[StreamSchema | None, tuple[Change, ...]]:
    table = described[table_oid]
    return shape(contract, stream, table.columns, table.key, before, column_for, table_oid)
