"""Bad rows of a batch: whether they can be set aside while the others go on, and whatever depends on them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from include.core.errors import GateFailed
from include.core.manifest import Manifest, StreamManifest
from include.core.quoting import identifier
from include.flows.source_run import SourceRun
from include.quality import gate
from include.warehouse import quarantine, set_aside, staging
from include.warehouse.connect import connected

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

log = logging.getLogger("millrace.ingest")

#: Bad rows that are never too many: a share of a small batch says nothing.
FEW = 10


def judge(
    run: SourceRun,
    session: Any,
    load_id: int,
    landed: StreamManifest,
    verdict: gate.Verdict,
    expectations: Sequence[Expectation],
) -> gate.Verdict:
    """The verdict on a batch without its bad rows, which are set aside; the same verdict when that is not possible."""
    stream = landed.stream
    set_aside.clear(session, load_id, stream)
    quarantine.mark_dropped(session, run.contract.source, landed, load_id)
    if verdict.passed or not run.contract.quarantines(run.contract.stream(stream)):
        return verdict
    seen = set_aside.seen(session, load_id, stream)
    table = staging.table_name(load_id, stream)
    found = gate.bad_rows(run.loader(), staging.SCHEMA, table, seen, expectations)
    if found is None:
        return verdict
    set_aside.mark(session, load_id, stream, found)
    # of those that were dropped somebody knows
    bad = set_aside.count(session, load_id, stream, but=quarantine.DROPPED)
    if excess := _excess(run, session, load_id, stream, bad):
        set_aside.clear(session, load_id, stream)
        return replace(verdict, failures=(*verdict.failures, excess))
    log.warning("%s: %s bad rows are set aside, the others go on", stream, bad)
    failures = [
        replace(one, severity="quarantine" if bad else "dropped") if one.severity == "critical" else one
        for one in verdict.failures
    ]
    return replace(verdict, failures=tuple(failures))


def set_dependents_aside(run: SourceRun, session: Any, manifest: Manifest) -> None:
    """Rows that refer to a row in quarantine go with it, and what refers to them.

    :raises GateFailed: that makes them more than the contract allows.
    """
    read = {one.stream: one for one in manifest.streams if one.moves and not one.holds_changes}
    if not any(set_aside.count(session, manifest.load_id, name) for name in read):
        return
    while True:
        more = 0
        for stream in run.contract.streams:
            for reference in stream.references:
                if reference.severity != "critical" or not {stream.name, reference.stream} <= set(read):
                    continue
                key = run.contract.stream(reference.stream).primary_key
                more += set_aside.mark_dependents(
                    session, manifest.load_id, read[stream.name], read[reference.stream],
                    dict(zip(key, reference.columns, strict=True)),
                    _raw(run, session, reference.stream),
                )  # fmt: skip
        if not more:
            break
    for name in read:
        bad = set_aside.count(session, manifest.load_id, name, but=quarantine.DROPPED)
        if excess := _excess(run, session, manifest.load_id, name, bad):
            raise GateFailed(
                "too many rows would be set aside, with those that refer to bad ones", where=f"{run.where}, stream {name!r}",
                received=excess.observed, allowed=excess.rule,
                todo="correct the rows at the source, or the rule, then clear the run",
            )  # fmt: skip


def check_limit(run: SourceRun) -> None:
    """:raises GateFailed: rows are in quarantine for longer than the contract allows."""
    since = datetime.now(timezone.utc) - run.contract.quarantine_limit
    with connected(run.loader()) as session:
        old = quarantine.held_since(session, run.contract.source, since)
    if old:
        raise GateFailed(
            "rows are in quarantine for too long; what this load had is published", where=run.where,
            received=", ".join(f"{rows} of {stream}" for stream, rows in old.items()),
            allowed=f"quarantine_limit: {run.contract.quarantine_limit}",
            todo=f"see them with: millrace quarantine list {run.contract.source}; then fix, retry or drop them",
        )  # fmt: skip


def _excess(run: SourceRun, session: Any, load_id: int, stream: str, bad: int) -> gate.Failure | None:
    share = run.contract.tolerance()
    rows = set_aside.staged(session, load_id, stream)
    if bad <= max(FEW, share * rows):
        return None
    rule = f"errors_tolerated: {share:.2%} of the rows, or {FEW}"
    return gate.Failure(rule, "critical", bad, rows, (), f"{bad} of {rows} rows are bad")


def _raw(run: SourceRun, session: Any, stream: str) -> str | None:
    raw = identifier(run.contract.raw_schema, stream)
    there = session.execute("select to_regclass(%s) is not null", (raw,)).fetchone()[0]
    return raw if there else None
