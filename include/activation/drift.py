"""Where the ledger keeps what verifications found: counts of each, and the records that the last one found changed."""

from __future__ import annotations

from collections.abc import Sequence

from include.activation.records import Difference, Record
from include.activation.session import Session

#: Part of the state's tables, see include/activation/schema.py.
DRIFT_DDL = """
create table if not exists ledger.sync_verification (
    sync_verification_id bigint generated always as identity primary key,
    sync         text        not null,
    run_id       text        not null,
    scope        text        not null check (scope in ('sample', 'all')),
    started_at   timestamptz not null default clock_timestamp(),
    finished_at  timestamptz,
    checked      bigint      not null default 0,
    missing      bigint      not null default 0,
    differing    bigint      not null default 0,
    overwritten  bigint      not null default 0
);
create index if not exists sync_verification_by_sync on ledger.sync_verification (sync, sync_verification_id desc);
comment on table ledger.sync_verification is
    'One row for each time that a destination was compared with what it acknowledged. No finished_at: it broke off.';
comment on column ledger.sync_verification.overwritten is 'Drifted records that the next run sends again.';

create table if not exists ledger.sync_drift (
    sync_verification_id bigint  not null,
    sync                 text    not null,
    record_key           text    not null,
    missing              boolean not null,
    fields               text[]  not null,
    primary key (sync, record_key)
);
comment on table ledger.sync_drift is
    'Records that the last verification of a sync found changed at the destination: which fields, and no values.';

grant select, insert, update on ledger.sync_verification to millrace_activator;
grant select, insert, delete on ledger.sync_drift to millrace_activator;
grant select on ledger.sync_verification, ledger.sync_drift to millrace_developer;
"""


class Book:
    """One verification in the ledger. Used by the session that holds the sync's lock, and by no other."""

    def __init__(self, session: Session, sync: str, run_id: str, scope: str) -> None:
        self._session, self._sync = session, sync
        with session.transaction():
            row = session.execute(
                "insert into ledger.sync_verification (sync, run_id, scope) values (%s, %s, %s)"
                " returning sync_verification_id",
                (sync, run_id, scope),
            ).fetchone()
            session.execute("delete from ledger.sync_drift where sync = %s", (sync,))
        assert row is not None
        self._id = row[0]

    def note(self, drifted: Sequence[tuple[Record, Difference]], *, overwrite: bool) -> int:
        """Keep what was found; with `overwrite`, these acknowledgements count no longer. Returns how many do not."""
        keys = [record.key for record, _ in drifted]
        with self._session.transaction():
            self._session.cursor().executemany(
                "insert into ledger.sync_drift (sync_verification_id, sync, record_key, missing, fields)"
                " values (%s, %s, %s, %s, %s)",
                [
                    (self._id, self._sync, record.key, found.missing, list(found.fields))
                    for record, found in drifted
                ],
            )
            if not overwrite:
                return 0
            return self._session.execute(
                "update ledger.sync_record r set acknowledged = null"
                " from unnest(%s::text[], %s::bytea[]) as d (record_key, fingerprint)"
                " where r.sync = %s and r.record_key = d.record_key and r.acknowledged = d.fingerprint",
                (keys, [record.fingerprint for record, _ in drifted], self._sync),
            ).rowcount

    def close(self, checked: int, missing: int, differing: int, overwritten: int) -> None:
        """The verification is complete."""
        self._session.execute(
            "update ledger.sync_verification set finished_at = clock_timestamp(), checked = %s, missing = %s,"
            " differing = %s, overwritten = %s where sync_verification_id = %s",
            (checked, missing, differing, overwritten, self._id),
        )
