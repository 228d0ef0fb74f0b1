"""What the ledger remembers of syncs, for people: runs, records, and letting rejected ones go along again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.rows import dict_row

from include.activation.session import Session
from include.core.errors import ContractError

Row = dict[str, Any]


def summary(session: Session, sync: str) -> Row:
    """Records by their last answer, and the last run: its status and when it ended."""
    return _rows(session, _SUMMARY, {"sync": sync})[0]


def last_runs(session: Session, sync: str, count: int) -> list[Row]:
    """Rows of `ledger.sync_run`, newest first."""
    query = "select * from ledger.sync_run where sync = %(sync)s order by sync_run_id desc limit %(count)s"
    return _rows(session, query, {"sync": sync, "count": count})


def rejected(session: Session, sync: str, count: int) -> list[Row]:
    """Records that the destination refused last, the newest answers first."""
    query = (
        _RECORD + " and r.status = 'rejected' order by r.last_attempt_at desc, r.record_key limit %(count)s"
    )
    return _rows(session, query, {"sync": sync, "count": count})


def record(session: Session, sync: str, key: str) -> Row:
    """One record, with the run and the version of the model that its last answer is from.

    :raises ContractError: nothing was ever sent under this key.
    """
    found = _rows(session, _RECORD + " and r.record_key = %(key)s", {"sync": sync, "key": key})
    if not found:
        raise ContractError(
            "no record of this key was ever answered",
            where=f"sync {sync!r}",
            todo=f"see what a run would send: millrace sync plan {sync}",
        )
    return found[0]


def retry(session: Session, sync: str, keys: Sequence[str]) -> int:
    """Let rejected records go along with the next run, whatever their attempts. Returns how many there are.

    :param keys: these; all when empty.
    :raises ContractError: one of them is not rejected.
    """
    with session.transaction():
        found = session.execute(
            "update ledger.sync_record set attempts = 0 where sync = %(sync)s and status = 'rejected'"
            " and (%(all)s or record_key = any(%(keys)s)) returning record_key",
            {"sync": sync, "all": not keys, "keys": list(keys)},
        ).fetchall()
        others = sorted(set(keys) - {key for (key,) in found})
        if others:
            raise ContractError(
                "not among the rejected records; nothing was changed",
                where=f"sync {sync!r}",
                received=f"{len(others)} of {len(set(keys))} keys",
                todo=f"see which there are: millrace sync show {sync}",
            )
    return len(found)


def _rows(session: Session, query: str, values: Row) -> list[Row]:
    with session.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


_SUMMARY = """
select count(*) filter (where status = 'delivered') as delivered, count(*) filter (where status = 'rejected') as rejected,
    count(*) filter (where status = 'deleted') as deleted, count(*) filter (where status = 'unknown') as unknown,
    (select status from ledger.sync_run where sync = %(sync)s order by sync_run_id desc limit 1) as last_status,
    (select max(finished_at) from ledger.sync_run where sync = %(sync)s and status = 'delivered') as last_delivered
from ledger.sync_record where sync = %(sync)s
"""

_RECORD = """
select r.*, u.run_id, u.model_version, u.approved_by
from ledger.sync_record r left join ledger.sync_run u using (sync_run_id)
where r.sync = %(sync)s
"""
