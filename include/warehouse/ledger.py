"""The life of a load in the ledger: opened under a lease, landed, audited, published or not.

The lease is what makes one writer a source. Opening a load takes it; publishing checks it inside its transaction, so a
worker that slept while another took over finds itself superseded and writes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from include.core.errors import LeaseHeld, StaleLoad
from include.core.interval import Interval
from include.core.manifest import LogMark, Manifest, TransactionMark

#: How long a source stays reserved for a load that gives no sign of life. Every step renews it while it works, so this
#: is what a run may wait for a free slot between two steps, and what others wait after a run that was thrown away.
LEASE = timedelta(minutes=5)

Session = psycopg.Connection[Any]


@dataclass(frozen=True)
class Load:
    """One row of `ledger.load`."""

    load_id: int
    source: str
    run_id: str
    kind: str
    interval_start: datetime | None
    interval_end: datetime
    status: str
    manifest: str | None


@dataclass(frozen=True)
class Watermark:
    """How far a stream is committed, by which load, and the snapshot of the source that this speaks of.

    A stream that is read by the transactions of its rows has a `mark` in place of a `watermark`, one of mode log has `log`.
    """

    stream: str
    watermark: datetime | None
    newest: datetime | None
    schema_fingerprint: str | None
    server: str
    position: list[int]
    load_id: int
    mark: TransactionMark | None = None
    log: LogMark | None = None


def open_load(session: Session, source: str, run_id: str, kind: str, interval: Interval) -> Load:
    """Open a load and take the source's lease. An earlier attempt of the same run is superseded.

    :raises LeaseHeld: another run is loading this source.
    """
    with session.transaction():
        session.execute("select pg_advisory_xact_lock(hashtextextended('lease ' || %s, 0))", (source,))
        # A load that is publishing holds this row: what its lease is worth is judged when it is through.
        session.execute("select 1 from ledger.lease where source = %s for update", (source,))
        with session.cursor(row_factory=dict_row) as cursor:
            held = cursor.execute(
                "select run_id, load_id, expires_at, clock_timestamp() as now from ledger.lease"
                " where source = %s and run_id <> %s and expires_at > clock_timestamp()",
                (source, run_id),
            ).fetchone()
        if held:
            raise LeaseHeld(
                "another run is loading this source",
                where=f"source {source!r}",
                received=f"run {held['run_id']!r}, load {held['load_id']}, lease until {held['expires_at']:%H:%M:%S} UTC",
                todo="wait; it is tried again by itself",
            )
        session.execute(
            "update ledger.load set status = 'superseded' where source = %s and status in ('open', 'landed')",
            (source,),
        )
        with session.cursor(row_factory=class_row(Load)) as rows:
            load = rows.execute(
                "insert into ledger.load (source, run_id, kind, interval_start, interval_end) values (%s, %s, %s, %s, %s)"
                " returning load_id, source, run_id, kind, interval_start, interval_end, status, manifest",
                (source, run_id, kind, interval.start, interval.end),
            ).fetchone()
        assert load is not None
        session.execute(
            "insert into ledger.lease (source, load_id, run_id, expires_at)"
            " values (%s, %s, %s, clock_timestamp() + %s) on conflict (source) do update"
            " set load_id = excluded.load_id, run_id = excluded.run_id, expires_at = excluded.expires_at",
            (source, load.load_id, run_id, LEASE),
        )
    return load


def renew_lease(session: Session, load_id: int) -> None:
    """Say that the load is alive.

    :raises StaleLoad: another load has taken its place.
    """
    row = session.execute(
        "update ledger.lease set expires_at = clock_timestamp() + %s where load_id = %s returning source",
        (LEASE, load_id),
    ).fetchone()
    if row is None:
        raise _stale(load_id)


def hold_lease(session: Session, load_id: int) -> None:
    """Lock the lease until the transaction ends, so that nobody takes over while this load publishes.

    :raises StaleLoad: another load has taken its place.
    """
    if (
        session.execute("select 1 from ledger.lease where load_id = %s for update", (load_id,)).fetchone()
        is None
    ):
        raise _stale(load_id)


def release_lease(session: Session, source: str, run_id: str) -> None:
    """Free the source for the next run; no error when this run does not hold it."""
    session.execute("delete from ledger.lease where source = %s and run_id = %s", (source, run_id))


def _stale(load_id: int) -> StaleLoad:
    return StaleLoad(
        "another load has taken this one's place; nothing was written",
        where=f"load {load_id}",
        todo="nothing, if a newer run succeeded; otherwise clear the run, and it starts with a new load",
    )


def get_load(session: Session, load_id: int) -> Load:
    """One load."""
    with session.cursor(row_factory=class_row(Load)) as cursor:
        load = cursor.execute(
            "select load_id, source, run_id, kind, interval_start, interval_end, status, manifest"
            " from ledger.load where load_id = %s",
            (load_id,),
        ).fetchone()
    if load is None:
        raise StaleLoad("there is no such load in the ledger", where=f"load {load_id}", todo="clear the run")
    return load


def watermarks(session: Session, source: str) -> dict[str, Watermark]:
    """How far each stream of a source is committed."""
    rows = rows_of(
        session,
        "select stream, watermark, newest, schema_fingerprint, server, position, load_id, mark, log"
        " from ledger.watermark where source = %s",
        (source,),
    )
    for row in rows:
        row["mark"] = TransactionMark.from_json(row["mark"]) if row["mark"] else None
        row["log"] = LogMark(**row["log"]) if row["log"] else None
    return {row["stream"]: Watermark(**row) for row in rows}


def record_landed(session: Session, manifest: Manifest, key: str, extracted: dict[str, int]) -> None:
    """Note what a manifest lists. From now on the load can be published.

    :param extracted: rows that the reader handed out, by stream: counted apart from what was written.
    """
    with session.transaction():
        session.execute(
            "update ledger.load set status = 'landed', server = %s, position = %s, manifest = %s,"
            " snapshot_seconds = %s, landed_at = clock_timestamp() where load_id = %s",
            (manifest.server, list(manifest.position), key, manifest.snapshot_seconds, manifest.load_id),
        )
        with session.cursor() as cursor:
            cursor.executemany(
                "insert into ledger.load_stream (load_id, stream, mode, schema_fingerprint, watermark_from, watermark_to,"
                " newest, extracted, landed, keys, bytes, parts, seconds, changes)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    (
                        manifest.load_id, stream.stream, stream.mode, stream.schema.fingerprint, stream.watermark_from,
                        stream.watermark_to, stream.newest, extracted[stream.stream], stream.rows, stream.keys,
                        stream.bytes, len(stream.parts) + len(stream.key_parts or ()), stream.seconds,
                        json.dumps([asdict(change) for change in stream.changes]) if stream.changes else None,
                    )
                    for stream in manifest.streams
                ],
            )  # fmt: skip


def record_staged(session: Session, load_id: int, stream: str, rows: int, retried: int = 0) -> None:
    """Note how many rows stand in the staging batch. :param retried: of these, rows of the stream's quarantine."""
    session.execute(
        # What is published stays so, whatever a worker does that slept meanwhile.
        "update ledger.load_stream set status = 'staged', staged = %s, retried = %s, rejected = null, failures = null"
        " where load_id = %s and stream = %s and status <> 'published'",
        (rows, retried, load_id, stream),
    )


def record_audit(
    session: Session,
    load_id: int,
    stream: str,
    *,
    passed: bool,
    expectations: int,
    failures: list[dict[str, Any]],
    asked: dict[str, Any] | None = None,
) -> None:
    """Note an audit's verdict; a rejected batch is held back whole. :param asked: None leaves what an audit has noted."""
    session.execute(
        "update ledger.load_stream set status = %s, rejected = case when %s then 0 else staged end, expectations = %s,"
        " failures = %s, asked = coalesce(%s, asked) where load_id = %s and stream = %s and status <> 'published'",
        (
            "audited" if passed else "rejected",
            passed,
            expectations,
            json.dumps(failures, default=str),
            json.dumps(asked) if asked else None,
            load_id,
            stream,
        ),
    )


def record_gate(
    session: Session,
    transform: str,
    run_id: str,
    relation: str,
    *,
    passed: bool,
    expectations: int,
    failures: list[dict[str, Any]],
    asked: dict[str, Any],
) -> None:
    """Note what the gate found in one table of a candidate."""
    session.execute(
        "insert into ledger.gate_result (transform, run_id, relation, passed, expectations, failures, asked)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict (transform, run_id, relation) do update"
        " set passed = excluded.passed, expectations = excluded.expectations, failures = excluded.failures,"
        " asked = excluded.asked, audited_at = clock_timestamp()",
        (transform, run_id, relation, passed, expectations, json.dumps(failures, default=str), json.dumps(asked)),
    )  # fmt: skip


def record_end(session: Session, source: str, run_id: str, status: str, error: str | None) -> None:
    """Note that the newest load of a run ended without having been published."""
    session.execute(
        "update ledger.load set status = %s, error = %s where load_id ="
        " (select max(load_id) from ledger.load where source = %s and run_id = %s) and status in ('open', 'landed')",
        (status, error, source, run_id),
    )


def record_published(session: Session, load_id: int) -> None:
    """Note that what a load brings is in raw, as of this transaction."""
    session.execute(
        "update ledger.load set status = 'published', published_at = now() where load_id = %s", (load_id,)
    )


def found_equal(session: Session, source: str, period: timedelta) -> set[str]:
    """The streams of which raw was compared with its source within this time, and was equal."""
    rows = session.execute(
        "select distinct stream from ledger.reconciliation join ledger.load using (load_id)"
        " where source = %s and differing = 0 and reconciled_at > clock_timestamp() - %s",
        (source, period),
    )
    return {stream for (stream,) in rows}


def found_different(session: Session, load_id: int) -> list[dict[str, Any]]:
    """What was noted of the streams that differed from their source in a load."""
    query = "select * from ledger.reconciliation where load_id = %s and differing > 0 order by stream"
    return rows_of(session, query, (load_id,))


def record_reconciled(session: Session, load_id: int, stream: str, found: dict[str, Any]) -> None:
    """Note how raw compares with its source; a second time takes the place of the first."""
    session.execute(
        "insert into ledger.reconciliation (load_id, stream, source_rows, raw_rows, columns, buckets, differing, examples)"
        " values (%(load_id)s, %(stream)s, %(source_rows)s, %(raw_rows)s, %(columns)s, %(buckets)s, %(differing)s,"
        " %(examples)s) on conflict (load_id, stream) do update set raw_rows = excluded.raw_rows,"
        " differing = excluded.differing, examples = excluded.examples, reconciled_at = clock_timestamp()",
        {"load_id": load_id, "stream": stream, **found},
    )


def stream_rows(session: Session, load_id: int) -> list[dict[str, Any]]:
    """The rows of `ledger.load_stream` of a load, by stream."""
    return rows_of(session, "select * from ledger.load_stream where load_id = %s order by stream", (load_id,))


def rows_of(session: Session, query: str, parameters: Any) -> list[dict[str, Any]]:
    """The rows of a query, as mappings."""
    with session.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()
