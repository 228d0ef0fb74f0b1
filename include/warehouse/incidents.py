"""Incidents in the ledger: one open row a cause, however many tasks report it, and who has to tell it.

Who tells is decided here, by row locks: `claim` and `claim_escalation` give an incident to one caller only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from include.core.incident import BACKFILL, Incident, Trouble

Session = psycopg.Connection[Any]
_COLUMNS = ", ".join(field.name for field in fields(Incident))
_RECORD = f"""
insert into ledger.incident as i (kind, name, event, backfill, cause, severity, title, what, run_id, link, runs)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (kind, name, event, backfill, cause) where resolved_at is null do update
   set occurrences = i.occurrences + 1, last_seen_at = clock_timestamp(), severity = excluded.severity,
       title = excluded.title, what = excluded.what, run_id = excluded.run_id, link = excluded.link,
       runs = array(select distinct unnest(i.runs || excluded.runs))
returning {_COLUMNS}
"""
_CLAIM = f"""
update ledger.incident
   set told_at = coalesce(told_at, statement_timestamp()), last_told_at = statement_timestamp()
 where incident_id = any(%s) and resolved_at is null
   and (last_told_at is null or acknowledged_at is null and last_told_at <= clock_timestamp() - %s)
returning {_COLUMNS}
"""
# What is not told yet is told again by whoever looks next.
_GIVE_BACK = """
update ledger.incident
   set last_told_at = null, told_at = case when told_at = last_told_at then null else told_at end
 where incident_id = any(%s)
"""
_CLAIM_ESCALATION = f"""
update ledger.incident set escalated_at = clock_timestamp()
 where incident_id = %s and escalated_at is null and acknowledged_at is null and resolved_at is null
   and severity = 'critical' and told_at <= clock_timestamp() - %s
returning {_COLUMNS}
"""
# Lateness ends when the data is there (`resolve_late`). A run that publishes with a warning is not the end of its own
# warning. A raw table that differed from its source is put right by a load that finds them equal, and by no other.
_RESOLVE = f"""
update ledger.incident as i set resolved_at = clock_timestamp(), resolved_by = 'run ' || %(run_id)s::text
 where kind = %(kind)s and name = %(name)s and not backfill and resolved_at is null and event <> 'missed_deadline'
   and (event <> 'warning' or run_id <> %(run_id)s)
   and not (kind = 'ingest' and cause like 'balance: %%' and exists (
        select from (select distinct on (r.stream) r.differing
                       from ledger.reconciliation r join ledger.load l using (load_id)
                      where l.source = i.name order by r.stream, r.load_id desc) as newest
         where differing > 0))
returning {_COLUMNS}
"""
_RESOLVE_BACKFILL = """
with done as (
    update ledger.incident set runs = array_remove(runs, %(run_id)s::text)
     where kind = %(kind)s and name = %(name)s and backfill and resolved_at is null and %(run_id)s::text = any(runs)
    returning incident_id, runs
)
select incident_id from done where runs = '{}'
"""


def record(session: Session, trouble: Trouble, severity: str) -> list[Incident]:
    """Open an incident for each cause, or count it once more where one is open."""
    causes = [BACKFILL] if trouble.backfill else sorted(trouble.causes)
    runs = [trouble.run_id] if trouble.backfill else []
    return [
        found
        for cause in causes
        for found in _incidents(
            session,
            _RECORD,
            (
                trouble.kind, trouble.name, trouble.event, trouble.backfill, cause, severity, trouble.title, trouble.what,
                trouble.run_id, trouble.link, runs,
            ),
        )
    ]  # fmt: skip


def claim(session: Session, ids: Sequence[int], remind_after: timedelta) -> list[Incident]:
    """Those of these incidents that the caller has to tell now: never told, or again after that time and unacknowledged."""
    return _incidents(session, _CLAIM, (list(ids), remind_after))


def give_back(session: Session, ids: Sequence[int]) -> None:
    """No channel took what was claimed."""
    session.execute(_GIVE_BACK, (list(ids),))


def claim_escalation(session: Session, incident_id: int, after: timedelta) -> list[Incident]:
    """The incident, when the caller has to escalate it: critical, told that long ago, and not acknowledged."""
    return _incidents(session, _CLAIM_ESCALATION, (incident_id, after))


def give_back_escalation(session: Session, incident_id: int) -> None:
    """No channel took it."""
    session.execute("update ledger.incident set escalated_at = null where incident_id = %s", (incident_id,))


def resolve(session: Session, kind: str, name: str, run_id: str, *, backfill: bool) -> list[Incident]:
    """Those that this success ends: a backfill's only when all its failed runs have succeeded."""
    told = {"kind": kind, "name": name, "run_id": run_id}
    with session.transaction():
        if not backfill:
            return _incidents(session, _RESOLVE, told)
        ids = [row[0] for row in session.execute(_RESOLVE_BACKFILL.encode(), told)]
        return [one for each in ids for one in close(session, each, f"run {run_id}", "")]


def resolve_late(session: Session, kind: str, name: str, rule: str, by: str) -> list[Incident]:
    """The incident of a deadline or of an age, which the data that is there now ends."""
    query = (
        "update ledger.incident set resolved_at = clock_timestamp(), resolved_by = %s where kind = %s and name = %s"
        f" and event = 'missed_deadline' and cause = %s and not backfill and resolved_at is null returning {_COLUMNS}"
    )
    return _incidents(session, query, (by, kind, name, rule))


def open_incidents(session: Session) -> list[Incident]:
    """All that are not over, the oldest first."""
    query = f"select {_COLUMNS} from ledger.incident where resolved_at is null order by incident_id"
    return _incidents(session, query, ())


def newest(session: Session, limit: int) -> list[Incident]:
    """The newest, open or over."""
    query = f"select {_COLUMNS} from ledger.incident order by incident_id desc limit %s"
    return _incidents(session, query, (limit,))


def find(session: Session, incident_id: int) -> list[Incident]:
    """The one of this id, or none."""
    return _incidents(
        session, f"select {_COLUMNS} from ledger.incident where incident_id = %s", (incident_id,)
    )


def acknowledge(session: Session, incident_id: int, by: str, note: str) -> list[Incident]:
    """Somebody has it. None when it is over or unknown."""
    query = (
        "update ledger.incident set acknowledged_by = %s, acknowledged_at = clock_timestamp(), note = nullif(%s, '')"
        f" where incident_id = %s and resolved_at is null returning {_COLUMNS}"
    )
    return _incidents(session, query, (by, note, incident_id))


def close(session: Session, incident_id: int, by: str, note: str) -> list[Incident]:
    """It is over, by the word of `by`. None when it was over before, or is unknown."""
    query = (
        "update ledger.incident set resolved_at = clock_timestamp(), resolved_by = %s, note = coalesce(nullif(%s, ''), note)"
        f" where incident_id = %s and resolved_at is null returning {_COLUMNS}"
    )
    return _incidents(session, query, (by, note, incident_id))


def _incidents(session: Session, query: str, parameters: Any) -> list[Incident]:
    with session.cursor(row_factory=class_row(Incident)) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()
