"""The history of deadlines, `ledger.deadline`: those that stand, those that were met, and those that were missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from include.warehouse.ledger import rows_of

Session = psycopg.Connection[Any]
_COLUMNS = "kind, name, rule, about, run_id, due_at, met, reached_at, failed_at, told_at"


@dataclass(frozen=True)
class Deadline:
    """One row of `ledger.deadline`."""

    kind: str
    name: str
    rule: str
    about: str
    run_id: str | None
    due_at: datetime
    met: bool | None
    reached_at: datetime | None
    failed_at: datetime | None
    told_at: datetime | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.kind, self.name, self.rule, self.about


def stand(
    session: Session, kind: str, name: str, rule: str, dues: Sequence[tuple[str, datetime]], now: datetime
) -> None:
    """Let these deadlines of a contract stand, and no others that are still ahead: its contract may have changed."""
    session.execute(
        "delete from ledger.deadline where kind = %s and name = %s and met is null"
        " and (rule <> %s or (due_at > %s and about <> all(%s)))",
        (kind, name, rule, now, [about for about, _ in dues]),
    )
    with session.cursor() as cursor:
        cursor.executemany(
            "insert into ledger.deadline (kind, name, rule, about, due_at) values (%s, %s, %s, %s, %s)"
            " on conflict do nothing",
            [(kind, name, rule, about, at) for about, at in dues],
        )


def unreached(session: Session, kind: str, name: str, rule: str, since: datetime) -> list[Deadline]:
    """What is waited for: deadlines that stand, and those that were missed and whose data is not there yet; oldest first."""
    return _rows(
        session,
        f"select {_COLUMNS} from ledger.deadline where kind = %s and name = %s and rule = %s and reached_at is null"
        " and due_at >= %s order by due_at",
        (kind, name, rule, since),
    )


def miss(
    session: Session, key: tuple[str, str, str, str], due_at: datetime, run_id: str | None = None
) -> Deadline:
    """Note that a deadline was missed. What has reached its consumers stays as it was judged."""
    (row,) = _rows(
        session,
        "insert into ledger.deadline as d (kind, name, rule, about, due_at, run_id, met)"
        " values (%s, %s, %s, %s, %s, %s, false) on conflict (kind, name, rule, about) do update"
        " set met = case when d.reached_at is null then false else d.met end,"
        " due_at = case when d.reached_at is null then excluded.due_at else d.due_at end,"
        f" run_id = coalesce(excluded.run_id, d.run_id) returning {_COLUMNS}",
        (*key, due_at, run_id),
    )
    return row


def reach(
    session: Session,
    key: tuple[str, str, str, str],
    due_at: datetime,
    run_id: str,
    at: datetime,
    *,
    met: bool,
) -> None:
    """Note that the data was there, in time or not. What was judged before stays so."""
    session.execute(
        "insert into ledger.deadline as d (kind, name, rule, about, due_at, run_id, reached_at, met)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (kind, name, rule, about) do update set"
        " run_id = excluded.run_id, reached_at = coalesce(d.reached_at, excluded.reached_at),"
        " due_at = case when d.met is null then excluded.due_at else d.due_at end, met = coalesce(d.met, excluded.met)",
        (*key, due_at, run_id, at, met),
    )


def over(
    session: Session, kind: str, name: str, rule: str, at: datetime, up_to: str | None = None
) -> list[Deadline]:
    """Note that what was late is there, of deadlines that had fallen due. Returns those that people were told of.

    :param up_to: the newest `about` that this goes for; all when it is None.
    """
    session.execute(
        "update ledger.deadline set met = false, reached_at = %(at)s"
        " where kind = %(kind)s and name = %(name)s and rule = %(rule)s and reached_at is null and due_at <= %(at)s"
        ' and (%(up_to)s::text is null or about collate "C" <= %(up_to)s)',
        {"kind": kind, "name": name, "rule": rule, "at": at, "up_to": up_to},
    )
    return recovered(session, kind, name, rule)


def recovered(session: Session, kind: str, name: str, rule: str) -> list[Deadline]:
    """Missed deadlines whose data has come since they were told of, oldest first. Each is returned once."""
    rows = _rows(
        session,
        "update ledger.deadline set recovered_at = clock_timestamp() where kind = %s and name = %s and rule = %s"
        f" and told_at is not null and reached_at is not null and recovered_at is null and not met returning {_COLUMNS}",
        (kind, name, rule),
    )
    return sorted(rows, key=lambda row: row.due_at)


def told(session: Session, key: tuple[str, str, str, str]) -> None:
    """Note that people were told of a missed deadline."""
    session.execute(
        "update ledger.deadline set told_at = clock_timestamp() where (kind, name, rule, about) = (%s, %s, %s, %s)",
        key,
    )


def failed(session: Session, kind: str, name: str, *, told: bool) -> None:
    """Note on the deadlines that stand that a failure of their DAG was told; or that a later run ended well."""
    session.execute(
        "update ledger.deadline set failed_at = case when %s then clock_timestamp() end"
        " where kind = %s and name = %s and met is null",
        (told, kind, name),
    )


def months(session: Session, name: str | None, month: datetime | None) -> list[dict[str, Any]]:
    """Rows of `ledger.deadline_month`, the newest month first."""
    return rows_of(
        session,
        "select * from ledger.deadline_month where (%(name)s::text is null or name = %(name)s)"
        " and (%(month)s::date is null or month = %(month)s) order by month desc, kind, name, rule",
        {"name": name, "month": month},
    )


def missed(session: Session, name: str | None, month: datetime) -> list[dict[str, Any]]:
    """What was missed, or too old, in a month (UTC), the newest first."""
    return rows_of(
        session,
        "select * from ledger.deadline where not met and (%(name)s::text is null or name = %(name)s)"
        " and date_trunc('month', due_at at time zone 'UTC') = %(month)s::timestamp order by due_at desc",
        {"name": name, "month": month},
    )


def _rows(session: Session, query: str, parameters: Sequence[Any]) -> list[Deadline]:
    with session.cursor(row_factory=class_row(Deadline)) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()
