"""Bringing one source into raw: read in one snapshot, landed, staged, audited, published in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from include.core.connection import Connection
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import BooksDoNotBalance, GateFailed, StaleLoad, TerminalError, TransientError
from include.core.interval import Interval
from include.core.manifest import Manifest, StreamManifest
from include.core.quoting import identifier
from include.flows.books import unbalanced
from include.flows.reading import Reading, Tally
from include.landing import LandingZone, ObjectStore
from include.quality import gate, suites
from include.sources import Horizon, open_source
from include.warehouse import ledger, staging
from include.warehouse.connect import connected
from include.warehouse.merge import Target
from include.warehouse.publish import Publication, publish

if TYPE_CHECKING:
    from include.sources import Snapshot

log = logging.getLogger("millrace.ingest")


@dataclass(frozen=True)
class Extraction:
    """What a load landed: its id, its manifest, and the streams that have something to stage."""

    load_id: int
    manifest: str
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """What a load changed in raw: its manifest and kind, the ledger's row of each stream, the streams held back."""

    load_id: int
    manifest: str
    kind: str
    streams: tuple[dict[str, Any], ...]

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


class Ingest:
    """One run of one source. `connect` finds a connection by its id."""

    def __init__(self, contract: SourceContract, connect: Callable[[str], Connection], run_id: str) -> None:
        self.contract = contract
        self.run_id = run_id
        self._connect = connect
        self._where = f"source {contract.source!r}"

    def horizon(self, end: datetime) -> Horizon:
        """Whether all that the source stamps before `end` is committed. Only streams with a cursor need to wait."""
        if all(stream.cursor is None for stream in self.contract.streams):
            return Horizon(True)
        return open_source(self.contract, self._connect(self.contract.connection)).horizon(end)

    def extract(
        self, interval: Interval, *, backfill: bool = False, only: tuple[str, ...] = (), full_refresh: bool = False
    ) -> Extraction:
        """Read all streams in one snapshot of the source into the landing zone.

        A regular load reads each increment from its watermark up to the snapshot, so that raw becomes a state that the
        source was in, and moves the watermark to the interval's end, which lies behind the commit horizon. A backfill, or
        the repetition of a past run, reads the interval alone and moves no watermark.

        :param only: names of streams; all when empty. :param full_refresh: read everything again.
        :raises SchemaChanged, SourceForbidden, TypeNotExact, LeaseHeld, Unreachable: nothing has landed.
        """
        source = open_source(self.contract, self._connect(self.contract.connection))
        stale = source.stale_upstreams()
        if stale:
            raise TransientError(
                "a system that feeds this source is late", where=self._where, received="; ".join(stale),
                todo="ask the source's owner; it is tried again",
            )  # fmt: skip
        zone = self._zone()
        with connected(self._loader()) as session:
            known = ledger.watermarks(session, self.contract.source)
            kind = "backfill" if backfill or _is_past(interval, known) else "regular"
            load = ledger.open_load(session, self.contract.source, self.run_id, kind, interval)
        log.info("load %s of %s: %s, interval %s", load.load_id, self.contract.source, kind, interval)
        readings = [
            Reading(stream, known.get(stream.name), self.contract, interval, kind == "backfill", full_refresh)
            for stream in self.contract.streams
            if not only or stream.name in only
        ]
        for reading in readings:
            reading.check_retention()
            if not reading.wanted:
                log.info("%s: a snapshot has no past, so this run leaves it out", reading.stream.name)
        wanted = [reading for reading in readings if reading.wanted]
        with source.snapshot([reading.stream for reading in wanted]) as snapshot:
            moment = datetime.now(timezone.utc)
            with ThreadPoolExecutor(self.contract.impact.connections, thread_name_prefix="read") as readers:
                landed = list(readers.map(lambda reading: self._read(reading, snapshot, zone, load, moment), wanted))
        manifest = Manifest(
            source=self.contract.source,
            load_id=load.load_id,
            run_id=self.run_id,
            kind=kind,
            server=snapshot.server,
            position=snapshot.position,
            extracted_at=moment.isoformat(),
            streams=tuple(stream for stream, _ in landed),
        )
        key = zone.commit(manifest, moment)
        with connected(self._loader()) as session:
            ledger.renew_lease(session, load.load_id)
            ledger.record_landed(session, manifest, key, {stream.stream: rows for stream, rows in landed})
        return Extraction(load.load_id, key, tuple(stream.stream for stream in manifest.streams if stream.moves))

    def _read(
        self, reading: Reading, snapshot: Snapshot, zone: LandingZone, load: ledger.Load, moment: datetime
    ) -> tuple[StreamManifest, int]:
        stream, started = reading.stream, time.monotonic()
        tally = Tally(self._heartbeat(load.load_id), stream)
        name = (self.contract.source, stream.name, load.load_id, moment)
        rows = tally.count(snapshot.rows(stream, reading.since, reading.before))
        parts = zone.write_rows(*name, rows, progress=tally.show)
        manifest = StreamManifest(
            stream=stream.name,
            mode=stream.mode,
            schema=snapshot.schemas[stream.name],
            parts=parts,
            key_parts=zone.write_rows(*name, snapshot.keys(stream), keys=True) if reading.keys else None,
            complete=reading.complete,
            watermark_from=reading.since.isoformat() if reading.since else None,
            watermark_to=reading.interval.end.isoformat() if stream.cursor and not reading.past else None,
            newest=tally.newest.isoformat() if tally.newest else None,
            seconds=round(time.monotonic() - started, 3),
        )
        log.info("%s: %s rows in %.1f s, %s bytes landed", stream.name, tally.rows, manifest.seconds, manifest.bytes)
        return manifest, tally.rows

    def stage(self, load_id: int, stream: str) -> int:
        """Copy one stream of a load from the landing zone into its staging batch. Returns its rows."""
        zone, heartbeat = self._zone(), self._heartbeat(load_id)
        with connected(self._loader()) as session:
            if self._published(session, load_id):
                return 0
            ledger.renew_lease(session, load_id)
            landed = self._manifest(session, zone, load_id).stream(stream)
            table, keys_table = (staging.table_name(load_id, stream, keys=keys) for keys in (False, True))
            rows = staging.stage(session, table, landed.schema, zone.read_rows(landed.parts), landed.rows, heartbeat)
            if landed.key_parts is not None:
                keys = landed.schema.only(landed.schema.primary_key)
                staging.stage(session, keys_table, keys, zone.read_rows(landed.key_parts), landed.keys or 0, heartbeat)
            ledger.record_staged(session, load_id, stream, rows)
        log.info("%s: %s rows staged", stream, rows)
        return rows

    def audit(self, load_id: int, stream: str) -> gate.Verdict:
        """Judge one staging batch. The verdict is in the ledger before it is returned."""
        declared = self.contract.stream(stream)
        with connected(self._loader()) as session:
            if self._published(session, load_id):
                return gate.Verdict(f"{self.contract.raw_schema}.{stream}", 0, ())
            ledger.renew_lease(session, load_id)
            manifest = self._manifest(session, self._zone(), load_id)
            landed = manifest.stream(stream)
            facts = suites.BatchFacts(
                complete=landed.complete,
                first=stream not in ledger.watermarks(session, self.contract.source),
                span=_span(landed),
                parents={r.stream: self._rows_of(session, manifest, r.stream) for r in declared.references},
            )
            verdict = gate.audit(
                self._loader(),
                staging.SCHEMA,
                staging.table_name(load_id, stream),
                [*suites.derived(self.contract, declared, facts), *suites.written(self.contract.raw_schema, stream)],
                key=declared.primary_key,
                personal=frozenset(name for name, rule in declared.columns.items() if rule.pii),
            )
            ledger.record_audit(
                session, load_id, stream,
                passed=verdict.passed, expectations=verdict.expectations, failures=verdict.to_json(),
            )  # fmt: skip
        log.log(logging.INFO if verdict.passed else logging.ERROR, "%s", verdict)
        return verdict

    def _rows_of(self, session: Any, manifest: Manifest, stream: str) -> tuple[str, ...]:
        """The relations that together hold a stream's rows once this load is published."""
        raw = identifier(self.contract.raw_schema, stream)
        batch = identifier(staging.SCHEMA, staging.table_name(manifest.load_id, stream))
        there = session.execute("select to_regclass(%s) is not null, to_regclass(%s) is not null", (raw, batch)).fetchone()
        if not there[1] and any(other.stream == stream and other.moves for other in manifest.streams):
            raise TransientError(
                "the batch it refers to is not staged", where=f"{self._where}, load {manifest.load_id}", received=stream,
                todo="it is tried again; if it stays so, clear the run",
            )  # fmt: skip
        return ((f"{raw} where _deleted_at is null",) if there[0] else ()) + ((batch,) if there[1] else ())

    def publish(self, load_id: int) -> Published:
        """Bring what passed into raw, in one transaction with watermarks and ledger.

        :raises GateFailed: a batch was rejected and the contract stops the whole source for that; raw is untouched.
        :raises StaleLoad: another load has taken this one's place. :raises BreakerTripped: too many rows would go.
        """
        with connected(self._loader()) as session:
            manifest = self._manifest(session, self._zone(), load_id)
            status = {row["stream"]: row["status"] for row in ledger.stream_rows(session, load_id)}
            rejected = sorted(name for name, state in status.items() if state == "rejected")
            if rejected and self.contract.on_failed_audit == "stop_source":
                raise GateFailed(
                    "batches were rejected by their audit, so nothing of this load is published", where=self._where,
                    received=", ".join(rejected), allowed="every batch passes (on_failed_audit: stop_source)",
                    todo="see the failing rows in the audit's log; correct the source or the contract, then clear the run",
                )  # fmt: skip
            waiting = [s.stream for s in manifest.streams if s.moves and status[s.stream] in ("landed", "staged")]
            if waiting:
                raise TerminalError(
                    "batches were not audited, so nothing is published", where=self._where, received=", ".join(waiting),
                    todo="see why their stage or audit did not finish, then clear the run",
                )  # fmt: skip
            passed = [self._publication(stream) for stream in manifest.streams if stream.stream not in rejected]
            for name, counts in publish(session, manifest, passed, rejected=bool(rejected)).items():
                log.info("%s: %s", name, counts)
            rows = ledger.stream_rows(session, load_id)
            load = ledger.get_load(session, load_id)
        return Published(load_id, load.manifest or "", load.kind, tuple(rows))

    def _publication(self, landed: StreamManifest) -> Publication:
        stream = self.contract.stream(landed.stream)
        target = Target(
            schema=self.contract.raw_schema,
            table=stream.name,
            shape=landed.schema,
            sees_deletes=stream.deletes != "none",
            tombstones=stream.deleted_rows == "tombstone",
            max_delete_share=stream.max_delete_share,
            newest_wins_by=stream.cursor if self.contract.duplicates == "newest_wins" else None,
        )
        return Publication(landed, target)

    def balance(self, load_id: int) -> list[dict[str, Any]]:
        """Check the books of a load and the freshness of what it read. Returns the ledger's rows by stream.

        :raises BooksDoNotBalance: rows counted at two places differ.
        :raises GateFailed: the source's newest rows are older than the contract allows.
        """
        with connected(self._loader()) as session:
            rows = ledger.stream_rows(session, load_id)
            known = ledger.watermarks(session, self.contract.source)
        wrong = [text for row in rows for text in unbalanced(row)]
        if wrong:
            raise BooksDoNotBalance(
                "rows are missing or too many", where=f"{self._where}, load {load_id}", received="; ".join(wrong),
                allowed="extracted = landed = staged = inserted + updated + unchanged + duplicates + rejected",
                todo="keep the landing zone as it is and report this: it must not happen",
            )  # fmt: skip
        self._check_freshness({row["stream"] for row in rows}, known)
        return rows

    def close(self, load_id: int | None) -> tuple[str, ...]:
        """Free the source for the next run, however this one went. Returns the streams that were held back.

        :param load_id: None when the run ended before it landed anything.
        """
        with connected(self._loader()) as session:
            ledger.release_lease(session, self.contract.source, self.run_id)
            rows = ledger.stream_rows(session, load_id) if load_id is not None else []
            held = tuple(row["stream"] for row in rows if row["status"] == "rejected")
            status, why = ("rejected", f"audit failed: {', '.join(held)}") if held else ("failed", "ended before it published")
            ledger.record_end(session, self.contract.source, self.run_id, status, why)
        return held

    def _check_freshness(self, read: set[str], known: dict[str, ledger.Watermark]) -> None:
        now = datetime.now(timezone.utc)
        old = [
            f"{stream.name}: newest row of {known[stream.name].newest}, allowed age {stream.freshness}"
            for stream in self.contract.streams
            if stream.freshness is not None and stream.name in read & set(known)
            and now - (known[stream.name].newest or datetime.min.replace(tzinfo=timezone.utc)) > stream.freshness
        ]  # fmt: skip
        if old:
            raise GateFailed(
                "the source's newest rows are too old; what it had is published", where=self._where,
                received="; ".join(old), todo=f"ask the source's owner: {self.contract.owner.contact}",
            )  # fmt: skip

    def _loader(self) -> Connection:
        return self._connect("warehouse_loader")

    def _zone(self) -> LandingZone:
        return LandingZone(ObjectStore(self._connect("landing")))

    def _heartbeat(self, load_id: int) -> Callable[[int], None]:
        """Called often while long work goes on; renews the lease now and then."""
        last = [time.monotonic()]

        def beat(_rows: int) -> None:
            if time.monotonic() - last[0] > ledger.LEASE.total_seconds() / 5:
                last[0] = time.monotonic()
                with connected(self._loader()) as session:
                    ledger.renew_lease(session, load_id)

        return beat

    def _published(self, session: Any, load_id: int) -> bool:
        """Whether the load is done with: repeating a step of it then changes nothing.

        :raises StaleLoad: it ended in another way, and only a new load can take its place.
        """
        status = ledger.get_load(session, load_id).status
        if status == "published":
            log.info("load %s is published already; nothing to do", load_id)
            return True
        if status != "landed":
            raise StaleLoad(
                f"the load is {status}", where=f"{self._where}, load {load_id}", allowed="a load that has landed",
                todo="clear the run from its extract task on; it then starts with a new load",
            )  # fmt: skip
        return False

    def _manifest(self, session: Any, zone: LandingZone, load_id: int) -> Manifest:
        key = ledger.get_load(session, load_id).manifest
        if not key:
            raise TerminalError("the load has not landed", where=f"{self._where}, load {load_id}", todo="clear the run")
        return zone.manifest(key)


def _is_past(interval: Interval, known: dict[str, ledger.Watermark]) -> bool:
    """Whether every watermark lies at or after the interval's end: a run of the past that is repeated."""
    marks = [mark.watermark for mark in known.values() if mark.watermark is not None]
    return bool(marks) and interval.start is not None and all(mark >= interval.end for mark in marks)


def _span(landed: StreamManifest) -> Any:
    if landed.watermark_from is None or landed.watermark_to is None:
        return None
    return datetime.fromisoformat(landed.watermark_to) - datetime.fromisoformat(landed.watermark_from)
