"""Bad rows beside their staging batch.

The batch stays as it is. `bad_…` lists the places (ctid) of its bad rows and the rules that they break, and `good_…` is a
view of the others, which is what the merge takes. Keys of bad rows are still keys that the source has: what raw holds of
them is not deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from include.core.manifest import StreamManifest
from include.core.schema import StreamSchema
from include.warehouse import staging
from include.warehouse.staging import SCHEMA
from include.warehouse.tables import columns_list

Session = psycopg.Connection[Any]


def clear(session: Session, load_id: int, stream: str) -> None:
    """Forget which rows of a staging batch are bad."""
    session.execute(sql.SQL("drop table if exists {} cascade").format(table(load_id, stream, "bad")))


def mark(session: Session, load_id: int, stream: str, found: Iterable[tuple[str, str]]) -> None:
    """Note which rows of a staging batch are bad.

    :param found: rules, and for each a query whose result has a column `ctid`.
    """
    create(session, load_id, stream)
    for rule, query in found:
        places = sql.SQL("select ctid::text::tid as at from ({}) as found").format(sql.SQL(query))
        add(session, load_id, stream, rule, places)


def mark_dependents(
    session: Session,
    load_id: int,
    child: StreamManifest,
    parent: StreamManifest,
    columns: Mapping[str, str],
    raw: str | None,
) -> int:
    """Note as bad what refers to a row that is set aside, unless raw or the batch has another version of it. Returns how
    many more rows that are.

    :param columns: those of the parent's key, and the child's that refer to them. :param raw: the parent's, quoted, if any.
    """
    if not count(session, load_id, parent.stream):
        return 0
    split(session, load_id, parent)
    create(session, load_id, child.stream)
    before = count(session, load_id, child.stream)
    theirs, ours = Batch(parent, load_id), Batch(child, load_id)
    same = sql.SQL(" and ").join(
        sql.SQL("p.{} = c.{}").format(sql.Identifier(key), sql.Identifier(name))
        for key, name in columns.items()
    )
    query = sql.SQL(
        "select c.ctid as at from {ours} as c where exists (select from {theirs} as p join {bad} as x on x.at = p.ctid"
        " where {same}) and not exists (select from {good} as p where {same})"
    ).format(
        ours=ours.rows,
        theirs=theirs.rows,
        same=same,
        bad=table(load_id, parent.stream, "bad"),
        good=table(load_id, parent.stream, "good"),
    )
    if raw:
        query += sql.SQL(" and not exists (select from {} as p where p._deleted_at is null and {})").format(
            sql.SQL(raw), same
        )
    rule = f"({', '.join(columns.values())}) refers to a row of {parent.stream} that is in quarantine"
    add(session, load_id, child.stream, rule, query)
    return count(session, load_id, child.stream) - before


def split(session: Session, load_id: int, landed: StreamManifest) -> tuple[str, str | None]:
    """What to merge of a staging batch: the relation of its rows, and of the keys that the source has where it told them."""
    rows = staging.table_name(load_id, landed.stream)
    keys = staging.table_name(load_id, landed.stream, keys=True) if landed.key_parts is not None else None
    if not count(session, load_id, landed.stream):
        return rows, keys
    good = table(load_id, landed.stream, "good")
    session.execute(
        sql.SQL(
            "create or replace view {} as select {} from {} as b where not exists (select from {} as x where x.at = b.ctid)"
        ).format(
            good,
            columns_list(landed.schema.names, "b"),
            sql.Identifier(SCHEMA, rows),
            table(load_id, landed.stream, "bad"),
        )
    )
    # of a batch that is the whole table, the bad rows are there, too
    return _name(load_id, landed.stream, "good"), keys or (rows if landed.complete else None)


def seen(session: Session, load_id: int, stream: str) -> str:
    """A view of a staging batch that shows the place of each row as a column of text, for queries that others make."""
    view = _name(load_id, stream, "seen")
    session.execute(
        sql.SQL("create or replace view {} as select ctid::text as ctid, b.* from {} as b").format(
            sql.Identifier(SCHEMA, view), sql.Identifier(SCHEMA, staging.table_name(load_id, stream))
        )
    )
    return view


class Batch:
    """A staging batch in SQL."""

    def __init__(self, landed: StreamManifest, load_id: int) -> None:
        self._schema = landed.schema
        self.rows = sql.Identifier(SCHEMA, staging.table_name(load_id, landed.stream))
        self.keys = sql.Identifier(SCHEMA, staging.table_name(load_id, landed.stream, keys=True))

    def content(self, alias: str, names: tuple[str, ...] = ()) -> sql.Composable:
        """Values as text, by column; of all columns when none are named."""
        texts = sql.SQL(", ").join(
            sql.SQL("{}.{name}::text as {name}").format(sql.Identifier(alias), name=sql.Identifier(name))
            for name in names or self._schema.names
        )
        return sql.SQL("(select to_jsonb(t) from (select {}) as t)").format(texts)

    def values(self, alias: str) -> sql.Composable:
        """What is kept of a row, with its edits, as values again."""
        return sql.SQL(", ").join(
            value(column.name, column.raw_type, alias, "content", "edits") for column in self._schema.columns
        )

    def same_key(self, alias: str, kept: str) -> sql.Composable:
        return same_key(self._schema, alias, kept)


def same_key(schema: StreamSchema, alias: str, kept: str) -> sql.Composable:
    types = {column.name: column.raw_type for column in schema.columns}
    return sql.SQL(" and ").join(
        sql.SQL("{}.{} = {}").format(
            sql.Identifier(alias), sql.Identifier(name), value(name, types[name], kept, "key")
        )
        for name in schema.primary_key
    )


def value(name: str, raw_type: str, alias: str, *fields: str) -> sql.Composable:
    whole = sql.SQL(" || ").join(sql.Identifier(alias, field) for field in fields)
    return sql.SQL("(({}) ->> {})::{}").format(whole, sql.Literal(name), sql.SQL(raw_type))


def _name(load_id: int, stream: str, what: str) -> str:
    return f"{what}_{staging.table_name(load_id, stream).removeprefix('rows_')}"


def table(load_id: int, stream: str, what: str) -> sql.Identifier:
    """The list (`bad`) or the view (`good`) beside a staging batch."""
    return sql.Identifier(SCHEMA, _name(load_id, stream, what))


def create(session: Session, load_id: int, stream: str) -> None:
    """The list of a staging batch's bad rows, unless there is one."""
    session.execute(
        sql.SQL("create unlogged table if not exists {} (at tid primary key, rules jsonb not null)").format(
            table(load_id, stream, "bad")
        )
    )


def add(session: Session, load_id: int, stream: str, rule: str, places: sql.Composable) -> None:
    """Note rows as bad. :param places: a query with a column `at`."""
    session.execute(
        sql.SQL(
            "insert into {} as x (at, rules) select distinct at, {} from ({}) as p"
            " on conflict (at) do update set rules = x.rules || excluded.rules"
            # no parameter: a column may be called %(a)s
        ).format(table(load_id, stream, "bad"), sql.Literal(Jsonb([rule])), places)
    )


def count(session: Session, load_id: int, stream: str, *, but: str = "") -> int:
    """How many rows of a staging batch are bad. :param but: not those that are so by this rule."""
    bad = table(load_id, stream, "bad")
    if session.execute("select to_regclass(%s) is null", (bad.as_string(None),)).fetchone() == (True,):
        return 0
    query = sql.SQL("select count(*) from {} where not rules @> {}").format(bad, sql.Literal(Jsonb([but])))
    row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def staged(session: Session, load_id: int, stream: str) -> int:
    """How many rows a staging batch has."""
    batch = sql.Identifier(SCHEMA, staging.table_name(load_id, stream))
    row = session.execute(sql.SQL("select count(*) from {}").format(batch)).fetchone()
    assert row is not None
    return int(row[0])
