"""Who is told that data is late, too old, or there at last; and what a run tells the history of deadlines."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import AsyncCallback, BaseNotifier, DeadlineAlert, DeadlineReference, get_current_context
from airflow.sdk.configuration import conf

from include.core.contracts.common import DagContract
from include.core.contracts.load import DAG_KINDS, name_of
from plugins.tasks import alerts, context

if TYPE_CHECKING:
    from include.flows.deadlines import Finding

log = logging.getLogger("millrace.alerts")
_TITLES = {
    ("at", False): "missed its deadline",
    ("at", True): "is no longer late",
    ("after_queueing", False): "missed its deadline",
    ("after_queueing", True): "is no longer late",
    ("freshness", False): "has data that is too old",
    ("freshness", True): "has fresh data again",
}


def deadline_alert(contract: DagContract) -> DeadlineAlert | None:
    """What Airflow watches from a run's queueing on; a time of day is watched by the DAG `maintain`."""
    if contract.deadline.after_queueing is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=contract.deadline.after_queueing,
        callback=AsyncCallback(
            missed_deadline, {"kind": DAG_KINDS[type(contract)], "name": name_of(contract)}
        ),
    )


async def missed_deadline(kind: str, name: str, context: dict[str, Any]) -> None:
    """Tells a contract's channels that a run is later than agreed. Called by Airflow in the triggerer.

    Only runs that somebody waits for count: a backfill does the past again and is never late.
    """
    if context["dag_run"]["run_type"] != "backfill":
        await asyncio.to_thread(_missed, kind, name, context["dag_run"], context["deadline"]["deadline_time"])


def _missed(kind: str, name: str, run: dict[str, Any], due: Any) -> None:
    from include.flows import deadlines, run_deadlines

    facts = run_deadlines.RunFacts(
        run_id=run["dag_run_id"],
        run_type=run["run_type"],
        run_after=_moment(run["run_after"]),
        interval_end=_moment(run["data_interval_end"]) if run["data_interval_end"] else None,
        started_at=_moment(run["start_date"] or run["queued_at"]),
    )
    row = None
    if facts.counts:
        try:
            row = run_deadlines.missed(context.connect, kind, name, facts, _moment(due))
        except Exception:  # people are told also when the warehouse is what broke
            log.exception("the missed deadline could not be written into the ledger")
    if row and row.met:
        return  # it was published in time, and only its last tasks were not done
    contract = alerts.contract_of(kind, name)
    # It was told as a failure, so only those hear of it who were not.
    channels = _channels(contract, failed=run["state"] == "failed")
    if channels:
        what = (
            f"the run was queued at {run['queued_at']} and is {run['state']}; it should have ended by {due}"
        )
        link = f"{_base_url()}/dags/{run['dag_id']}/runs/{run['dag_run_id']}"
        title = f"{run['dag_id']} missed its deadline"
        alerts.send(channels, title, alerts.body(kind, name, what, run["dag_run_id"], link))
    if row:
        deadlines.told(context.connect, row)


class FailureNoted(BaseNotifier):
    """Notes in the history of deadlines that a failure was told."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        self.kind, self.name = kind, name

    def notify(self, context: Any) -> None:
        """Called by Airflow in the process of the failed task."""
        from include.flows import run_deadlines
        from plugins.tasks.context import connect

        if context["dag_run"].run_type != "backfill":
            run_deadlines.failed(connect, self.kind, self.name)


def run_ended(contract: DagContract) -> None:
    """What the good end of this run means for deadlines; tells those who have heard that its data is late.

    Called in its last task.
    """
    from include.flows import deadlines, run_deadlines

    if context.is_backfill() or context.only_backfilled():
        return
    run = get_current_context()["dag_run"]
    facts = run_deadlines.RunFacts(
        run_id=run.run_id,
        run_type=str(getattr(run.run_type, "value", run.run_type)),
        run_after=run.run_after,
        interval_end=run.data_interval_end,
        started_at=run.start_date or run.run_after,
    )
    late = run_deadlines.ended(context.connect, contract, facts)
    if late:
        tell(deadlines.Finding(contract, late, True, deadlines.how_late(late)))


def tell(finding: Finding) -> None:
    """Tell engineers and consumers of a finding of the watch."""
    from include.flows import deadlines

    contract, row = finding.contract, finding.deadline
    dag_id = f"{row.kind}__{row.name}"
    link = f"{_base_url()}/dags/{dag_id}" + (f"/runs/{row.run_id}" if row.run_id else "")
    title = f"{dag_id} {_TITLES[row.rule, finding.over]}"
    if finding.over:
        alerts.send(contract.alerts.on_lateness, title, alerts.note(contract, finding.what, link), over=True)
        return
    if channels := _channels(contract, failed=row.failed_at is not None):
        run = row.run_id or "none of its own: judged by what consumers have"
        alerts.send(channels, title, alerts.body(row.kind, row.name, finding.what, run, link))
    deadlines.told(context.connect, row)


def _channels(contract: DagContract, *, failed: bool) -> list[str]:
    told = contract.alerts.on_failure if failed else ()
    return [channel for channel in contract.alerts.on_lateness if channel not in told]


def _base_url() -> str:
    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


def _moment(text: Any) -> datetime:
    """A time as Airflow hands it to a callback: text, or a datetime."""
    return datetime.fromisoformat(str(text))
