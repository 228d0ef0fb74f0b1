"""Changes that a source's log told: from the landing zone to the newest image of each row, and from there into raw.

Three tables in `staging_batches` for each stream of a load: `changes_…` with every change, `rows_…` with the newest image of
each row that is still there, which the audit looks at and the merge takes, and `gone_…` with the keys of those that are not.
`include.core.log_changes` says what a change looks like.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.core.log_changes import DELETE, UPDATE, of_changes
from include.core.manifest import StreamManifest
from include.warehouse import images, staging
from include.warehouse.merge import Merged, merge
from include.warehouse.staging import SCHEMA
from include.warehouse.tables import Target, columns_list

Session = psycopg.Connection[Any]


def table_names(load_id: int, stream: str) -> tuple[str, str, str]:
    """The tables of the changes, the newest images, and the keys of rows that are gone."""
    rows = staging.table_name(load_id, stream)
    return f"changes_{rows.removeprefix('rows_')}", rows, f"gone_{rows.removeprefix('rows_')}"


def stage(
    session: Session, target: Target, load_id: int, landed: StreamManifest, batches: Iterable[pa.RecordBatch]
) -> int:
    """Fill the three tables. Returns the number of changes.

    :param target: the table that holds the rows as they were before the load; it stays as it is.
    :raises NotLanded: there are other numbers of changes than the manifest lists.
    :raises TerminalError: raw lacks the rows that the changes speak of.
    """
    changes, rows, gone = table_names(load_id, landed.stream)
    told = staging.stage(session, changes, of_changes(landed.schema), batches, landed.rows)
    with session.transaction():
        images.complete(session, target, changes)
        _newest(session, target, changes, rows, gone)
    for table in (rows, gone):
        session.execute(sql.SQL("analyze {}").format(sql.Identifier(SCHEMA, table)))
    return told


def order_history(session: Session, target: Target) -> None:
    """See to it that the history of a stream of mode log can tell the order of the changes of one load."""
    assert target.history is not None
    ordered = session.execute(
        "select from pg_attribute where attrelid = to_regclass(%s) and attname = '_seq' and not attisdropped",
        (target.history.as_string(None),),
    ).fetchone()
    if ordered is None:
        session.execute(sql.SQL("alter table {} add column _seq bigint").format(target.history))


def merge_changes(
    session: Session, target: Target, load_id: int, landed: StreamManifest, moment: datetime | None = None
) -> Merged:
    """Bring what was staged into raw, and every change into its history. A change counts as a duplicate when it is not the
    one that raw gets: a later one took its place, or the row is gone.

    :param moment: when that was; now, unless a load of the past is merged again.
    :raises BreakerTripped: more rows would be deleted than the contract allows.
    """
    changes, rows, gone = table_names(load_id, landed.stream)
    merged = merge(
        session,
        replace(target, keeps_history=False),
        load_id,
        rows,
        complete=False,
        keys=None,
        moment=moment,
        gone=gone,
    )
    if target.history is not None:
        _keep(session, target.history, target, load_id, changes, moment)
    taken = merged.inserted + merged.updated + merged.unchanged
    return replace(merged, duplicates=landed.rows - taken)


def _newest(session: Session, target: Target, changes: str, rows: str, gone: str) -> None:
    names, key = target.shape.names, columns_list(target.shape.primary_key)
    for table, kept, left in ((rows, names, "<>"), (gone, target.shape.primary_key, "=")):
        session.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(SCHEMA, table)))
        session.execute(
            sql.SQL(
                "create unlogged table {} as select {kept} from (select distinct on ({key}) {kept}, _op from {}"
                " order by {key}, _seq desc) as newest where _op {left} {}"
            ).format(
                sql.Identifier(SCHEMA, table), sql.Identifier(SCHEMA, changes), sql.Literal(DELETE),
                kept=columns_list(kept), key=key, left=sql.SQL(left),
            )
        )  # fmt: skip


def _keep(
    session: Session,
    history: sql.Identifier,
    target: Target,
    load_id: int,
    changes: str,
    moment: datetime | None,
) -> None:
    """Append every change to the history, the intermediate ones too; `_seq` is their order within a load."""
    session.execute(
        sql.SQL(
            "insert into {} ({names}, _change, _load_id, _loaded_at, _seq) select {names},"
            " case _op when {delete} then 'delete' when {update} then 'update' else 'insert' end, {load}, {at}, _seq"
            " from {} order by _seq"
        ).format(
            history, sql.Identifier(SCHEMA, changes),
            names=columns_list(target.shape.names), delete=sql.Literal(DELETE), update=sql.Literal(UPDATE),
            load=sql.Literal(load_id), at=sql.SQL("now()") if moment is None else sql.Literal(moment),
        )
    )  # fmt: skip
