"""From the landing zone to staging batches, and their audit: nobody sees these rows yet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from include.core.changes import correction
from include.core.contracts.source import Stream
from include.core.errors import StaleLoad, TransientError
from include.core.manifest import Manifest, StreamManifest
from include.core.quoting import identifier
from include.flows import watch
from include.flows.publish import target_of
from include.flows.quarantine import judge
from include.flows.source_run import SourceRun
from include.landing import LandingZone
from include.quality import gate, suites
from include.warehouse import changes, ledger, quarantine, staging
from include.warehouse.connect import connected

log = logging.getLogger("millrace.ingest")


def stage(run: SourceRun, load_id: int, *streams: str) -> int:
    """Copy streams of a load from the landing zone into their staging batches. Returns the rows of all."""
    total = 0
    with _working(run, load_id, streams) as (session, batches):
        zone = run.zone()
        for _, landed in batches:
            rows = _stage(run, session, zone, load_id, landed)
            log.info("%s: %s rows staged", landed.stream, rows)
            total += rows
    return total


def _stage(run: SourceRun, session: Any, zone: LandingZone, load_id: int, landed: StreamManifest) -> int:
    stream, rows, retried = landed.stream, zone.read_rows(landed.parts), 0
    if landed.key_parts is not None:
        keys = landed.schema.only(landed.schema.primary_key)
        table = staging.table_name(load_id, stream, keys=True)
        staging.stage(session, table, keys, zone.read_rows(landed.key_parts), landed.keys or 0)
    if landed.holds_changes:
        staged = changes.stage(session, target_of(run, landed), load_id, landed, rows)
    else:
        table = staging.table_name(load_id, stream)
        staged = staging.stage(session, table, landed.schema, rows, landed.rows)
        if not landed.held_back:  # else values may not fit into its columns
            retried = quarantine.take_along(session, run.contract.source, landed, load_id)
    ledger.record_staged(session, load_id, stream, staged + retried, retried)
    return staged + retried


def audit(run: SourceRun, load_id: int, *streams: str) -> list[gate.Verdict]:
    """Judge staging batches. Each verdict is in the ledger before the next batch is looked at."""
    verdicts = []
    with _working(run, load_id, streams) as (session, batches):
        for manifest, landed in batches:
            verdict = watch.batch(run, session, manifest, landed, _audit(run, session, manifest, landed))
            ledger.record_audit(
                session, load_id, landed.stream,
                passed=verdict.passed, failures=verdict.to_json(), asked=verdict.asked_json(),
                expectations=0 if landed.held_back else verdict.expectations,  # its rows were not judged
            )  # fmt: skip
            log.log(logging.INFO if verdict.passed else logging.ERROR, "%s", verdict)
            verdicts.append(verdict)
    return verdicts


def _audit(run: SourceRun, session: Any, manifest: Manifest, landed: StreamManifest) -> gate.Verdict:
    if landed.held_back:
        return _held_back(run, landed)
    stream, load_id = landed.stream, manifest.load_id
    declared = _as_read(run.contract.stream(stream), landed)
    span, live = _growth(run, session, load_id, landed)
    facts = suites.BatchFacts(
        complete=landed.complete,
        span=span,
        live=live,
        parents=_parents(run, session, manifest, declared),
    )
    expectations = [
        *suites.derived(run.contract, declared, facts),
        *suites.written(run.contract.raw_schema, stream),
    ]
    verdict = gate.audit(
        run.loader(),
        staging.SCHEMA,
        staging.table_name(load_id, stream),
        expectations,
        key=declared.primary_key,
        personal=frozenset(name for name, rule in declared.columns.items() if rule.pii),
    )
    return judge(run, session, load_id, landed, verdict, expectations)


@contextmanager
def _working(
    run: SourceRun, load_id: int, streams: tuple[str, ...]
) -> Iterator[tuple[Any, list[tuple[Manifest, StreamManifest]]]]:
    """A session at the warehouse, and what the load has landed of these streams; nothing when it is published already."""
    with run.lease_kept(load_id), connected(run.loader()) as session:
        if _published(run, session, load_id):
            yield session, []
            return
        ledger.renew_lease(session, load_id)
        manifest = run.manifest(session, load_id)
        yield session, [(manifest, manifest.stream(stream)) for stream in streams]


def _held_back(run: SourceRun, landed: StreamManifest) -> gate.Verdict:
    """Hold the batch back for what has changed at the source; its rows are not judged, they may be of other types."""
    failures = tuple(
        gate.Failure(f"the source's shape is the contract's: {change}", "critical", None, None, (), "")
        for change in landed.changes
        if change.answer == "quarantine"
    )
    log.error("%s", correction({landed.stream: landed.changes}))
    return gate.Verdict(f"{run.contract.raw_schema}.{landed.stream}", len(failures), failures)


def _as_read(declared: Stream, landed: StreamManifest) -> Stream:
    """The stream without rules for columns that the source no longer has."""
    columns = {name: rule for name, rule in declared.columns.items() if name in landed.schema.names}
    return declared.model_copy(update={"columns": columns})


def _parents(
    run: SourceRun, session: Any, manifest: Manifest, declared: Stream
) -> dict[str, tuple[str, ...]]:
    """For each stream that this one refers to, the relations that together hold its rows once the load is published.

    Left out are streams of which this load knows too little to call a row an orphan: one that it did not read, and one
    of which a backfill has read an interval while raw has nothing of it yet.
    """
    parents: dict[str, tuple[str, ...]] = {}
    for name in {reference.stream for reference in declared.references}:
        landed = next((other for other in manifest.streams if other.stream == name), None)
        raw = identifier(run.contract.raw_schema, name)
        batch = identifier(staging.SCHEMA, staging.table_name(manifest.load_id, name))
        in_raw, staged = session.execute(
            "select to_regclass(%s) is not null, to_regclass(%s) is not null", (raw, batch)
        ).fetchone()
        if landed is None or (manifest.kind == "backfill" and not in_raw):
            continue
        if landed.moves and not staged:
            raise TransientError(
                "the batch it refers to is not staged", where=f"{run.where}, load {manifest.load_id}", received=name,
                todo="it is tried again; if it stays so, clear the run",
            )  # fmt: skip
        live = f"(select * from {raw} where _deleted_at is null)"
        parents[name] = ((live,) if in_raw else ()) + ((batch,) if staged else ())
    return parents


def _published(run: SourceRun, session: Any, load_id: int) -> bool:
    """Whether the load is done with: repeating a step of it then changes nothing.

    :raises StaleLoad: it ended in another way, and only a new load can take its place.
    """
    status = ledger.get_load(session, load_id).status
    if status == "published":
        log.info("load %s is published already; nothing to do", load_id)
        return True
    if status != "landed":
        raise StaleLoad(
            f"the load is {status}", where=f"{run.where}, load {load_id}", allowed="a load that has landed",
            todo="clear the run from its extract task on; it then starts with a new load",
        )  # fmt: skip
    return False


def _growth(
    run: SourceRun, session: Any, load_id: int, landed: StreamManifest
) -> tuple[timedelta | None, int]:
    """The time in which the new rows of a batch were generated, and how many of its rows raw holds already.

    The time is None when nothing is known of it: at the first load, in a backfill, and when a stream with a cursor was
    read whole. What is read by its transactions may come many times while another one is open, so there, and of a log, only
    rows count that are new to raw.
    """
    if landed.mode == "incremental" and landed.mark is None:
        if landed.watermark_from is None or landed.watermark_to is None:
            return None, 0
        return datetime.fromisoformat(landed.watermark_to) - datetime.fromisoformat(landed.watermark_from), 0
    last = ledger.watermarks(session, run.contract.source).get(landed.stream)
    raw = identifier(run.contract.raw_schema, landed.stream)
    if last is None or not session.execute("select to_regclass(%s) is not null", (raw,)).fetchone()[0]:
        return None, 0
    held = f"select count(*) from {raw} where _deleted_at is null"
    if landed.mark is not None or landed.log is not None:
        if landed.complete:
            return None, 0
        key = ", ".join(identifier(name) for name in landed.schema.primary_key)
        batch = identifier(staging.SCHEMA, staging.table_name(load_id, landed.stream))
        held += f" and ({key}) in (select {key} from {batch})"
    (live,) = session.execute(held).fetchone()
    before, now = (ledger.get_load(session, one).interval_end for one in (last.load_id, load_id))
    return now - before, live
