"""Watching data: the figures of each batch and of each mart's table, held against their history.

A figure that is out of its limits becomes a failure of the audit, of the severity that the contract says; by itself a
warning, which is told and stops nothing. Every figure is kept, also those of which nobody is told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from include.core import chart
from include.core.contracts.watch import Watch
from include.core.control import METRICS, NEEDED, Figure, Judgement, Point, judge
from include.core.manifest import Manifest, StreamManifest
from include.flows.source_run import SourceRun
from include.quality import gate
from include.warehouse import ledger, metrics, staging
from include.warehouse.profile import profile, shape

log = logging.getLogger("millrace.watch")
#: Points of the past in a chart.
CHARTED = 30


def batch(
    run: SourceRun, session: Any, manifest: Manifest, landed: StreamManifest, verdict: gate.Verdict
) -> gate.Verdict:
    """The verdict on a staging batch, with what its figures say. Of one that was not judged for its shape, nothing."""
    if landed.held_back:
        return verdict
    stream = run.contract.stream(landed.stream)
    about, left_out = _about(run, session, manifest, landed)
    figures = profile(
        session, staging.SCHEMA, staging.table_name(manifest.load_id, landed.stream), about.at,
        personal=frozenset(name for name, rule in stream.columns.items() if rule.pii),
        rows=None if landed.holds_changes else landed.rows,  # of changes, the batch has the newest images
        keys=frozenset(stream.primary_key).union(*(reference.columns for reference in stream.references)),
    )  # fmt: skip
    figures += _of_load(session, run, manifest, landed, about)
    failures, judged = observe(
        session, about, figures, stream.watch, run.contract.schedule.timezone,
        left_out=left_out, datasets=len(run.contract.streams),
    )  # fmt: skip
    return _with(verdict, failures, judged)


def nothing_new(run: SourceRun, session: Any, manifest: Manifest) -> None:
    """Judge the increments that brought nothing: there is no batch of them, and no audit, and still it may be wrong."""
    for landed in manifest.streams:
        if landed.moves:
            continue
        stream = run.contract.stream(landed.stream)
        about, left_out = _about(run, session, manifest, landed)
        figures = [Figure("rows", "", 0, 0), *_of_load(session, run, manifest, landed, about)]
        failures, judged = observe(
            session, about, figures, stream.watch, run.contract.schedule.timezone,
            left_out=left_out, datasets=len(run.contract.streams),
        )  # fmt: skip
        if failures:
            verdict = _with(gate.Verdict(about.dataset, 0, ()), failures, judged)
            log.log(logging.INFO if verdict.passed else logging.ERROR, "%s", verdict)
            ledger.record_audit(
                session, manifest.load_id, landed.stream,
                passed=verdict.passed, expectations=judged, failures=verdict.to_json(),
            )  # fmt: skip


def mart(
    session: Any,
    about: metrics.Run,
    built: tuple[str, str],
    watch: Watch,
    verdict: gate.Verdict,
    *,
    key: Sequence[str],
    personal: frozenset[str],
    left_out: bool,
) -> gate.Verdict:
    """The verdict on a mart's table, with what its figures say, and how its columns differ from those that consumers see.

    :param built: schema and table of the candidate. :param left_out: it was built for a backfill.
    """
    schema, table = about.dataset.split(".", 1)
    figures = profile(session, *built, about.at, personal=personal, keys=frozenset(key))
    told = watch.model_copy(
        update={
            "leave_out": tuple(n.split(".", 1)[1] for n in watch.leave_out if n.split(".", 1)[0] == table)
        }
    )
    failures, judged = observe(session, about, figures, told, "UTC", left_out=left_out)
    before, now = shape(session, schema, table), shape(session, *built)
    return _with(verdict, [*failures, *_drift(before, now or {})], judged)


def observe(
    session: Any,
    about: metrics.Run,
    figures: Iterable[Figure],
    watch: Watch,
    timezone: str,
    *,
    left_out: bool = False,
    datasets: int = 1,
) -> tuple[list[gate.Failure], int]:
    """Judge figures and keep them. Returns those that people are told of, and how many were judged.

    :param timezone: where a day begins. :param left_out: they are no history, and are not judged.
    :param datasets: how many datasets are judged in the same run.
    """
    figures, zone = list(figures), ZoneInfo(timezone)
    wanted = [*watch.metrics, "interval"]
    past = {} if left_out else metrics.history(session, about, zone, wanted)
    judged = _judged(figures, past, about.at, watch, zone, datasets, left_out)
    metrics.record(session, about, judged)
    told = [(f, found) for f, found in judged if watch.tells(f.metric, f.column)]
    quiet = [found for f, found in told if f.metric == "rows" and found.state == "quiet"]
    if quiet:
        log.info("%s: %s batches to compare with, %s are needed", about.dataset, quiet[0].points, NEEDED)
    failures = [
        _failure(figure, found, past[figure.metric, figure.column], watch.severity)
        for figure, found in told
        if found.state == "out"
    ]
    return failures, sum(found.low is not None for _, found in told)


def _judged(
    figures: list[Figure],
    past: Mapping[tuple[str, str], list[Point]],
    at: datetime,
    watch: Watch,
    zone: ZoneInfo,
    datasets: int,
    left_out: bool,
) -> list[tuple[Figure, Judgement]]:
    """What is said of each figure; of one that nobody is told of, that it is quiet."""
    family = datasets * max(1, sum(watch.tells(figure.metric, figure.column) for figure in figures))

    def one(figure: Figure) -> Judgement:
        return judge(
            figure.metric, past.get((figure.metric, figure.column), []), at, figure.value, figure.sample,
            zone=zone, judged=family, spread=figure.spread,
        )  # fmt: skip

    # What was made in twice the time, or half of it, is another amount: by hand, or after an outage.
    interval = next((one(figure) for figure in figures if figure.metric == "interval"), None)
    unlike = interval is not None and interval.state == "out"

    def said(figure: Figure) -> Judgement:
        if left_out or (unlike and METRICS[figure.metric].by_rows):
            return Judgement("left_out", 0)
        told = figure.metric == "interval" or watch.tells(figure.metric, figure.column)
        return one(figure) if told else Judgement("quiet", 0)

    return [(figure, said(figure)) for figure in figures]


def _about(
    run: SourceRun, session: Any, manifest: Manifest, landed: StreamManifest
) -> tuple[metrics.Run, bool]:
    """What a batch's figures belong to, and whether they are no history: of a backfill, or of a table that is else read in
    increments and was read whole."""
    load = ledger.get_load(session, manifest.load_id)
    dataset = f"{run.contract.raw_schema}.{landed.stream}"
    about = metrics.Run(dataset, run.run_id, manifest.load_id, load.interval_end)
    increments = run.contract.stream(landed.stream).mode != "snapshot"
    whole = landed.complete or manifest.full_refresh or _before(session, run, landed, about) is None
    return about, manifest.kind != "regular" or (increments and whole)


def _of_load(
    session: Any, run: SourceRun, manifest: Manifest, landed: StreamManifest, about: metrics.Run
) -> list[Figure]:
    """Figures of how a batch was read."""
    figures = [
        Figure("bytes", "", landed.bytes, landed.rows),
        Figure("seconds", "", landed.seconds, landed.rows, unit="seconds"),
    ]
    if landed.newest is not None:
        lag = about.at - datetime.fromisoformat(landed.newest)
        figures.append(Figure("lag", "", max(lag, timedelta()).total_seconds(), landed.rows, unit="seconds"))
    before = _before(session, run, landed, about)
    if before is not None and run.contract.stream(landed.stream).mode != "snapshot":
        seconds = (about.at - before).total_seconds()
        figures.append(Figure("interval", "", seconds, landed.rows, unit="seconds"))
    return figures


def _before(session: Any, run: SourceRun, landed: StreamManifest, about: metrics.Run) -> datetime | None:
    return metrics.previous(session, run.contract.source, landed.stream, about.at)


def _with(verdict: gate.Verdict, failures: Sequence[gate.Failure], judged: int) -> gate.Verdict:
    return replace(
        verdict,
        expectations=verdict.expectations + max(judged, len(failures)),
        failures=(*verdict.failures, *failures),
    )


def _failure(figure: Figure, found: Judgement, past: list[Point], severity: str) -> gate.Failure:
    what = chart.words(figure.metric, figure.column, figure.unit)
    value, low, high = (
        chart.shown(figure.metric, one or 0.0, figure.unit) for one in (figure.value, found.low, found.high)
    )
    before = [point.value for point in past if point.state != "left_out"][-CHARTED:]
    return gate.Failure(
        rule=f"{what} is between {low} and {high}, as {found.compared} let expect",
        severity=severity,
        unexpected=None,
        checked=None,
        examples=(),
        observed=value,
        chart=f"{chart.line(before, figure.value)}  the last {len(before)} batches, and {value} now",
    )


def _drift(before: dict[str, str] | None, now: dict[str, str]) -> list[gate.Failure]:
    """How the columns of a table differ from those that were published."""
    if before is None:
        return []
    changes = [f"{name} ({kind}) is new" for name, kind in now.items() if name not in before]
    changes += [f"{name} ({kind}) is gone" for name, kind in before.items() if name not in now]
    changes += [
        f"{name} is {now[name]} and was {kind}"
        for name, kind in before.items()
        if name in now and now[name] != kind
    ]
    return [
        gate.Failure("the columns are those of the last publication", "warning", None, None, (), change)
        for change in changes
    ]
