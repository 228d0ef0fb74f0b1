"""From audited staging batches into raw, and the books of the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from include.core.errors import BooksDoNotBalance, GateFailed, TerminalError
from include.core.manifest import StreamManifest
from include.flows import watch
from include.flows.books import unbalanced
from include.flows.following import check_held, release
from include.flows.quarantine import check_limit, set_dependents_aside
from include.flows.source_run import SourceRun
from include.warehouse import ledger
from include.warehouse import publish as warehouse
from include.warehouse.connect import connected
from include.warehouse.tables import Target

log = logging.getLogger("millrace.ingest")


@dataclass(frozen=True)
class Published:
    """What a load changed in raw: its manifest and kind, the ledger's row of each stream, the streams held back; and what
    it cost: bytes that landed, and seconds for which the source's snapshot was held."""

    load_id: int
    manifest: str
    kind: str
    streams: tuple[dict[str, Any], ...]
    bytes: int
    snapshot_seconds: float | None

    @property
    def rejected(self) -> tuple[str, ...]:
        return tuple(row["stream"] for row in self.streams if row["status"] == "rejected")

    @property
    def changed(self) -> dict[str, int]:
        """Rows inserted, updated or deleted in raw, by stream."""
        return {
            row["stream"]: row["inserted"] + row["updated"] + row["deleted"]
            for row in self.streams
            if row["status"] == "published"
        }


def publish(run: SourceRun, load_id: int) -> Published:
    """Bring what passed into raw, in one transaction with watermarks and ledger.

    :raises GateFailed: a batch was rejected and the contract stops the whole source for that; raw is untouched.
    :raises StaleLoad: another load has taken this one's place. :raises BreakerTripped: too many rows would go.
    """
    with connected(run.loader()) as session:
        manifest = run.manifest(session, load_id)
        if ledger.get_load(session, load_id).status == "landed":
            watch.nothing_new(run, session, manifest)
        rows = ledger.stream_rows(session, load_id)
        status = {row["stream"]: row["status"] for row in rows}
        rejected = sorted(name for name, state in status.items() if state == "rejected")
        # What is held back for its shape, or with such a stream, was not judged.
        failed = [row["stream"] for row in rows if row["status"] == "rejected" and row["expectations"]]
        if run.contract.holds_streams:
            rejected = _with_dependents(run, session, load_id, rejected, set(status))
        if failed and run.contract.on_failed_audit == "stop_source":
            raise GateFailed(
                "batches were rejected by their audit, so nothing of this load is published", where=run.where,
                received=", ".join(failed), allowed="every batch passes (on_failed_audit: stop_source)",
                todo="see the failing rows in the audit's log; correct the source or the contract, then clear the run",
            )  # fmt: skip
        waiting = [s.stream for s in manifest.streams if s.moves and status[s.stream] in ("landed", "staged")]
        if waiting:
            raise TerminalError(
                "batches were not audited, so nothing is published", where=run.where, received=", ".join(waiting),
                todo="see why their stage or audit did not finish, then clear the run",
            )  # fmt: skip
        set_dependents_aside(run, session, manifest)
        passed = [
            warehouse.Publication(stream, target_of(run, stream))
            for stream in manifest.streams
            if stream.stream not in rejected
        ]
        for name, counts in warehouse.publish(session, manifest, passed, rejected=bool(rejected)).items():
            log.info("%s: %s", name, ", ".join(f"{count} {what}" for what, count in vars(counts).items()))
        rows = ledger.stream_rows(session, load_id)
        load = ledger.get_load(session, load_id)
        known = ledger.watermarks(session, run.contract.source)
    release(run, known)
    size = sum(stream.bytes for stream in manifest.streams)
    return Published(load_id, load.manifest or "", load.kind, tuple(rows), size, manifest.snapshot_seconds)


def _with_dependents(
    run: SourceRun, session: Any, load_id: int, rejected: list[str], read: set[str]
) -> list[str]:
    """What is held back together with the rejected streams: those that must not refer to a row that is not published."""
    held = set(rejected)
    while True:
        pulled = {
            stream.name: reference.stream
            for stream in run.contract.streams
            for reference in stream.references
            if stream.name in read - held and reference.severity == "critical" and reference.stream in held
        }
        if not pulled:
            return sorted(held)
        for name, parent in pulled.items():
            log.error("%s is held back too: it refers to %s", name, parent)
            why = {"rule": f"refers to {parent}, which is held back", "severity": "critical"}
            ledger.record_audit(session, load_id, name, passed=False, expectations=0, failures=[why])
        held |= set(pulled)


def target_of(run: SourceRun, landed: StreamManifest) -> Target:
    """The raw table of a stream, in the shape that a load landed, with the rules of the contract."""
    stream = run.contract.stream(landed.stream)
    return Target(
        schema=run.contract.raw_schema,
        table=stream.name,
        shape=landed.schema,
        sees_deletes=stream.sees_deletes,
        tombstones=stream.deleted_rows == "tombstone",
        max_delete_share=stream.max_delete_share,
        cursor=stream.stamp,
        may_repeat_keys=run.contract.duplicates != "none",
        keeps_history=stream.history == "append",
    )


def balance(run: SourceRun, load_id: int) -> list[dict[str, Any]]:
    """Check the books of a load and the freshness of what it read. Returns the ledger's rows by stream.

    :raises BooksDoNotBalance: rows counted at two places differ.
    :raises GateFailed: the source's newest rows are older than the contract allows.
    """
    with connected(run.loader()) as session:
        rows = ledger.stream_rows(session, load_id)
        known = ledger.watermarks(session, run.contract.source)
    wrong = [text for row in rows for text in unbalanced(row)]
    if wrong:
        raise BooksDoNotBalance(
            "rows are missing or too many", where=f"{run.where}, load {load_id}", received="; ".join(wrong),
            allowed="extracted = landed; landed + retried = staged = inserted + updated + unchanged + duplicates + rejected"
            " + quarantined",
            todo="keep the landing zone as it is and report this: it must not happen",
        )  # fmt: skip
    _check_freshness(run, {row["stream"] for row in rows}, known)
    check_held(run)
    check_limit(run)
    return rows


def close(run: SourceRun, load_id: int | None) -> tuple[str, ...]:
    """Free the source for the next run, however this one went. Returns the streams that were held back.

    :param load_id: None when the run ended before it landed anything.
    """
    with connected(run.loader()) as session:
        ledger.release_lease(session, run.contract.source, run.run_id)
        rows = ledger.stream_rows(session, load_id) if load_id is not None else []
        held = tuple(row["stream"] for row in rows if row["status"] == "rejected")
        status, why = (
            ("rejected", f"audit failed: {', '.join(held)}")
            if held
            else ("failed", "ended before it published")
        )
        ledger.record_end(session, run.contract.source, run.run_id, status, why)
    return held


def _check_freshness(run: SourceRun, read: set[str], known: dict[str, ledger.Watermark]) -> None:
    now = datetime.now(timezone.utc)
    old = [
        f"{stream.name}: newest row of {known[stream.name].newest}, allowed age {stream.freshness}"
        for stream in run.contract.streams
        if stream.freshness is not None and stream.name in read & set(known)
        and now - (known[stream.name].newest or datetime.min.replace(tzinfo=timezone.utc)) > stream.freshness
    ]  # fmt: skip
    if old:
        raise GateFailed(
            "the source's newest rows are too old; what it had is published", where=run.where,
            received="; ".join(old), todo=f"ask the source's owner: {run.contract.owner.contact}",
        )  # fmt: skip
