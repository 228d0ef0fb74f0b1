"""Rows of `ledger.sync_run`: one for each attempt to deliver a sync."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from psycopg import sql

from include.activation.planning import Plan
from include.activation.report import SyncReport
from include.activation.session import Session
from include.core.errors import MillraceError


def begin(session: Session, planned: Plan, run_id: str, approved_by: str | None) -> int:
    """Note that a delivery begins. Returns the id of its row."""
    row = session.execute(
        "insert into ledger.sync_run (sync, run_id, model_version, status, read, unchanged, creates, updates, held,"
        " unsent, deletes, deletes_held, deletes_unsent, approved_by)"
        " values (%s, %s, %s, 'running', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning sync_run_id",
        (
            *(planned.sync, run_id, planned.model_version, planned.read, planned.unchanged),
            *(planned.creates, planned.updates, planned.held, planned.writes),
            *(planned.deletes, planned.deletes_held, planned.deletes, approved_by),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def finish(session: Session, report: SyncReport, problem: BaseException | None) -> None:
    """Note what became of it."""
    values: dict[str, Any] = report.counts() | {"error": None if problem is None else _message(problem)}
    session.execute(
        "update ledger.sync_run set status = %(status)s, finished_at = clock_timestamp(),"
        " delivered = %(delivered)s, rejected = %(rejected)s - %(held)s, unsent = %(unsent)s,"
        " deleted = %(deleted)s, deletes_rejected = %(deletes_rejected)s, deletes_unsent = %(deletes_unsent)s,"
        " error = %(error)s where sync_run_id = %(sync_run_id)s",
        values,
    )


def last_report(session: Session, sync: str, run_id: str) -> SyncReport | None:
    """What the last delivery that `run_id` asked for noted."""
    computed = {
        "rejected": "rejected + held",
        "seconds": "coalesce(extract(epoch from finished_at - started_at), 0)::float8",
    }
    names = [field.name for field in fields(SyncReport)]
    columns = sql.SQL(", ").join(
        sql.SQL(computed[name]) if name in computed else sql.Identifier(name) for name in names
    )
    row = session.execute(
        sql.SQL(
            "select {} from ledger.sync_run where sync = %s and run_id = %s order by sync_run_id desc limit 1"
        ).format(columns),
        (sync, run_id),
    ).fetchone()
    return SyncReport(**dict(zip(names, row, strict=True))) if row else None


def _message(problem: BaseException) -> str:
    return str(problem) if isinstance(problem, MillraceError) else f"{type(problem).__name__}: {problem}"
