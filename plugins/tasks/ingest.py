"""The steps of an ingest as tasks. Names and ids go in and out; everything heavy is imported inside."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param, PokeReturnValue, get_current_context, task
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from include.core.contracts import SourceContract
from include.core.lanes import LANES, shared_out, title
from plugins.tasks import alerts, context, deadlines
from plugins.tasks.errors import translated
from plugins.tasks.pages import task_that_judges

if TYPE_CHECKING:
    from include.flows.source_run import SourceRun


def trigger_form(contract: SourceContract) -> dict[str, Param]:
    """What can be chosen when a run is triggered by hand."""
    names = [stream.name for stream in contract.streams]
    form = {
        "streams": Param(
            [],
            type=["array", "null"],
            items={"type": "string", "enum": names},
            examples=names,
            title="Streams",
            description_md="Only these streams. **Empty means all**, which is what a scheduled run does.",
        ),
        "full_refresh": Param(
            False,
            type=["boolean", "null"],
            title="Full refresh",
            description_md="Read everything again, not only what changed since the watermark. Rows that did not change"
            " stay as they are in raw. Use it after the source was restored or moved.",
        ),
    }
    if contract.kind == "postgres":
        form["compare"] = Param(
            False,
            type=["boolean", "null"],
            title="Compare raw with the source",
            description_md="Row by row, in the snapshot of this load. Costs the source a scan of each table. The run fails"
            " when they differ, and names rows.",
        )
    if contract.on_bad_rows == "quarantine":
        form["retry_quarantine"] = Param(
            False,
            type=["boolean", "null"],
            title="Retry quarantine",
            description_md="Rows that were set aside go along with this load, through the same audit: after a rule was"
            " corrected. See them with `millrace quarantine list`, correct one with `millrace quarantine fix`.",
        )
    if contract.impact.quiet_hours:
        form["in_quiet_hours"] = Param(
            False,
            type=["boolean", "null"],
            title="In quiet hours too",
            description_md=f"Read now, although the contract says not to: {', '.join(contract.impact.quiet_hours)}.",
        )
    return form


def pool(contract: SourceContract) -> dict[str, Any]:
    """Where `extract` takes a slot for each of its connections: all contracts that share a connection share its pool."""
    return {"pool": f"source_{contract.connection}", "pool_slots": contract.impact.connections}


def lanes(contract: SourceContract) -> list[int]:
    """The tasks that share the streams of a load among them.

    As many as the contract says, not as `extract` finds: when a run is cleared after its DAG has changed, Airflow drops
    instances that were mapped over a result, and goes on as if they were done.
    """
    return list(range(min(LANES, len(contract.streams))))


def _run(source: str) -> SourceRun:
    from include.flows.source_run import SourceRun

    return SourceRun(context.contract(SourceContract, source), context.connect, context.run_id())


def _load_id() -> Any:
    """The load that `extract` began; None when it did not come that far.

    Not an argument of the steps, so that the graph shows the way of the data and no lines beside it.
    """
    return get_current_context()["ti"].xcom_pull(task_ids="extract", key="load_id")


def _share(lane: int, lanes: int) -> list[str]:
    """The streams of this load that one task of several takes. Its instance carries their names in the UI."""
    told = get_current_context()
    # One of every so many: in a run that is cleared after its contract has changed, tasks may be fewer than shares.
    shares = told["ti"].xcom_pull(task_ids="extract")[lane::lanes]
    streams = [stream for share in shares for stream in share]
    told["streams"] = title(streams) or "nothing"
    print(f"{len(streams)} streams of this load: {', '.join(streams) or 'it moves nothing more'}")
    return streams


def _quiet_until(source: str) -> datetime | None:
    """When the source may be read; None when that is now."""
    until = context.contract(SourceContract, source).quiet_until(datetime.now(timezone.utc))
    if until is None or context.params().get("in_quiet_hours"):
        return None
    print(f"quiet hours: the source is left alone until {until.isoformat()}")
    return until


# The timeout is longer than any quiet hours can be, so that only the deadline says that they make a run late.
@task.sensor(mode="reschedule", poke_interval=30, timeout=timedelta(days=8))
@translated
def wait_out_quiet_hours(source: str) -> PokeReturnValue:
    """Done as soon as the contract allows to ask anything of the source."""
    return PokeReturnValue(_quiet_until(source) is None)


@task.sensor(mode="reschedule", poke_interval=10)
@translated
def wait_for_commit_horizon(source: str) -> PokeReturnValue:
    """Done when nothing that the source stamped before the run's end can still be committed."""
    from include.flows import extract

    horizon = extract.horizon(_run(source), context.interval().end)
    for blocker in horizon.blockers[:10]:
        print(f"waiting for {blocker}")
    return PokeReturnValue(horizon.passed)


@task
@translated
def extract(source: str) -> list[list[str]]:
    """All streams, read in one snapshot into the landing zone. Shares out those that have something to stage."""
    from include.flows import extract as flow

    # It may have waited for a connection, or be tried again.
    if quiet := _quiet_until(source):
        raise AirflowRescheduleException(quiet)
    chosen = context.params()
    extraction = flow.extract(
        _run(source),
        context.interval(),
        backfill=context.is_backfill(),
        only=tuple(chosen["streams"] or ()),
        full_refresh=bool(chosen["full_refresh"]),
        compare=bool(chosen.get("compare")),
        retry=bool(chosen.get("retry_quarantine")),
    )
    get_current_context()["ti"].xcom_push("load_id", extraction.load_id)
    return shared_out(extraction.streams)


@task(map_index_template="{{ streams }}")
@translated
def stage(source: str, lane: int, lanes: int) -> None:
    """Some streams, from the landing zone into their staging batches."""
    from include.flows import load

    if streams := _share(lane, lanes):
        load.stage(_run(source), _load_id(), *streams)


@task_that_judges(map_index_template="{{ streams }}")
@translated
def audit(source: str, lane: int, lanes: int) -> None:
    """Some staging batches, each judged by its suite."""
    from include.flows import load
    from include.quality import gate

    if streams := _share(lane, lanes):
        todo = "raw keeps its last good state; correct the source or the contract, then clear the run"
        verdicts = load.audit(_run(source), _load_id(), *streams)
        alerts.warn("ingest", source, verdicts)
        gate.demand(verdicts, todo)


@task
@translated
def publish(source: str, asset: Asset) -> None:
    """Everything that passed, into raw in one transaction. Tells whoever waits for this source."""
    from include.flows import publish as flow

    load_id = _load_id()
    if load_id is None:
        raise AirflowSkipException("nothing has landed")
    published = flow.publish(_run(source), load_id)
    get_current_context()["outlet_events"][asset].extra = {
        "load_id": load_id,
        "manifest": published.manifest,
        "backfill": published.kind == "backfill",
        "rows": published.changed,
        "extracted": sum(row["extracted"] for row in published.streams),
        "held_back": list(published.rejected),
        "quarantined": sum(row["quarantined"] for row in published.streams),
        "bytes": published.bytes,
        "snapshot_seconds": published.snapshot_seconds,
    }


@task
@translated
def balance(source: str) -> None:
    """The books of this run; and whether raw is what its source was, where this run compares them."""
    from include.flows import publish as flow
    from include.flows import reconcile

    for row in flow.balance(_run(source), _load_id()):
        print("{stream}: extracted {extracted}, landed {landed}, staged {staged}, inserted {inserted}, updated {updated},"
              " unchanged {unchanged}, deleted {deleted}, in quarantine {quarantined}".format(**row))  # fmt: skip
    for found in reconcile.reconcile(_run(source), _load_id()):
        print(f"compared with the source: {found}")


@task(trigger_rule="all_done")
@translated
def close(source: str) -> None:
    """The source is free for the next run, however this one went."""
    from include.flows import publish as flow

    held = flow.close(_run(source), _load_id())
    if held:
        print(f"held back by their audit: {', '.join(held)}")
    deadlines.run_ended(context.contract(SourceContract, source))
