"""Raw tables from loads of the past: merged again into a table at the side, whose content then takes the place of raw's.

The raw table itself stays: views and grants hang on it, and a renamed one would take them along. Only rows that differ are
touched, so a table that was right is not written at all. Readers see what was there until the transaction commits; a
`truncate` would show an empty table to those that took their snapshot before it
(https://www.postgresql.org/docs/current/mvcc-caveats.html).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
from psycopg import sql

from include.core.manifest import StreamManifest
from include.core.schema import StreamSchema
from include.core.shapes import together
from include.warehouse import changes, set_aside, staging
from include.warehouse.ledger import Session, rows_of
from include.warehouse.merge import merge
from include.warehouse.staging import SCHEMA
from include.warehouse.tables import ADDED, Target, columns_list, prepare

_ACCEPTED = """
select s.stream, l.load_id, l.manifest, l.published_at, coalesce(s.duplicates, 0) > 0 as repeats
  from ledger.load_stream as s join ledger.load as l using (load_id)
 where l.source = %s and s.status = 'published' and l.published_at is not null and l.manifest is not null
 order by l.load_id
"""


@dataclass(frozen=True)
class Held:
    """What a raw table holds: rows that are alive, and tombstones."""

    live: int
    tombstones: int


@dataclass(frozen=True)
class Rebuilt:
    """Rows of raw that were missing, differed, were right, or did not belong there."""

    inserted: int
    updated: int
    unchanged: int
    deleted: int

    @property
    def as_before(self) -> bool:
        """Whether raw was right already, so that nothing was written."""
        return not (self.inserted or self.updated or self.deleted)


def accepted(session: Session, source: str) -> list[dict[str, Any]]:
    """The loads of each stream that went into raw, oldest first: `stream`, `load_id`, `manifest`, `published_at`, and
    whether its batch `repeats` keys. Streams that their audit held back are not among them."""
    return rows_of(session, _ACCEPTED, (source,))


def held(session: Session, target: Target) -> Held | None:
    """What raw holds now; None when there is no such table."""
    if not _exists(session, target):
        return None
    row = session.execute(
        sql.SQL(
            "select count(*) filter (where _deleted_at is null), count(*) filter (where _deleted_at is not null) from {}"
        ).format(target.name)
    ).fetchone()
    assert row is not None
    return Held(*row)


def at_side(session: Session, target: Target, table: str) -> None:
    """Make the empty table at the side, or add the columns that a later shape has."""
    new = not _exists(session, _side(target, table))
    prepare(session, _side(target, table))
    if new:
        # It is made anew by whoever tries again, so nothing is lost with it.
        session.execute(sql.SQL("alter table {} set unlogged").format(sql.Identifier(SCHEMA, table)))


def stage_changes(
    session: Session,
    target: Target,
    table: str,
    load_id: int,
    landed: StreamManifest,
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Stage the changes of one load of the past; what they left out is taken from the table at the side."""
    changes.stage(session, _side(target, table), load_id, landed, batches)


def merge_at_side(
    session: Session,
    target: Target,
    table: str,
    load_id: int,
    landed: StreamManifest,
    batch: str,
    keys: str | None,
    moment: datetime,
) -> None:
    """Merge the staged batch of one load of the past as its publication did: with its load id, at its moment."""
    # What the breaker asks was answered when the load was published.
    side = replace(_side(target, table), max_delete_share=1.0)
    with session.transaction():
        if landed.holds_changes:
            changes.merge_changes(session, side, load_id, landed, moment)
            return
        merge(session, side, load_id, batch, landed.complete, keys, moment)


def discard(session: Session, load_id: int, stream: str) -> None:
    """Remove what was staged of one load of the past."""
    set_aside.clear(session, load_id, stream)
    keys = staging.table_name(load_id, stream, keys=True)
    for table in (keys, *changes.table_names(load_id, stream)):
        session.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(SCHEMA, table)))


def take_place(
    session: Session,
    target: Target,
    shapes: tuple[StreamSchema, ...],
    table: str,
    only: tuple[int, int] | None,
) -> Rebuilt:
    """Bring raw to what the table at the side holds. Runs inside the transaction of the replay.

    :param shapes: those that the loads had, oldest first.
    :param only: the first and last load whose rows are brought back, without overwriting or deleting any other; None: raw
        becomes equal to the table at the side, load ids and times included.
    :raises SchemaChanged: raw has a column of a type that does not fit, or another primary key.
    """
    session.execute("select pg_advisory_xact_lock(hashtextextended('publish ' || %s, 0))", (target.where,))
    whole = together(shapes)
    for shape in shapes:
        # A history is not rebuilt: what a replay puts right was no change of the source.
        prepare(session, replace(target, shape=whole.only(shape.names), keeps_history=False))
    names = whole.names
    side = sql.Identifier(SCHEMA, table)
    _as_wide(session, target.name, side)
    session.execute(sql.SQL("analyze {}").format(side))
    if not target.shape.primary_key:
        return _exchange(session, target, names, side)
    gone = 0 if only else _remove_strangers(session, target, side)
    return _bring_back(session, target, names, side, gone, only)


def record(
    session: Session,
    load_id: int,
    stream: str,
    outcome: Rebuilt,
    *,
    landed: StreamManifest,
    read: tuple[int, int, int],
    loads: tuple[int, int],
    seconds: float,
) -> None:
    """Note in the ledger what a replay did to one stream.

    :param landed: of its newest load. :param read: rows, bytes and parts that were read. :param loads: first and last one.
    """
    rows, size, parts = read
    kept = outcome.inserted + outcome.updated + outcome.unchanged
    session.execute(
        "insert into ledger.load_stream (load_id, stream, mode, status, schema_fingerprint, extracted, landed, staged,"
        " bytes, parts, seconds, rejected, inserted, updated, unchanged, duplicates, deleted, replayed)"
        " values (%(load_id)s, %(stream)s, %(mode)s, 'published', %(shape)s, %(rows)s, %(rows)s, %(rows)s, %(bytes)s,"
        " %(parts)s, %(seconds)s, 0, %(inserted)s, %(updated)s, %(unchanged)s, %(duplicates)s, %(deleted)s,"
        " int8range(%(first)s, %(last)s, '[]'))",
        {
            **vars(outcome), "load_id": load_id, "stream": stream, "mode": landed.mode, "rows": rows, "bytes": size,
            "shape": landed.schema.fingerprint, "parts": parts, "seconds": seconds, "duplicates": rows - kept,
            "first": loads[0], "last": loads[1],
        },
    )  # fmt: skip


def _side(target: Target, table: str) -> Target:
    return replace(target, schema=SCHEMA, table=table, keeps_history=False)


def _exists(session: Session, target: Target) -> bool:
    row = session.execute("select to_regclass(%s)", (target.name.as_string(None),)).fetchone()
    return row is not None and row[0] is not None


def _remove_strangers(session: Session, target: Target, side: sql.Identifier) -> int:
    return session.execute(
        sql.SQL("delete from {} as r where not exists (select from {} as s where {})").format(
            target.name, side, _same_key(target)
        )
    ).rowcount


def _bring_back(
    session: Session,
    target: Target,
    names: tuple[str, ...],
    side: sql.Identifier,
    gone: int,
    only: tuple[int, int] | None,
) -> Rebuilt:
    columns = (*names, *ADDED)
    # Of a range, a load id at the side may be later than the true one, where an older load that is not read had the same
    # row already: then it is no difference.
    compared = sql.SQL("row({}, {}._deleted_at is null)") if only else sql.SQL("row({}, {}._deleted_at)")
    ours, theirs = (
        compared.format(columns_list(names if only else columns, table), sql.Identifier(table))
        for table in "rs"
    )
    wanted = sql.SQL("s._load_id between {} and {}").format(*only) if only else sql.SQL("true")
    guard = sql.SQL("r._load_id <= s._load_id") if only else sql.SQL("true")
    # Joined first: `on conflict … where` alone would lock, and so write, every row that is right already.
    row = session.execute(
        sql.SQL(
            "with changed as ("
            " insert into {raw} ({columns}) select {rows} from {side} as s left join {raw} as r on {same}"
            " where {wanted} and (r._load_id is null or ({guard} and record_image_ne({ours}, {theirs})))"
            " on conflict ({key}) do update set {set} returning (xmax = 0) as inserted)"
            " select count(*) filter (where inserted), count(*) filter (where not inserted),"
            " (select count(*) from {side} as s where {wanted}) from changed"
        ).format(
            raw=target.name,
            columns=columns_list(columns),
            rows=columns_list(columns, "s"),
            side=side,
            same=_same_key(target),
            wanted=wanted,
            guard=guard,
            ours=ours,
            theirs=theirs,
            key=columns_list(target.shape.primary_key),
            set=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns
            ),
        )
    ).fetchone()
    assert row is not None
    inserted, updated, kept = row
    return Rebuilt(inserted, updated, kept - inserted - updated, gone)


def _as_wide(session: Session, raw: sql.Identifier, side: sql.Identifier) -> None:
    """Give the table at the side the types of raw, which may be wider: from loads that are not read, or by hand."""
    differing = session.execute(
        "select r.attname, format_type(r.atttypid, r.atttypmod) from pg_attribute r join pg_attribute s using (attname)"
        " where r.attrelid = to_regclass(%s) and s.attrelid = to_regclass(%s) and r.attnum > 0"
        " and (r.atttypid, r.atttypmod) <> (s.atttypid, s.atttypmod)",
        (raw.as_string(None), side.as_string(None)),
    ).fetchall()
    for name, kind in differing:
        session.execute(
            sql.SQL("alter table {} alter column {} type {}").format(
                side, sql.Identifier(name), sql.SQL(kind)
            )
        )


def _same_key(target: Target) -> sql.Composable:
    return sql.SQL(" and ").join(
        sql.SQL("s.{0} = r.{0}").format(sql.Identifier(name)) for name in target.shape.primary_key
    )


def _exchange(session: Session, target: Target, names: tuple[str, ...], side: sql.Identifier) -> Rebuilt:
    """Without a key rows cannot be told apart: all of them change hands, unless both tables hold the same ones."""
    columns = columns_list((*names, *ADDED))
    rows = sql.SQL('select row({})::text collate "C" from {}')
    row = session.execute(
        sql.SQL(
            "select (select count(*) from ({raw} except all {side}) as gone),"
            " (select count(*) from ({side} except all {raw}) as missing),"
            " (select count(*) from {table})"
        ).format(raw=rows.format(columns, target.name), side=rows.format(columns, side), table=side)
    ).fetchone()
    assert row is not None
    gone, missing, kept = row
    if gone or missing:
        session.execute(sql.SQL("delete from {}").format(target.name))
        session.execute(
            sql.SQL("insert into {} ({}) select {} from {}").format(target.name, columns, columns, side)
        )
    return Rebuilt(missing, 0, kept - missing, gone)
