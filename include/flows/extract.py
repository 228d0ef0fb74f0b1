"""From the source to the landing zone: all streams of a contract, in one snapshot."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from include.core.changes import Known
from include.core.checksum import Checksum
from include.core.errors import ContractError, TransientError
from include.core.interval import Interval
from include.core.manifest import Manifest, StreamManifest
from include.flows import reconcile
from include.flows.evolution import last_shapes, tell
from include.flows.following import follow, ready, release, same
from include.flows.reading import Reading, Tally
from include.flows.source_run import SourceRun
from include.landing import LandingZone
from include.privacy import ProtectedSnapshot, read_keys
from include.sources import Horizon, open_source
from include.warehouse import ledger, quarantine
from include.warehouse.connect import connected
from include.warehouse.origin import check_origin

if TYPE_CHECKING:
    from include.sources import Snapshot, Source

log = logging.getLogger("millrace.ingest")


@dataclass(frozen=True)
class Extraction:
    """What a load landed: its id, its manifest, and the streams to stage, with the bytes of their parts."""

    load_id: int
    manifest: str
    streams: dict[str, int]


def horizon(run: SourceRun, end: datetime) -> Horizon:
    """Whether all that the source stamps before `end` is committed. Only streams that are read by a stamp need to wait."""
    if all(stream.stamp is None for stream in run.contract.streams):
        return Horizon(True)
    return open_source(run.contract, run.connect(run.contract.connection)).horizon(end)


def extract(
    run: SourceRun,
    interval: Interval,
    *,
    backfill: bool = False,
    only: tuple[str, ...] = (),
    full_refresh: bool = False,
    compare: bool = False,
    retry: bool = False,
) -> Extraction:
    """Read all streams in one snapshot of the source into the landing zone.

    A regular load reads each increment from its watermark up to the snapshot, so that raw becomes a state that the
    source was in, and moves the watermark to the interval's end, which lies behind the commit horizon. A backfill, or
    the repetition of a past run, reads the interval alone and moves no watermark.

    :param only: names of streams; all when empty. :param full_refresh: read everything again; a backfill cannot.
    :param compare: raw shall be compared with the source once this load is published; also when the contract says so.
    :param retry: all rows in quarantine go along, not only those that somebody has asked for.
    :raises SchemaChanged, SourceForbidden, TypeNotExact, LeaseHeld, Unreachable: nothing has landed.
    :raises TerminalError: the source is another server, or has gone back in time, and this is no full refresh; or the keys
        that protect its values are missing.
    """
    _check_accepted(run, interval)
    keys = read_keys(run.connect(run.contract.privacy_keys)) if run.contract.privacy_keys else None
    source = open_source(run.contract, run.connect(run.contract.connection))
    stale = source.stale_upstreams()
    if stale:
        raise TransientError(
            "a system that feeds this source is late", where=run.where, received="; ".join(stale),
            todo="ask the source's owner; it is tried again",
        )  # fmt: skip
    # one for each connection, and, after them, one for each stream that the log tells of
    zone = run.zone(max(run.contract.impact.connections, len(run.contract.logged)))
    with connected(run.loader()) as session:
        known = ledger.watermarks(session, run.contract.source)
        kind = "backfill" if backfill or _is_past(run, interval, known) else "regular"
        load = ledger.open_load(session, run.contract.source, run.run_id, kind, interval)
        # Again, now that nobody else can publish: another worker of this run may just have done it.
        known = ledger.watermarks(session, run.contract.source)
        before = last_shapes(session, zone, run.contract.source)
        compared = reconcile.due(run.contract, compare, session) if kind == "regular" else frozenset()
        if retry:
            quarantine.ask(session, run.contract.source, only, by=run.run_id)
        asked = quarantine.asked(session, run.contract.source)
    log.info("load %s of %s: %s, interval %s", load.load_id, run.contract.source, kind, interval)
    full_refresh = full_refresh and kind == "regular"
    readings = [
        Reading(stream, known.get(stream.name), run.contract, interval, kind == "backfill", full_refresh)
        for stream in run.contract.streams
        if not only or stream.name in only
    ]
    for reading in readings:
        reading.check_retention()
        if not reading.wanted:
            log.info("%s: it has no past, so this run leaves it out", reading.stream.name)
    wanted = [reading for reading in readings if reading.wanted]
    with (
        run.lease_kept(load.load_id),
        _picture(run, source, wanted, known, Known(before, full_refresh)) as clear,
    ):
        opened = time.monotonic()
        snapshot = ProtectedSnapshot(clear, run.contract.streams, keys)
        tell(snapshot)
        if not full_refresh:
            names = [reading.stream.name for reading in wanted]
            check_origin(known, names, run.contract.source, snapshot.server, snapshot.position)
            release(run, known)  # where the load before could not
        moment = datetime.now(timezone.utc)
        shaped = [one.in_shape(snapshot, before.get(one.stream.name)).in_history(snapshot) for one in wanted]
        followed = [one for one in shaped if one.stream.mode == "log"]
        with ThreadPoolExecutor(run.contract.impact.connections, thread_name_prefix="read") as readers:
            reads = readers.map(
                lambda reading: _read(run, reading, snapshot, zone, load, moment),
                [one for one in shaped if one.log_mark is None],
            )
            computing = {
                one.stream.name: readers.submit(reconcile.checksum, snapshot, one.stream)
                for one in shaped
                if one.stream.name in compared
            }
            # After them, and also when all are read whole: then it tells how far it goes.
            told = (
                readers.submit(follow, run, followed, snapshot, zone, load.load_id, moment)
                if followed
                else None
            )
            landed = list(reads)
            sums = {name: one.result() for name, one in computing.items()}
            snapshot.unpin()  # the log may take longer, and needs nothing kept
            held = round(time.monotonic() - opened, 3)
            changes = told.result() if told else []
        landed = _marked(run, [*landed, *changes], snapshot, sums, asked)
    manifest = Manifest(
        source=run.contract.source,
        load_id=load.load_id,
        run_id=run.run_id,
        kind=kind,
        server=snapshot.server,
        position=snapshot.position,
        extracted_at=moment.isoformat(),
        streams=tuple(stream for stream, _ in landed),
        full_refresh=full_refresh,
        snapshot_seconds=held,
    )
    key = zone.commit(manifest, moment)
    with connected(run.loader()) as session:
        ledger.renew_lease(session, load.load_id)
        ledger.record_landed(session, manifest, key, {stream.stream: rows for stream, rows in landed})
    moved = {stream.stream: stream.bytes for stream in manifest.streams if stream.moves}
    return Extraction(load.load_id, key, moved)


@contextmanager
def _picture(
    run: SourceRun,
    source: Source,
    wanted: list[Reading],
    known: dict[str, ledger.Watermark],
    shapes: Known,
) -> Iterator[Snapshot]:
    logged = [reading.stream for reading in wanted if reading.stream.mode == "log"]
    definitions = ready(run, known) if logged else {}
    with source.snapshot([reading.stream for reading in wanted], shapes) as picture:
        if logged:
            same(run, definitions, picture, logged)
        yield picture


def _marked(
    run: SourceRun,
    landed: list[tuple[StreamManifest, int]],
    snapshot: Snapshot,
    sums: dict[str, Checksum | None],
    asked: dict[str, int],
) -> list[tuple[StreamManifest, int]]:
    """The same in the order of the contract, with what is known of them beside their rows: checksums, how many rows of their
    quarantine go along, and for those of mode log where the next load goes on."""
    order = [stream.name for stream in run.contract.streams]
    marked = [
        (
            replace(
                manifest,
                checksum=sums.get(manifest.stream),
                retried=asked.get(manifest.stream, 0),
                log=snapshot.log.mark(run.contract.stream(manifest.stream))
                if manifest.mode == "log" and snapshot.log
                else None,
            ),
            rows,
        )
        for manifest, rows in landed
    ]
    return sorted(marked, key=lambda one: order.index(one[0].stream))


def _read(
    run: SourceRun,
    reading: Reading,
    snapshot: Snapshot,
    zone: LandingZone,
    load: ledger.Load,
    moment: datetime,
) -> tuple[StreamManifest, int]:
    stream, started = reading.stream, time.monotonic()
    tally = Tally(stream)
    name = (run.contract.source, stream.name, load.load_id, moment)
    rows = tally.count(reading.rows(snapshot))
    parts = zone.write_rows(*name, rows, progress=tally.show)
    manifest = StreamManifest(
        stream=stream.name,
        mode=stream.mode,
        schema=snapshot.schemas[stream.name],
        parts=parts,
        key_parts=zone.write_rows(*name, snapshot.keys(stream), keys=True) if reading.keys else None,
        complete=reading.complete,
        watermark_from=reading.since.isoformat() if reading.since else None,
        watermark_to=reading.interval.end.isoformat() if stream.stamp and not reading.past else None,
        newest=tally.newest.isoformat() if tally.newest else None,
        seconds=round(time.monotonic() - started, 3),
        mark=snapshot.mark(stream) if not reading.past else None,
        changes=snapshot.changes[stream.name],
    )
    log.info(
        "%s: %s rows in %.1f s, %s bytes landed", stream.name, tally.rows, manifest.seconds, manifest.bytes
    )
    return manifest, tally.rows


def _check_accepted(run: SourceRun, interval: Interval) -> None:
    """What somebody accepted for a time has to be answered, or accepted again, once that time is over."""
    over = {name: kept for name, kept in run.contract.accepted().items() if kept.until < interval.end.date()}
    if over:
        raise ContractError(
            "what was accepted until a day is no longer accepted", where=run.where,
            received="; ".join(f"{name}: until {kept.until}, by {kept.by}" for name, kept in over.items()),
            todo="answer the question in the contract, or agree on a new `until`",
        )  # fmt: skip


def _is_past(run: SourceRun, interval: Interval, known: dict[str, ledger.Watermark]) -> bool:
    """Whether every watermark lies at or after the interval's end: a run of the past that is repeated.

    A stream that is not read by a stamp, or not any more, has none that would tell.
    """
    marks = [
        known[stream.name].watermark
        for stream in run.contract.streams
        if stream.stamp and stream.name in known
    ]
    times = [mark for mark in marks if mark is not None]
    return bool(times) and interval.start is not None and all(time >= interval.end for time in times)
