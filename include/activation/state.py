"""What a sync remembers: which record the destination acknowledged or rejected, and what is on its way to it.

A batch is written down before it is sent and struck out with its answer. Whatever still stands there when a
run begins may or may not have arrived, so the acknowledgement kept for it counts no longer: those records are
planned again, even when the model has gone back to the value that was acknowledged before. And those that were never
acknowledged are written down as perhaps there, so that mode mirror deletes them, too, when they leave the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.activation.records import Outcome, Record
from include.activation.session import Session


@dataclass(frozen=True)
class Counted:
    """Answers of one run, as numbers of records."""

    delivered: int
    rejected: int
    deleted: int
    deletes_rejected: int


@dataclass(frozen=True)
class Answer:
    """A batch as it was sent, the outcome of each record, and the batches in which retryable ones go on."""

    batch: int
    records: Sequence[Record]
    outcomes: Sequence[Outcome]
    rest: dict[int, Sequence[Record]]


def recover(session: Session, sync: str) -> None:
    """Close what earlier runs left open. Call with the sync's lock held."""
    with session.transaction():
        session.execute(
            "insert into ledger.sync_record as r (sync, record_key, status, there, attempts, sync_run_id)"
            " select f.sync, k.record_key, 'unknown', true, 0, max(f.sync_run_id)"
            " from ledger.sync_in_flight f cross join unnest(f.record_keys) as k (record_key)"
            " where f.sync = %(sync)s group by 1, 2"
            " on conflict (sync, record_key) do update set acknowledged = null, there = true",
            {"sync": sync},
        )
        session.execute("delete from ledger.sync_in_flight where sync = %s", (sync,))
        session.execute(
            "update ledger.sync_run u set status = 'abandoned', finished_at = clock_timestamp(),"
            " delivered = c.delivered, rejected = c.rejected,"
            " unsent = u.creates + u.updates - c.delivered - c.rejected,"
            " deleted = c.deleted, deletes_rejected = c.deletes_rejected,"
            " deletes_unsent = u.deletes - c.deleted - c.deletes_rejected,"
            " error = coalesce(u.error, 'the process that ran it is gone')"
            f" from (select n.sync_run_id, {_COUNTED}"
            "       from ledger.sync_run n"
            "       left join ledger.sync_record r on r.sync = n.sync and r.sync_run_id = n.sync_run_id"
            "       where n.sync = %(sync)s and n.status = 'running' group by 1) c"
            " where u.sync_run_id = c.sync_run_id",
            {"sync": sync},
        )


class State:
    """The state of one run of a sync. Used by the session that holds the sync's lock, and by no other."""

    def __init__(self, session: Session, sync: str, sync_run_id: int) -> None:
        self._session, self._sync, self.sync_run_id = session, sync, sync_run_id

    def move(self, answers: Sequence[Answer], departures: dict[int, Sequence[Record]]) -> None:
        """Write down answers and what is about to be sent, in one transaction.

        `departures`: by batch number. Nothing may be sent before this returned.
        """
        with self._session.pipeline(), self._session.transaction():
            for answer in answers:
                self._settle(answer)
            for batch, records in departures.items():
                self._in_flight(batch, records)

    def _settle(self, answer: Answer) -> None:
        delivered: list[Record] = []
        deleted: list[Record] = []
        rejected = []
        for record, outcome in zip(answer.records, answer.outcomes, strict=True):
            if outcome.kind == "delivered":
                (deleted if record.action == "delete" else delivered).append(record)
            elif outcome.kind == "rejected":
                rejected.append((record, outcome.reason))
        if delivered:
            self._session.execute(
                _ACKNOWLEDGE,
                {
                    "sync": self._sync,
                    "run": self.sync_run_id,
                    "keys": [record.key for record in delivered],
                    "fingerprints": [record.fingerprint for record in delivered],
                    "actions": [record.action for record in delivered],
                    "values": [record.body for record in delivered],
                },
            )
        if deleted:
            keys = [record.key for record in deleted]
            self._session.execute(_DELETED, {"sync": self._sync, "run": self.sync_run_id, "keys": keys})
        if rejected:
            self._session.execute(
                _REJECT,
                {
                    "sync": self._sync,
                    "run": self.sync_run_id,
                    "keys": [record.key for record, _ in rejected],
                    "fingerprints": [record.fingerprint for record, _ in rejected],
                    "actions": [record.action for record, _ in rejected],
                    "reasons": [reason.replace("\x00", "") for _, reason in rejected],
                },
            )
        self._session.execute(
            "delete from ledger.sync_in_flight where (sync, sync_run_id, batch) = (%s, %s, %s)",
            (self._sync, self.sync_run_id, answer.batch),
        )
        for batch, records in answer.rest.items():
            self._in_flight(batch, records)

    def _in_flight(self, batch: int, records: Sequence[Record]) -> None:
        # A batch that is sent again stands there already.
        self._session.execute(
            "insert into ledger.sync_in_flight (sync, sync_run_id, batch, record_keys)"
            " values (%s, %s, %s, %b) on conflict do nothing",
            (self._sync, self.sync_run_id, batch, [record.key for record in records]),
        )

    def counted(self) -> Counted:
        """Records that this run has an answer for, counted in the table."""
        row = self._session.execute(
            f"select {_COUNTED} from ledger.sync_record r where sync = %s and sync_run_id = %s",
            (self._sync, self.sync_run_id),
        ).fetchone()
        assert row is not None
        return Counted(*row)


_COUNTED = """
    count(*) filter (where r.status = 'delivered') as delivered,
    count(*) filter (where r.status = 'rejected' and r.action <> 'delete') as rejected,
    count(*) filter (where r.status = 'deleted') as deleted,
    count(*) filter (where r.status = 'rejected' and r.action = 'delete') as deletes_rejected
"""

_ACKNOWLEDGE = """
insert into ledger.sync_record as r
    (sync, record_key, status, there, action, value, acknowledged, acknowledged_at, attempts, sync_run_id)
select %(sync)s, n.record_key, 'delivered', true, n.action, n.value, n.fingerprint, now(), 1, %(run)s
from unnest(%(keys)b::text[], %(fingerprints)b::bytea[], %(actions)b::text[], %(values)b::text[])
    as n (record_key, fingerprint, action, value)
on conflict (sync, record_key) do update set
    attempts = case when r.refused = excluded.acknowledged then r.attempts + 1 else 1 end,
    status = excluded.status,
    there = true,
    action = excluded.action,
    value = excluded.value,
    acknowledged = excluded.acknowledged,
    acknowledged_at = excluded.acknowledged_at,
    refused = null,
    reason = null,
    last_attempt_at = excluded.last_attempt_at,
    sync_run_id = excluded.sync_run_id
"""

_DELETED = """
update ledger.sync_record set status = 'deleted', there = false, action = 'delete', value = null, acknowledged = null,
    acknowledged_at = null, refused = null, reason = null, attempts = 1, last_attempt_at = now(), sync_run_id = %(run)s
where sync = %(sync)s and record_key = any(%(keys)b::text[])
"""

_REJECT = """
insert into ledger.sync_record as r (sync, record_key, status, action, refused, reason, attempts, sync_run_id)
select %(sync)s, n.record_key, 'rejected', n.action, n.fingerprint, n.reason, 1, %(run)s
from unnest(%(keys)b::text[], %(fingerprints)b::bytea[], %(reasons)b::text[], %(actions)b::text[])
    as n (record_key, fingerprint, reason, action)
on conflict (sync, record_key) do update set
    attempts = case when r.refused = excluded.refused then r.attempts + 1 else 1 end,
    status = excluded.status,
    action = excluded.action,
    refused = excluded.refused,
    reason = excluded.reason,
    last_attempt_at = excluded.last_attempt_at,
    sync_run_id = excluded.sync_run_id
"""
